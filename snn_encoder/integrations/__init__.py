"""The encoder as other libraries expect one."""
