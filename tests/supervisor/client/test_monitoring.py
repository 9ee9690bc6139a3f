"""The calls by which a task is told of the ends of others. What follows is in execution/test_monitors.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tie_tasks as app
from understudy import InvalidOption, NotInTask, TaskNotFound
from understudy.actors.ids import new_id
from understudy.actors.refs.async_ref import AsyncActorRef
from understudy.actors.refs.ref import ActorRef
from understudy.actors.task.handles import TaskInfo
from understudy.supervisor.client.monitoring import _watched
from understudy.testing import InlineRuntime


def test_who_is_watched_is_named_by_an_id_a_handle_or_a_reference():
    id = new_id()
    info: TaskInfo[Any] = TaskInfo(id, id, "jobs:f")
    ref: ActorRef[Any] = ActorRef(id, "jobs:Account")
    for named in (info, info.id, ref, AsyncActorRef(ref)):
        assert _watched(named) == id
    with pytest.raises(TaskNotFound):
        _watched("no id")
    with pytest.raises(InvalidOption):
        _watched(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("call", [InlineRuntime.monitor, InlineRuntime.demonitor])
def test_only_code_of_a_task_monitors(call: Callable[..., Any]):
    with InlineRuntime() as rt:
        id = rt.start(app.double, 1).id
        with pytest.raises(NotInTask, match="works only inside a task or an actor"):
            call(rt, id)
