"""A timer that is late by more than a second proves a pause; one that is a little late does not."""

from __future__ import annotations

import pytest

from understudy.supervisor.rules.pauses import PAUSE, was_paused


@pytest.mark.parametrize(
    ("late", "paused"),
    [(0.0, False), (PAUSE, False), (PAUSE + 0.001, True), (7 * 3600.0, True)],
)
def test_by_how_late_a_timer_is(late: float, paused: bool):
    assert was_paused(1000.0, 1000.0 + late) is paused


def test_no_timer_no_pause():
    assert not was_paused(None, 1000.0)
