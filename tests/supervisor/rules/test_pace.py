"""Which tasks count as quick."""

from __future__ import annotations

import pytest

from room import learn_pace
from understudy.supervisor.rules.pace import (
    AHEAD_SECONDS,
    IN_A_ROW,
    LIGHT,
    QUICK,
    RUNS,
    UNKNOWN,
    Paces,
    Streak,
)


def test_the_average_follows_what_attempts_take():
    paces = Paces()
    assert paces.of("a") == UNKNOWN
    assert not paces.is_quick("a")
    runs = 0
    while not paces.is_quick("a"):
        before = paces.of("a")
        paces.learn("a", 0.0)
        assert paces.of("a") < before
        runs += 1
    assert 2 < runs < 40
    paces.learn("a", 1.0)
    assert not paces.is_quick("a"), "one slow attempt is enough"
    assert paces.of("b") == UNKNOWN, "each task has a pace of its own"


def test_work_handed_out_ahead_is_bounded_in_seconds():
    paces = Paces()
    learn_pace(paces, "quick", QUICK / 2)
    most = paces.fitting(["quick"] * 100, 0)
    assert most * QUICK / 2 == pytest.approx(AHEAD_SECONDS, abs=QUICK)
    assert paces.fitting(["quick"] * 100, 5) == most - 5
    assert paces.fitting(["quick"] * 3, 0) == 3
    assert paces.fitting([], 0) == 0


def test_nothing_behind_a_slow_task_is_handed_out_ahead():
    paces = Paces()
    learn_pace(paces, "quick", 0.0)
    assert paces.fitting(["quick", "quick", "unknown", "quick"], 0) == 2


@pytest.mark.parametrize("short", [True, False])
def test_a_streak_ends_with_the_first_attempt_that_takes_long(short: bool):
    streak = Streak()
    seconds = 0.0 if short else 2 * IN_A_ROW
    for _ in range(RUNS):
        assert not streak.runs_in_a_row
        assert not streak.may_gather
        streak.computed(0.0)
        assert streak.took(seconds) is short
    assert streak.runs_in_a_row == short
    assert streak.may_gather
    streak.computed(2 * LIGHT)
    streak.took(2 * LIGHT)
    assert not streak.runs_in_a_row
    assert not streak.may_gather
