"""One time zone per memory: what times mean, which day is today, and stores from before."""

from __future__ import annotations

import gzip
import os
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymem import Filter, HyMem, InputError
from hymem.cli import main
from hymem.read.question_time import periods
from hymem.system.clock import Clock, SystemZone, Time
from hymem.types import Statement

WARSAW = ZoneInfo("Europe/Warsaw")
# Half hours, midnights that do not exist (Cairo, Beirut), a day that does not (Apia, 2011), DST of
# half an hour (Lord Howe) and of the southern summer.
ZONES = st.sampled_from(
    ["UTC", "Europe/Warsaw", "America/Los_Angeles", "Asia/Kolkata", "Africa/Cairo", "Asia/Beirut",
     "Pacific/Apia", "Australia/Lord_Howe", "America/Santiago", "Pacific/Kiritimati"]
)  # fmt: skip
DAYS = st.dates(date(1990, 1, 1), date(2037, 12, 30))
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2037, 12, 30))
OLD = Path(__file__).parent / "data" / "store-0.1.0.db.gz"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "1970-01-01T01:00:00+01:00"),
        ("2026-03-02", "2026-03-02T00:00:00+01:00"),
        (date(2026, 7, 2), "2026-07-02T00:00:00+02:00"),
        ("2026-03-02T09:30", "2026-03-02T09:30:00+01:00"),
        (datetime(2026, 7, 2, 9, 30), "2026-07-02T09:30:00+02:00"),
        ("2026-03-02T23:30Z", "2026-03-03T00:30:00+01:00"),
        (datetime(2026, 3, 2, 23, 30, tzinfo=UTC), "2026-03-03T00:30:00+01:00"),
        ("2026-03-02T23:30-05:00", "2026-03-02T23:30:00-05:00"),  # the speaker is in New York
    ],
)
def test_what_a_time_means(value: Time, expected: str) -> None:
    assert Clock(WARSAW).read(value, "timestamp").isoformat() == expected


@pytest.mark.parametrize("value", ["soon", "", float("nan"), 1e30, True, [2026]])
def test_what_is_no_time_is_named(value: Any) -> None:
    with pytest.raises(InputError, match=r"when is .*ISO 8601"):
        Clock("UTC").read(value, "when")


