"""The tables: functions that take a connection, and read or write rows."""
