"""The window of a rate: never one too many in any window, and never one too few when there is room."""

from __future__ import annotations

import random

import pytest

from understudy import Rate
from understudy.supervisor.rules.rate_window import MARGIN, RateWindow, begins_of


@pytest.mark.parametrize("seed", range(30))
def test_no_window_has_one_too_many_and_none_stands_idle(seed: int):
    chance = random.Random(seed)
    rate = Rate(chance.randint(1, 6), chance.choice([0.5, 1, 10]))
    window, now = RateWindow(), 0.0
    begun: list[float] = []
    unbegun: list[float] = []
    for _ in range(400):
        now += chance.choice([0.0, rate.per / 50, rate.per / 3, rate.per])
        unbegun += [now] * (room := window.room(rate, now) if chance.random() < 0.8 else 0)
        window.let_in += room
        for let_in_at in chance.sample(unbegun, chance.randint(0, len(unbegun))):
            unbegun.remove(let_in_at)
            if chance.random() < 0.2:
                window.went_back()
                continue
            really = chance.uniform(let_in_at, now)
            begun.append(really)
            window.begun(chance.uniform(really, now))
        inside = [at for at in begun if at > now - rate.per]
        assert len(inside) + len(unbegun) <= rate.count
        free = rate.count - len(window.times) - window.let_in
        assert window.room(rate, now) >= free
    begun.sort()
    for first, at in enumerate(begun):
        assert sum(1 for other in begun[first:] if other < at + rate.per) <= rate.count


def test_it_says_when_the_next_one_may_begin():
    rate, window = Rate(2, 10), RateWindow([1.0, 4.0])
    assert window.room(rate, 5) == 0
    assert window.opens(rate) == 1.0 + 10 + MARGIN
    window.let_in += 1  # that of a larger rate
    assert window.opens(rate) == 4.0 + 10 + MARGIN
    window.let_in += 1
    assert window.opens(rate) is None, "only a begin can tell"
    window.went_back()
    window.went_back()
    assert window.room(rate, 11.001 + MARGIN) == 1
    assert window.opens(rate) is None
    assert window.room(rate, 14.001 + MARGIN) == 2
    assert not window


def test_times_of_a_wall_clock_are_those_of_the_monotonic_clock_and_none_lies_ahead():
    assert begins_of([107.0, 105.0], 100.0, 8.0) == [5.0, 7.0]
    assert begins_of([3_700.0], 100.0, 8.0) == [8.0], "the clock was set back since"


def test_a_begin_may_be_known_late():
    window = RateWindow([5.0])
    window.let_in = 1
    window.begun(3.0)
    assert list(window.times) == [3.0, 5.0]
    assert window
