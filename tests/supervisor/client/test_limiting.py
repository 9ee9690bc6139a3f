"""The calls about limits, with the checks that are made before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from understudy import InvalidOption, Limit, LimitNotFound, sleep, task
from understudy.testing import InlineRuntime

DOOR = Limit("door", concurrency=1, rate="100/s")


@task(limit=DOOR)
def pass_door(seconds: float) -> None:
    sleep(seconds)


def test_a_limit_is_named_by_itself_too():
    with InlineRuntime() as rt:
        first, second = rt.start(pass_door, 5.0), rt.start(pass_door, 5.0)
        rt.settle()
        assert rt.limit_of(first) is None
        info = rt.limit_of(second)
        assert info is not None
        assert (info.name, info.used, info.waiting) == ("door", 1, 1)
        assert str(info) == "door (1 at once, 100/s; 1 used)"
        assert info.as_dict()["rate"] == "100/s"
        assert second.status().waits_for == "limit"
        rt.set_limit(DOOR, concurrency=2)
        assert rt.limit_of(second) is None
        assert [(i.concurrency, str(i.rate)) for i in rt.limits() if i.name == "door"] == [(2, "100/s")]


@pytest.mark.parametrize(
    ("limit", "numbers"),
    [
        (7, {}),
        (DOOR, {"concurrency": 0}),
        (DOOR, {"rate": "often"}),
        (DOOR, {"concurrency": "2"}),
    ],
)
def test_a_wrong_number_is_refused(limit: Any, numbers: Any):
    with InlineRuntime() as rt, pytest.raises(InvalidOption):
        rt.set_limit(limit, **numbers)


def test_a_limit_that_no_task_has():
    with InlineRuntime() as rt, pytest.raises(LimitNotFound, match="no task has the limit 'no'"):
        rt.set_limit("no", rate="1/s")
