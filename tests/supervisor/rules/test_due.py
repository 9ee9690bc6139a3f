from __future__ import annotations

import pytest

from understudy.supervisor.rules.due import (
    FULL,
    MISSED,
    MOST,
    OVERLAP,
    SUPERSEDED,
    TOO_LATE,
    TOO_MANY,
    Due,
    Pause,
    Step,
    judge,
    step,
)

NOW = 1_000_000.0
DAY = 86_400.0


def ago(*seconds: float) -> list[Due]:
    return [Due(NOW - each, NOW - each) for each in seconds]


def test_what_is_due_now_runs():
    for missed in ("once", "skip", "all"):
        assert judge(ago(0.9, 0.0), True, NOW, missed, DAY) == [None, None]


@pytest.mark.parametrize(
    ("missed", "judged"),
    [
        ("once", [SUPERSEDED, SUPERSEDED, None]),
        ("skip", [MISSED, MISSED, MISSED]),
        ("all", [None, None, None]),
    ],
)
def test_what_was_missed(missed: str, judged: list[str | None]):
    assert judge(ago(180, 120, 60), True, NOW, missed, DAY) == judged


def test_what_was_missed_long_ago_is_skipped():
    assert judge(ago(3 * DAY, 60), True, NOW, "all", DAY) == [TOO_LATE, None]
    assert judge(ago(3 * DAY, 2 * DAY), True, NOW, "once", DAY) == [TOO_LATE, TOO_LATE]
    assert judge(ago(60), True, NOW, "once", 59) == [TOO_LATE]
    assert judge(ago(60), True, NOW, "once", 60) == [None]


def test_the_one_that_runs_for_those_missed_is_the_last_of_all():
    assert judge(ago(180, 120), False, NOW, "once", DAY) == [SUPERSEDED, SUPERSEDED]
    assert judge(ago(180, 0.5), True, NOW, "once", DAY) == [SUPERSEDED, None]


def test_at_most_1000_of_those_missed_run_and_these_are_the_last():
    due = ago(*range(MOST + 10, 1, -1))
    judged = judge(due, True, NOW, "all", DAY)
    assert judged == [TOO_MANY] * (len(due) - MOST) + [None] * MOST
    # While others are due that are not known, the last 1,000 are left to be judged with them.
    assert judge(due, False, NOW, "all", DAY) == [TOO_MANY] * (len(due) - MOST)
    assert judge(due[:MOST], False, NOW, "all", DAY) == []


def test_what_fell_into_a_pause_does_not_run():
    pause = Pause(NOW - 150, NOW - 50, "paused")
    assert judge(ago(180, 120, 60), True, NOW, "once", DAY, [pause]) == [None, "paused", "paused"]
    assert judge(ago(180, 150, 50, 20), True, NOW, "all", DAY, [pause]) == [None, None, "paused", None]
    assert judge(ago(120, 60), True, NOW, "once", DAY, [pause]) == ["paused", "paused"]


def test_jitter_makes_nothing_late():
    assert judge([Due(NOW - 100, NOW)], True, NOW, "skip", DAY) == [None]


@pytest.mark.parametrize(
    ("overlap", "active", "wanted"),
    [
        ("skip", 0, Step()),
        ("skip", 1, Step(skip=OVERLAP)),
        ("allow", 5_000, Step()),
        ("queue", 0, Step()),
        ("queue", 1, Step(waits=True)),
        ("queue", MOST, Step(waits=True)),
        ("queue", MOST + 1, Step(skip=FULL)),
        ("cancel", 0, Step()),
        ("cancel", 2, Step(waits=True, cancels=True)),
    ],
)
def test_overlap(overlap: str, active: int, wanted: Step):
    assert step(overlap, active) == wanted
