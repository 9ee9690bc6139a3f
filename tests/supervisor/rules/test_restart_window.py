from __future__ import annotations

import random

import pytest

from understudy.supervisor.rules.restart_window import noted


def test_as_many_as_allowed_and_one_more():
    window: tuple[float, ...] = ()
    found = []
    for at in (0.0, 1.0, 2.0, 3.0):
        window, too_many = noted(window, at, 3, 5.0)
        found.append(too_many)
    assert found == [False, False, False, True]


def test_old_ones_count_no_more():
    window, _ = noted((0.0, 1.0, 2.0), 5.5, 3, 5.0)
    assert window == (1.0, 2.0, 5.5)


def test_none_allowed():
    assert noted((), 7.0, 0, 5.0) == ((7.0,), True)


def test_times_of_a_clock_that_was_set_back_do_not_count():
    assert noted((100.0, 101.0, 102.0), 50.0, 3, 5.0) == ((50.0,), False)


@pytest.mark.parametrize("seed", range(20))
def test_it_says_what_a_count_of_all_times_says(seed: int):
    rng = random.Random(seed)
    limit, within = rng.randrange(5), rng.uniform(0.5, 3)
    now, every, window = 0.0, [], ()
    for _ in range(200):
        now += rng.expovariate(1)
        every.append(now)
        window, too_many = noted(window, now, limit, within)
        counted = [at for at in every if now - within <= at]
        assert too_many == (len(counted) > limit)
        assert len(window) <= limit + 1
