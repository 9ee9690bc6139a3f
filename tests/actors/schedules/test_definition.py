from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest

from understudy.actors.errors import InvalidOption
from understudy.actors.schedules.definition import (
    KEY_LIMIT,
    LONGEST,
    MOST_JITTER,
    Definition,
    check_key,
    check_time,
)

NOW = 1_782_000_000.0


def times(count: int, after: float = NOW, **options: Any) -> list[float]:
    return [at - NOW for at in islice(Definition.of(**options).times(after, NOW), count)]


def test_intervals_count_from_the_registration_or_from_their_start():
    assert times(3, every=60) == [60, 120, 180]
    assert times(2, NOW + 60, every=60) == [120, 180]
    assert times(2, NOW + 61.5, every=60) == [120, 180]
    assert times(3, every=1.5) == [1.5, 3.0, 4.5]
    assert times(2, every=60, start=NOW + 30) == [30, 90]
    assert times(2, every=60, start=NOW - 30) == [30, 90]
    assert times(5, every=60, end=NOW + 120) == [60, 120]
    for number in range(100):
        now = NOW + number / 1e8  # none of these is a whole number of microseconds
        assert Definition.of(every=60).first(now) == pytest.approx(now + 60, abs=1e-6)
    # Also long before the registration, and without drift after a year.
    assert times(1, NOW - 1e6, every=60) == [60]
    assert times(1, NOW + 31_536_000.05, every=0.1 * 11) == [pytest.approx(31_536_001.0, abs=1.1)]


def test_a_single_time_is_due_once():
    once = Definition.of(at=NOW + 5)
    assert (once.first(NOW), once.first(NOW + 60), once.is_single) == (NOW + 5, NOW + 5, True)
    assert once.next_after(NOW + 5, NOW) is None
    later = Definition.of(after=90)
    assert (later.first(NOW), later.next_after(NOW + 90, NOW)) == (NOW + 90, None)


def test_start_and_end_bound_an_expression():
    start, end = datetime(2026, 7, 1, 9, tzinfo=UTC), datetime(2026, 7, 3, 9, tzinfo=UTC)
    july = Definition.of(cron="0 9 * * *", start=start, end=end)
    assert [datetime.fromtimestamp(at, UTC).day for at in july.times(0.0, NOW)] == [1, 2, 3]
    assert july.first(end.timestamp()) is None


def test_jitter_is_the_same_each_time_and_reaches_no_other_occurrence():
    jittered = Definition.of(every=60, jitter=60)
    begins = [jittered.begin("a", NOW + 60 * number, NOW) - NOW - 60 * number for number in range(1, 200)]
    assert begins == [
        jittered.begin("a", NOW + 60 * number, NOW) - NOW - 60 * number for number in range(1, 200)
    ]
    assert 0 <= min(begins) < 5
    assert 55 < max(begins) <= 60
    assert jittered.begin("b", NOW + 60, NOW) != jittered.begin("a", NOW + 60, NOW)
    assert Definition.of(cron="* * * * *", jitter=3600).begin("a", NOW + 60, NOW) <= NOW + 120
    assert Definition.of(every=60).begin("a", NOW + 60, NOW) == NOW + 60


def test_plain_data_is_what_differs_from_the_defaults():
    nightly = Definition.of(cron="@daily", tz="Asia/Tokyo", missed="all", overlap="queue", limit=3)
    assert nightly.pack() == {
        "cron": "@daily", "tz": "Asia/Tokyo", "missed": "all", "overlap": "queue", "limit": 3,
    }  # fmt: skip
    assert Definition.unpack({**nightly.pack(), "of a later release": 1}) == nightly
    assert "Asia/Tokyo" in nightly.explain()
    assert (Definition.of(every=90).explain(), Definition.of(at=1).explain()) == ("every 90 s", "once")


def test_the_timing_is_what_decides_when_it_is_due():
    assert Definition.of(cron="@daily").timing() == Definition.of(cron="@daily", tz="UTC", limit=7).timing()
    assert Definition.of(cron="@daily").timing() != Definition.of(cron="@daily", tz="Asia/Tokyo").timing()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "exactly one of cron=, every=, at= and after=: none given"),
        ({"every": 5, "at": 7}, "every and at given"),
        ({"every": 0.99}, "every must be seconds, 1 or more"),
        ({"every": LONGEST + 1}, "every must be seconds"),
        ({"every": True}, "every"),
        ({"every": "5"}, "every"),
        ({"every": float("nan")}, "every"),
        ({"after": -1}, "after must be"),
        (
            {"at": datetime.fromtimestamp(NOW, UTC).replace(tzinfo=None)},
            "at must be seconds since the epoch or a datetime with a time zone",
        ),
        ({"at": -1}, "at must be"),
        ({"every": 5, "tz": "UTC"}, "tz= is for cron="),
        ({"at": 5, "limit": 2}, "limit= is for cron= and every="),
        ({"after": 5, "end": 2}, "end= is for cron= and every="),
        ({"every": 5, "missed": "never"}, "missed must be 'once' or 'skip' or 'all'"),
        ({"every": 5, "overlap": True}, "overlap must be 'skip' or 'queue' or 'allow' or 'cancel'"),
        ({"every": 5, "missed_within": -1}, "missed_within"),
        ({"every": 5, "jitter": 6}, "jitter must be seconds, 0 or more, at most 5"),
        ({"cron": "@daily", "jitter": MOST_JITTER + 1}, "jitter"),
        ({"every": 5, "limit": 0}, "limit must be a whole number"),
        ({"every": 5, "pause_after": 1.5}, "pause_after must be a whole number"),
        ({"every": 5, "start": 20, "end": 10}, "end must not be before start"),
        ({"every": 5, "start": "now"}, "start must be"),
        ({"cron": "@yearly", "start": NOW, "end": NOW + 60}, "never matches between start and end"),
        ({"cron": "0 0 31 2 *"}, "never matches"),
        ({"cron": "@daily", "tz": "Mars/Olympus"}, "tz: there is no time zone"),
        ({"evry": 5}, "unknown option 'evry'"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_field(options: dict[str, Any], said: str):
    with pytest.raises(InvalidOption, match=said):
        Definition.of(**options)


def test_keys_are_printable_text():
    assert check_key("ship/7") == "ship/7"
    assert check_key("ü" * (KEY_LIMIT // 2))
    for key in ("", "ü" * (KEY_LIMIT // 2 + 1), "a\nb", "\0", "\ud800", 7, None):
        with pytest.raises(InvalidOption, match="the key of a schedule"):
            check_key(key)
    assert check_time("at", datetime(1970, 1, 1, 0, 1, tzinfo=UTC)) == 60.0
