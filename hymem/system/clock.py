"""A memory's clock: the time zone in which it reads times that name none, and which day is today.

Every time becomes an instant where it enters. One with an offset of its own keeps it, for it tells
the speaker's day; one without, and one in UTC, which is the machines' notation and no place, is put
into the memory's zone.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hymem.errors import InputError

Time = datetime | date | str | float

_LAST = timedelta(microseconds=1)
# What a ``tzinfo`` raises that tells no offset.
_NO_OFFSET = (NotImplementedError, TypeError, ValueError)


class SystemZone(tzinfo):
    """The time zone that the operating system is set to, with the offset of each date."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        naive = (moment or datetime.now()).replace(tzinfo=None)
        try:
            return naive.astimezone().utcoffset() or timedelta()
        except (OverflowError, ValueError, OSError):  # a year that the system cannot tell about
            return datetime.now().astimezone().utcoffset() or timedelta()

    def dst(self, moment: datetime | None) -> None:
        return None

    def tzname(self, moment: datetime | None) -> str:
        return "local"

    def fromutc(self, moment: datetime) -> datetime:
        try:
            local = moment.replace(tzinfo=UTC).astimezone()
            naive = local.replace(tzinfo=None)
            # Of an hour that comes twice, the one whose offset this is.
            fold = naive.astimezone().utcoffset() != local.utcoffset()
        except (OverflowError, ValueError, OSError):
            return moment + self.utcoffset(moment)
        return naive.replace(tzinfo=self, fold=int(fold))

    def __repr__(self) -> str:
        return "the system's time zone"


class Clock:
    """``zone``: an IANA name such as ``Europe/Warsaw``, a ``tzinfo``, or ``None`` for the zone that
    the system is set to. Raises ``InputError`` for any other."""

    def __init__(self, zone: str | tzinfo | None = None) -> None:
        self.zone = _zone(zone)

    def now(self) -> datetime:
        return datetime.now(self.zone)

    def read(self, value: Time, where: str, *, day_ends: bool = False) -> datetime:
        """A ``datetime``, a ``date``, an ISO 8601 string of either or seconds since 1970 as an
        aware ``datetime``. A date alone is the beginning of its day or, with ``day_ends``, its
        last microsecond. Raises ``InputError``, naming ``where``."""
        if isinstance(value, str):
            value = value.strip()
        try:
            if isinstance(value, datetime):
                return self.place(value)
            if isinstance(value, date):
                return self._day(value, day_ends)
            if isinstance(value, str):
                if (day := _date(value)) is not None:
                    return self._day(day, day_ends)
                return self.place(datetime.fromisoformat(value))
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return self.place(datetime.fromtimestamp(value, UTC))
        except (*_NO_OFFSET, OverflowError, OSError):
            pass
        raise InputError(
            f"{where} is {value!r}; pass a datetime, an ISO 8601 string such as "
            "'2026-03-02T14:30:00+01:00', or seconds since 1970"
        )

    def read_or_none(
        self, value: Time | None, where: str, *, day_ends: bool = False
    ) -> datetime | None:
        return None if value is None else self.read(value, where, day_ends=day_ends)

    def read_or_now(self, value: Time | None, where: str = "now") -> datetime:
        """A date alone is over: what was said on it has been said."""
        return self.now() if value is None else self.read(value, where, day_ends=True)

    def place(self, moment: datetime) -> datetime:
        """``moment`` as an aware time, in this zone if it is naive or in UTC."""
        if moment.utcoffset() is None:
            return moment.replace(tzinfo=self.zone)
        return self._moved(moment) if moment.tzname() == "UTC" else moment

    def at_home(self, moment: datetime | None) -> datetime | None:
        """``moment`` with this zone itself, if its offset is the one that the zone has then: on
        other days it may have another."""
        if moment is None or moment.utcoffset() is None:
            return moment
        moved = self._moved(moment)
        return moved if moved.utcoffset() == moment.utcoffset() else moment

    def _moved(self, moment: datetime) -> datetime:
        try:
            return moment.astimezone(self.zone)
        except OverflowError:  # the first or the last day of the calendar
            return moment

    def _day(self, day: date, ends: bool) -> datetime:
        if not ends:
            return datetime.combine(day, time(), self.zone)
        if day == date.max:
            return datetime.combine(day, time.max, self.zone)
        # Counted in UTC: the day may be 23 or 25 hours long, and its midnight missing.
        after = datetime.combine(day + timedelta(days=1), time(), self.zone)
        return (after.astimezone(UTC) - _LAST).astimezone(self.zone)


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _zone(zone: str | tzinfo | None) -> tzinfo:
    if zone is None:
        return SystemZone()
    if isinstance(zone, tzinfo):
        try:
            datetime.now(zone)
        except _NO_OFFSET:
            raise InputError(
                f"timezone is {type(zone).__name__}, a tzinfo that tells no offset; "
                "pass an IANA name or a zoneinfo.ZoneInfo"
            ) from None
        return zone
    if not isinstance(zone, str):
        raise InputError(f"timezone is {type(zone).__name__}; pass an IANA name or a tzinfo")
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(
            f"timezone is {zone!r}, which this system does not know; pass an IANA name such as "
            "'Europe/Warsaw' (on Windows `pip install tzdata` provides them)"
        ) from None
