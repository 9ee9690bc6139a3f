"""When expressions are due, with the times written out: on both sides of every change of a zone's clocks."""

from __future__ import annotations

import itertools
from datetime import datetime

import pytest

from understudy.actors.errors import InvalidOption
from understudy.actors.schedules.cron import LIMIT, NAMED, Cron, cron, next_after, zone


def due(expression: str, tz: str, after: str, count: int) -> list[str]:
    """The next times in the zone, as "03-29 03:00:00+0200"."""
    expressed, found = Cron(expression, tz), []
    at: float | None = datetime.fromisoformat(after).replace(tzinfo=zone(tz)).timestamp()
    for _ in range(count):
        at = None if at is None else expressed.next_after(at)
        found.append(
            "never" if at is None else datetime.fromtimestamp(at, zone(tz)).strftime("%m-%d %H:%M:%S%z")
        )
    return found


@pytest.mark.parametrize(
    ("expression", "tz", "after", "times"),
    [
        # Zurich: from 02:00 to 03:00 on 29 March 2026, from 03:00 back to 02:00 on 25 October.
        (
            "30 2 * * *",
            "Europe/Zurich",
            "2026-03-28 12:00",
            ["03-29 03:00:00+0200", "03-30 02:30:00+0200"],
        ),
        (
            "30 2 * * *",
            "Europe/Zurich",
            "2026-10-24 12:00",
            ["10-25 02:30:00+0200", "10-26 02:30:00+0100"],
        ),
        (
            "0,30 2 * * *",
            "Europe/Zurich",
            "2026-03-28 12:00",
            ["03-29 03:00:00+0200", "03-30 02:00:00+0200", "03-30 02:30:00+0200"],
        ),
        (
            "0 2,3 * * *",
            "Europe/Zurich",
            "2026-03-28 12:00",
            ["03-29 03:00:00+0200", "03-30 02:00:00+0200", "03-30 03:00:00+0200"],
        ),
        (
            "0 * * * *",
            "Europe/Zurich",
            "2026-03-29 00:30",
            ["03-29 01:00:00+0100", "03-29 03:00:00+0200", "03-29 04:00:00+0200"],
        ),
        (
            "0 * * * *",
            "Europe/Zurich",
            "2026-10-25 01:30",
            ["10-25 02:00:00+0200", "10-25 02:00:00+0100", "10-25 03:00:00+0100"],
        ),
        (
            "*/30 2 * * *",
            "Europe/Zurich",
            "2026-03-28 12:00",
            ["03-30 02:00:00+0200", "03-30 02:30:00+0200"],
        ),
        (
            "*/30 2 * * *",
            "Europe/Zurich",
            "2026-10-25 00:00",
            ["10-25 02:00:00+0200", "10-25 02:30:00+0200", "10-25 02:00:00+0100", "10-25 02:30:00+0100"],
        ),
        # The same with a field of seconds.
        (
            "15 30 2 * * *",
            "Europe/Zurich",
            "2026-03-28 12:00",
            ["03-29 03:00:00+0200", "03-30 02:30:15+0200"],
        ),
        (
            "15 30 2 * * *",
            "Europe/Zurich",
            "2026-10-24 12:00",
            ["10-25 02:30:15+0200", "10-26 02:30:15+0100"],
        ),
        # New York: 8 March and 1 November 2026, at 02:00.
        (
            "15 2 * * *",
            "America/New_York",
            "2026-03-07 12:00",
            ["03-08 03:00:00-0400", "03-09 02:15:00-0400"],
        ),
        (
            "30 1 * * *",
            "America/New_York",
            "2026-10-31 12:00",
            ["11-01 01:30:00-0400", "11-02 01:30:00-0500"],
        ),
        (
            "0 0 * * *",
            "America/New_York",
            "2026-10-31 12:00",
            ["11-01 00:00:00-0400", "11-02 00:00:00-0500"],
        ),
        (
            "*/20 1 * * sun",
            "America/New_York",
            "2026-11-01 00:30",
            [
                "11-01 01:00:00-0400",
                "11-01 01:20:00-0400",
                "11-01 01:40:00-0400",
                "11-01 01:00:00-0500",
                "11-01 01:20:00-0500",
                "11-01 01:40:00-0500",
                "11-08 01:00:00-0500",
            ],
        ),
        # Lord Howe: by half an hour, on 5 April (02:00 to 01:30) and 4 October 2026 (02:00 to 02:30).
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04 12:00",
            ["04-05 01:45:00+1100", "04-06 01:45:00+1030"],
        ),
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03 12:00",
            ["10-04 02:30:00+1100", "10-05 02:15:00+1100"],
        ),
        (
            "*/15 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-05 01:20",
            ["04-05 01:30:00+1100", "04-05 01:45:00+1100", "04-05 01:30:00+1030", "04-05 01:45:00+1030"],
        ),
        (
            "0 */4 * * *",
            "Australia/Lord_Howe",
            "2026-10-04 00:30",
            ["10-04 04:00:00+1100", "10-04 08:00:00+1100"],
        ),
        # Casablanca: an hour back for Ramadan, on 15 February 2026 at 03:00 and forth on 22 March at 02:00.
        (
            "30 2 * * *",
            "Africa/Casablanca",
            "2026-02-14 12:00",
            ["02-15 02:30:00+0100", "02-16 02:30:00+0000"],
        ),
        (
            "30 2 * * *",
            "Africa/Casablanca",
            "2026-03-21 12:00",
            ["03-22 03:00:00+0100", "03-23 02:30:00+0100"],
        ),
        (
            "0 * * * *",
            "Africa/Casablanca",
            "2026-02-15 01:30",
            ["02-15 02:00:00+0100", "02-15 02:00:00+0000", "02-15 03:00:00+0000"],
        ),
        # Cairo skips midnight: 24 April 2026.
        ("0 0 * * *", "Africa/Cairo", "2026-04-23 12:00", ["04-24 01:00:00+0300", "04-25 00:00:00+0300"]),
        ("0 * 24 4 *", "Africa/Cairo", "2026-04-23 12:00", ["04-24 01:00:00+0300", "04-24 02:00:00+0300"]),
        # UTC has no edges.
        ("30 2 * * *", "UTC", "2026-03-28 12:00", ["03-29 02:30:00+0000", "03-30 02:30:00+0000"]),
        # Calendars.
        ("0 9 * * mon-fri", "Europe/Zurich", "2026-10-23 09:00", ["10-26 09:00:00+0100"]),
        ("0 0 29 2 *", "Europe/Zurich", "2026-03-01", ["02-29 00:00:00+0100"]),
        ("0 0 L * *", "UTC", "2026-02-01", ["02-28 00:00:00+0000", "03-31 00:00:00+0000"]),
        ("0 0 LW * *", "UTC", "2026-05-01", ["05-29 00:00:00+0000"]),
        ("0 0 * * fri#2", "UTC", "2026-05-01", ["05-08 00:00:00+0000", "06-12 00:00:00+0000"]),
        ("0 0 * * 5L", "UTC", "2026-05-01", ["05-29 00:00:00+0000"]),
        ("0 0 13 * fri", "UTC", "2026-05-01 12:00", ["05-08 00:00:00+0000", "05-13 00:00:00+0000"]),
        ("*/20 * * * * *", "UTC", "2026-05-01", ["05-01 00:00:20+0000", "05-01 00:00:40+0000"]),
        ("@daily", "UTC", "2026-05-01", ["05-02 00:00:00+0000"]),
        ("@Weekly", "UTC", "2026-05-01", ["05-03 00:00:00+0000"]),
    ],
)
def test_when_it_is_due(expression: str, tz: str, after: str, times: list[str]):
    assert due(expression, tz, after, len(times)) == times