@pytest.mark.parametrize(
    ("zone", "complaint"),
    [
        ("Mars/Olympus", "does not know"),
        ("", "does not know"),
        ("../etc/passwd", "know"),
        (1, "int"),
    ],
)
def test_what_is_no_zone_is_named(zone: Any, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        HyMem(":memory:", llm=None, timezone=zone)


class NoOffset(tzinfo):
    """A zone that tells nothing, as an unfinished class of an application."""


class OffsetNone(NoOffset):
    def utcoffset(self, moment: datetime | None) -> None:
        return None

    dst = utcoffset


@pytest.mark.parametrize("zone", [NoOffset(), OffsetNone()])
def test_a_zone_that_tells_no_offset_is_refused(zone: tzinfo) -> None:
    with pytest.raises(InputError, match=r"timezone is .*tells no offset.*ZoneInfo"):
        HyMem(":memory:", llm=None, timezone=zone)


def test_a_time_of_a_zone_that_tells_no_offset_is_refused() -> None:
    with pytest.raises(InputError, match=r"when is .*ISO 8601"):
        Clock("UTC").read(datetime(2026, 3, 2, tzinfo=NoOffset()), "when")


@given(ZONES, DAYS)
def test_days_follow_one_another_without_gap_or_overlap(zone: str, day: date) -> None:
    clock = Clock(zone)
    ends = clock.read(day, "day", day_ends=True)
    begins = clock.read(day + timedelta(days=1), "day")
    assert ends.astimezone(UTC) + timedelta(microseconds=1) == begins.astimezone(UTC)
    length = ends.astimezone(UTC) - clock.read(day, "day").astimezone(UTC)
    assert timedelta(hours=22) < length < timedelta(hours=26) or zone == "Pacific/Apia"


@given(ZONES, MOMENTS, st.integers(-14, 14))
def test_an_aware_time_stays_the_same_instant(zone: str, moment: datetime, hours: int) -> None:
    clock = Clock(zone)
    aware = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    for given_time in (aware, aware.astimezone(UTC)):
        placed = clock.place(given_time)
        assert placed.astimezone(UTC) == aware.astimezone(UTC)
        home = clock.at_home(placed)
        assert home is not None
        assert home.astimezone(UTC) == placed.astimezone(UTC)
        assert home.replace(tzinfo=None) == placed.replace(tzinfo=None)


@given(ZONES, MOMENTS)
def test_a_naive_time_keeps_its_day_and_hour(zone: str, moment: datetime) -> None:
    placed = Clock(zone).place(moment)
    assert placed.replace(tzinfo=None) == moment
    assert datetime.fromisoformat(placed.isoformat()).date() == moment.date()


@pytest.mark.parametrize("moment", [datetime.min, datetime.max])
def test_the_ends_of_the_calendar_are_times_too(moment: datetime) -> None:
    for zone in ("Pacific/Kiritimati", "America/Los_Angeles", None):
        clock = Clock(zone)
        assert clock.place(moment).replace(tzinfo=None) == moment
        clock.place(moment.replace(tzinfo=UTC))
        clock.read(moment.date(), "day", day_ends=True)


@pytest.fixture
def system_zone(request: pytest.FixtureRequest) -> Iterator[ZoneInfo]:
    """The system set to another zone."""
    if not hasattr(time, "tzset"):
        pytest.skip("this system's zone cannot be set")
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield ZoneInfo(request.param)
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


EVERYWHERE = pytest.mark.parametrize(
    "system_zone", ["Europe/Warsaw", "America/Los_Angeles", "Pacific/Kiritimati"], indirect=True
)


@EVERYWHERE
def test_the_systems_zone_knows_each_dates_offset(system_zone: ZoneInfo) -> None:
    zone = SystemZone()
    start = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
    for hour in range(365 * 24):
        moment = start + timedelta(hours=hour)
        ours, theirs = moment.astimezone(zone), moment.astimezone(system_zone)
        assert ours.isoformat() == theirs.isoformat()
        assert ours.fold == theirs.fold
        assert ours.astimezone(UTC) == moment


@EVERYWHERE
def test_without_a_zone_today_is_the_systems_day(system_zone: ZoneInfo) -> None:
    with HyMem(":memory:", llm=None) as memory:
        before = datetime.now(system_zone).date()
        memory.add("I quit smoking today.", user_id="ana", wait=True)
        after = datetime.now(system_zone).date()
        days = {f"{day.day} {day:%B %Y}" for day in (before, after)}
        assert memory.ask("When did I quit smoking?", user_id="ana").text in days
        block = memory.recall("smoking", user_id="ana").text
        assert any(f" {day}]" in block for day in days)


def test_two_memories_have_two_todays() -> None:
    """26 hours lie between the two zones, so their days always differ."""
    days = []
    for zone in ("Pacific/Kiritimati", "Etc/GMT+12"):
        with HyMem(":memory:", llm=None, timezone=zone) as memory:
            memory.add("I quit smoking today.", user_id="ana", wait=True)
            (turn, unit) = memory.get_all(user_id="ana")
            assert turn.time is not None
            assert turn.time.date() == datetime.now(ZoneInfo(zone)).date()
            assert f"{turn.time.day} {turn.time:%B %Y}" in unit.text
            days.append(turn.time.date())
            (change,) = memory.history(turn.id, user_id="ana")
            assert change["at"].date() == turn.time.date()
    assert days[0] > days[1]


def test_a_time_in_utc_is_shown_on_the_memorys_day() -> None:
    with HyMem(":memory:", llm=None, timezone="America/Los_Angeles") as memory:
        memory.add("I sold my bike.", user_id="ana", timestamp="2026-03-03T04:30Z")
        memory.add("I bought a kite.", user_id="ana", timestamp=1772512200)  # the same instant
        memory.add("I found a key.", user_id="ana", timestamp="2026-03-03T04:30+00:30")
        block = memory.recall("bike kite key", user_id="ana").text
    assert block.count("[Monday 2 March 2026]") == 1
    assert block.count("[Tuesday 3 March 2026]") == 1  # an offset of its own: the speaker's day
    assert block.index("kite") < block.index("Tuesday") < block.index("key")


def test_on_disk_every_time_is_an_instant(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with HyMem(path, llm=None, timezone=WARSAW) as memory:
        memory.add("Naive.", user_id="ana", timestamp="2026-07-02T09:30")
        memory.add("Abroad.", user_id="ana", timestamp="2026-07-02T09:30-05:00")
        memory.add("Now.", user_id="ana", wait=True)
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT time, seconds FROM items").fetchall()
    connection.close()
    assert datetime.fromtimestamp(rows[0][1], UTC) == datetime(2026, 7, 2, 7, 30, tzinfo=UTC)
    assert datetime.fromtimestamp(rows[1][1], UTC) == datetime(2026, 7, 2, 14, 30, tzinfo=UTC)
    for text, seconds in rows:
        moment = datetime.fromisoformat(text)
        assert moment.tzinfo is not None
        assert moment.timestamp() == pytest.approx(seconds, abs=1e-5)


def test_last_week_is_the_askers() -> None:
    """Late on Sunday in Warsaw it is Monday in Tokyo, and last week another."""
    sunday = datetime(2026, 3, 8, 23, 30, tzinfo=WARSAW)
    (warsaw,) = periods("What did I do last week?", sunday)
    (tokyo,) = periods("What did I do last week?", sunday.astimezone(ZoneInfo("Asia/Tokyo")))
    assert datetime.fromtimestamp(warsaw.start, WARSAW) == datetime(2026, 2, 23, tzinfo=WARSAW)
    assert datetime.fromtimestamp(warsaw.end, WARSAW) == datetime(2026, 3, 2, tzinfo=WARSAW)
    start = datetime.fromtimestamp(tokyo.start, UTC).astimezone(ZoneInfo("Asia/Tokyo"))
    assert start == datetime(2026, 3, 2, tzinfo=ZoneInfo("Asia/Tokyo"))


@given(ZONES, DAYS)
def test_yesterday_is_a_whole_day_whatever_the_clocks_did(zone: str, day: date) -> None:
    now = Clock(zone).read(f"{day}T12:00", "now")
    (period,) = periods("What did I do yesterday?", now)
    first, last = (
        datetime.fromtimestamp(second, UTC).astimezone(ZoneInfo(zone)).date()
        for second in (period.start, period.end - 1)
    )
    assert last == day - timedelta(days=1) or zone == "Pacific/Apia"
    assert first == last or zone == "Pacific/Apia"


def shown(memory: HyMem, **times: Any) -> list[str]:
    return [item.text for item in memory.get_all(user_id="ana", where=Filter(**times))]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-06-15"])
def test_a_date_without_a_time_is_the_whole_day_in_filters(day: str) -> None:
    """Also on those of 23 and 25 hours."""
    with HyMem(":memory:", llm=None, timezone=WARSAW, background=False) as memory:
        noon = datetime.fromisoformat(day).replace(hour=12, tzinfo=WARSAW)
        before, after = (
            datetime.combine(noon.date() + timedelta(days=n), datetime.min.time(), WARSAW)
            for n in (0, 1)
        )
        for text, moment in [
            ("day before", before.astimezone(UTC) - timedelta(microseconds=1)),
            ("first", before),
            ("noon", noon),
            ("last", after.astimezone(UTC) - timedelta(microseconds=1)),
            ("day after", after),
        ]:
            memory.add(text, user_id="ana", timestamp=moment)
        whole = ["first", "noon", "last"]
        assert shown(memory, after=day, before=day) == whole
        assert shown(memory, after=date.fromisoformat(day), before=noon.date()) == whole
        assert shown(memory, before=day) == ["day before", *whole]
        assert shown(memory, after=day) == [*whole, "day after"]
        midnight = f"{day}T00:00"  # a time, even at midnight, is that moment alone
        assert shown(memory, after=midnight, before=midnight) == ["first"]
        found = memory.search("noon", user_id="ana", as_of=day, limit=9)
        assert {hit.text for hit in found} == {"day before", *whole}


def test_a_date_across_the_change_of_clocks_keeps_its_midnight() -> None:
    """Said in summer about Christmas, whose offset is another."""
    with HyMem(":memory:", llm=None, timezone=WARSAW) as memory:
        text = "I will run the night race in Prague on 24 December 2026."
        memory.add(text, user_id="ana", timestamp="2026-07-02T20:00", wait=True)
        (unit,) = memory.get_all(user_id="ana", where=Filter(kind="unit"))
        assert unit.time == datetime(2026, 12, 24, tzinfo=WARSAW)
        assert shown(memory, kind="unit", before="2026-12-23") == []
        assert len(shown(memory, kind="unit", after="2026-12-24", before="2026-12-24")) == 1


def test_an_extractor_gets_times_in_the_memorys_zone() -> None:
    seen: list[Any] = []

    class Seeing:
        def extract(self, events: Any) -> list[list[Statement]]:
            seen.extend(turn.time for event in events for turn in event)
            return [[] for _ in events]

    with HyMem(":memory:", llm=None, timezone=WARSAW, extractor=Seeing()) as memory:
        memory.add("At home.", user_id="ana", timestamp="2026-07-02T20:00")
        memory.add("Away.", user_id="ana", timestamp="2026-07-02T20:30-05:00", wait=True)
    assert [str(moment.tzinfo) for moment in seen] == ["Europe/Warsaw", "UTC-05:00"]


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Pacific/Kiritimati", "UTC"])
def test_times_without_a_zone_in_a_store_of_0_1_keep_their_days(zone: str, tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    path.write_bytes(gzip.decompress(OLD.read_bytes()))
    connection = sqlite3.connect(path)
    before = dict(connection.execute("SELECT id, time FROM items").fetchall())
    connection.close()
    with HyMem(path, llm=None, timezone=zone, background=False) as memory:
        items = memory.get_all(user_id="ana")
        assert items
        for item in items:
            old = datetime.fromisoformat(before[item.id])
            assert item.time is not None
            if old.tzinfo is None:
                assert item.time == old.replace(tzinfo=ZoneInfo(zone))
            else:
                assert item.time == old
        naive = [item.id for item in items if len(before[item.id]) == len("2025-11-03T00:00:00")]
        days = {before[item_id][:10] for item_id in naive}
        for day in days:  # their instants moved along
            found = memory.get_all(user_id="ana", where=Filter(after=day, before=day))
            assert {item.id for item in found} >= {i for i in naive if before[i][:10] == day}


def test_an_export_of_0_1_without_zones_keeps_its_days(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    with HyMem(":memory:", llm=None, timezone=WARSAW, background=False) as memory:
        memory.add("I moved.", user_id="ana", timestamp="2026-07-02T00:30")
        memory.export(path, user_id="ana")
    text = path.read_text()
    assert "2026-07-02T00:30:00+02:00" in text
    path.write_text(text.replace("00:30:00+02:00", "00:30:00"))
    with HyMem(":memory:", llm=None, timezone="Asia/Tokyo", background=False) as memory:
        memory.import_(path)
        (turn,) = memory.get_all(user_id="ana")
        assert turn.time == datetime(2026, 7, 2, 0, 30, tzinfo=ZoneInfo("Asia/Tokyo"))


def test_a_winter_evening_in_london_keeps_its_day_through_export_and_import(tmp_path: Path) -> None:
    """Its offset is that of UTC, but the speaker's own."""
    path, evening = tmp_path / "chat.jsonl", datetime(2026, 1, 10, 23, 30)
    with HyMem(":memory:", llm=None, timezone=WARSAW, background=False) as memory:
        said = evening.replace(tzinfo=ZoneInfo("Europe/London"))
        memory.add("I sold my bike today.", user_id="ana", timestamp=said)
        memory.flush(user_id="ana")
        memory.export(path, user_id="ana")
        before = [(item.text, item.time) for item in memory.get_all(user_id="ana")]
    with HyMem(":memory:", llm=None, timezone=WARSAW, background=False) as memory:
        memory.import_(path)
        items = memory.get_all(user_id="ana")
        assert [(item.text, item.time) for item in items] == before
        assert {item.time and item.time.date() for item in items} == {evening.date()}
        assert "[Saturday 10 January 2026]" in memory.recall("bike", user_id="ana").text


def test_the_command_line_has_the_zone_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "m.db")
    add = ["--db", path, "add", "I sold my bike.", "--user", "ana", "--time", "2026-03-03T04:30Z"]
    assert main([*add, "--timezone", "America/Los_Angeles"]) == 0
    capsys.readouterr()
    assert main(["--db", path, "recall", "bike", "--user", "ana"]) == 0
    assert "[Monday 2 March 2026]" in capsys.readouterr().out
    listed = ["--db", path, "get-all", "--user", "ana", "--timezone", "America/Los_Angeles"]
    assert main([*listed, "--before", "2026-03-02", "--kind", "turn"]) == 0
    assert main([*listed, "--before", "2026-03-01", "--kind", "turn"]) == 3
    assert main([*listed, "--timezone", "Nowhere/Else"]) == 1
    assert "does not know" in capsys.readouterr().err
