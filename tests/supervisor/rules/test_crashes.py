"""Deaths and retry delays of tasks that live long."""

from __future__ import annotations

from understudy.supervisor.rules.crashes import delays_from, recent


def test_a_death_counts_for_the_length_of_the_window() -> None:
    assert recent((0.0, 50.0, 100.0), 100.0, 50.0) == (50.0, 100.0)
    assert recent((), 100.0, 50.0) == ()


def test_a_clock_that_was_set_back_forgives_nothing() -> None:
    assert recent((500.0,), 100.0, 50.0) == (500.0,)


def test_the_delays_begin_anew_after_an_attempt_as_long_as_the_window() -> None:
    assert delays_from(1, 4, seconds=9.9, window=10.0) == 1
    assert delays_from(1, 4, seconds=10.0, window=10.0) == 4
    assert delays_from(4, 6, seconds=0.0, window=10.0) == 4
