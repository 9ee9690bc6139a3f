"""The numbers of a limit, and the room under one key of it."""

from __future__ import annotations

from understudy import Limit, Rate
from understudy.supervisor.tasks.gate_group import GateGroup
from understudy.supervisor.tasks.limits import LimitNumbers


def test_numbers_that_were_set_come_before_those_declared():
    numbers = LimitNumbers("api")
    numbers.declared = Limit("api", concurrency=2, rate="3/s")
    numbers.settle()
    assert (numbers.concurrency, numbers.rate) == (2, Rate(3, 1))
    numbers.set = (None, Rate(1, 1))
    numbers.settle()
    assert (numbers.concurrency, numbers.rate) == (None, Rate(1, 1))
    numbers.set = None
    numbers.settle()
    assert numbers.concurrency == 2


def test_the_room_is_the_least_that_both_numbers_allow():
    numbers = LimitNumbers("api")
    numbers.set = (3, Rate(2, 1))
    numbers.settle()
    group = GateGroup(numbers, None, lambda _sort: lambda _key, _count: [], 8)
    assert group.room(0.0) == 2
    group.window.let_in = 2
    assert group.room(0.0) == 0
    numbers.rate = None
    assert group.room(0.0) == 3
    numbers.concurrency = None
    assert group.room(0.0) > 1_000_000
    group.window.let_in = 0
    group.queue.horizon = None
    assert group.idle
