"""Restart intensity, with the clock in the test's hand."""

from __future__ import annotations

import pytest

from understudy.supervisor.rules.restart_intensity import RestartIntensity


def test_bears_its_limit_and_not_one_more():
    restarts = RestartIntensity(limit=5, within=10)
    assert [restarts.note(now) for now in (0, 1, 2, 3, 4, 5)] == [False] * 5 + [True]


def test_deaths_leave_the_window():
    restarts = RestartIntensity(limit=2, within=10)
    assert [restarts.note(now) for now in (0, 1, 10.5, 11.5, 12)] == [False, False, False, False, True]
    assert len(restarts) == 3


def test_a_death_as_old_as_the_window_still_counts():
    restarts = RestartIntensity(limit=1, within=10)
    assert [restarts.note(0), restarts.note(10)] == [False, True]


def test_slow_deaths_never_exceed():
    restarts = RestartIntensity(limit=1, within=1)
    assert not any(restarts.note(now * 1.01) for now in range(1000))
    assert len(restarts) == 1


def test_a_limit_of_zero_makes_the_first_death_final():
    assert RestartIntensity(limit=0).note(0)


@pytest.mark.parametrize(("limit", "within"), [(-1, 1), (1, 0), (1, -1)])
def test_refuses_nonsense(limit: int, within: float):
    with pytest.raises(ValueError, match="limit"):
        RestartIntensity(limit, within)
