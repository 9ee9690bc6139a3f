from __future__ import annotations

import pickle

import pytest

from understudy.actors.errors import InvalidOption, NoRuntime
from understudy.actors.task.call import Call
from understudy.actors.task.declaration import task


@task(priority=1)
def greet(name: str, *, loud: bool = False) -> str:
    return name.upper() if loud else name


def test_a_call_holds_a_task_its_arguments_and_its_options():
    call = greet.options(key="one").call("Ada", loud=True)
    assert (call.args, call.kwargs, call.task.launch.key) == (("Ada",), {"loud": True}, "one")
    later = call.options(delay=5, priority=3)
    assert (later.task.launch.key, later.task.launch.delay) == ("one", 5.0)
    assert (later.task.options_in_force.priority, call.task.options_in_force.priority) == (3, 1)
    assert (later.args, later.kwargs) == (call.args, call.kwargs)
    assert greet.launch.key is None
    with pytest.raises(InvalidOption, match="unknown option 'colour'"):
        call.options(colour="red")


def test_a_call_is_pickled_and_started_like_its_task():
    call = greet.call("Ada")
    again = pickle.loads(pickle.dumps(call))
    assert isinstance(again, Call)
    assert (again.task.name, again.args, again.kwargs) == (greet.name, ("Ada",), {})
    with pytest.raises(NoRuntime):
        call.start()