def test_a_start_between_the_doubled_times_leads_to_no_earlier_one():
    second = datetime(2026, 10, 25, 2, 15, tzinfo=zone("Europe/Zurich"), fold=1).timestamp()
    fixed = Cron("30 2 * * *", "Europe/Zurich").next_after(second)
    assert fixed == datetime(2026, 10, 26, 2, 30, tzinfo=zone("Europe/Zurich")).timestamp()
    assert Cron("30 * * * *", "Europe/Zurich").next_after(second) == second + 15 * 60


@pytest.mark.parametrize(
    "tz", ["Europe/Zurich", "Australia/Lord_Howe", "Africa/Casablanca", "America/Havana"]
)
@pytest.mark.parametrize("expression", ["0 */6 * * *", "30 * * * 0", "11 3 * * *"])
def test_times_only_grow_and_clocks_show_what_the_expression_says(tz: str, expression: str):
    start = datetime(2026, 1, 1, tzinfo=zone(tz)).timestamp()
    times = [start]
    while times[-1] < start + 366 * 86_400:
        times.append(next_after(expression, tz, times[-1]) or 0.0)
    assert all(first < second for first, second in itertools.pairwise(times))
    minutes = {int(expression.split(maxsplit=1)[0])}
    shown = [datetime.fromtimestamp(time, zone(tz)) for time in times[1:]]
    assert {local.minute for local in shown} <= minutes


def test_the_time_before_counts_to_the_fraction_of_a_second():
    every_second = cron("* * * * * *", "UTC")
    assert every_second.next_after(10.0) == 11.0
    assert every_second.next_after(10.5) == 11.0
    assert every_second.next_after(-5.0) == 1.0
    assert every_second.next_after(1e12) is None


def test_names_stand_for_expressions():
    for name, expression in NAMED.items():
        assert due(name, "Europe/Zurich", "2026-01-15", 3) == due(
            expression, "Europe/Zurich", "2026-01-15", 3
        )
    assert "every minute" in Cron("* * * * *").explain().lower()
    assert repr(Cron("@daily", "Asia/Tokyo")) == "<cron @daily in Asia/Tokyo>"


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("0 0 31 2 *", "never matches.*day-of-month or the month"),
        ("0 0 30 2 *", "never matches"),
        ("0 0 31 4,6,9,11 *", "never matches"),
        ("61 * * * *", "the field minute is not valid.*0-59"),
        ("* 24 * * *", "the field hour is not valid.*0-23"),
        ("* * 32 * *", "the field day-of-month"),
        ("* * * 13 *", "the field month"),
        ("* * * * mon#6", "the field day-of-week"),
        ("60 * * * * *", "the field second"),
        ("5-1 * * * *", "the field minute"),
        ("*/0 * * * *", "the field minute"),
        ("mon * * * *", "the field minute"),
        ("* * * *", "has 4 fields. Write five"),
        ("* * * * * * *", "has 7 fields"),
        ("@reboot", "those with a name are @yearly"),
        ("", "is text of 1 to"),
        ("*" * (LIMIT + 1), "is text of 1 to"),
        (7, "is text of 1 to"),
    ],
)
def test_what_is_no_expression_is_refused_by_its_field(expression: object, said: str):
    with pytest.raises(InvalidOption, match=said):
        Cron(expression)  # type: ignore[arg-type]


def test_an_unknown_zone_is_refused_with_one_like_it():
    with pytest.raises(InvalidOption, match=r"tz: there is no time zone .*Did you mean 'Europe/Zurich'"):
        Cron("@daily", "Europe/Zürich")
    for name in ("", "../etc/passwd", "Europe", 7, "\0"):
        with pytest.raises(InvalidOption, match="tz: there is no time zone"):
            Cron("@daily", name)  # type: ignore[arg-type]
