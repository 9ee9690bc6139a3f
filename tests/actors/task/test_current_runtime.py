from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from understudy.actors.errors import NoRuntime
from understudy.actors.task import current_runtime
from understudy.actors.task.current_runtime import RuntimeLike, enter, in_worker, leave, runtime


@pytest.fixture(autouse=True)
def nothing_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_runtime, "_entered", [])
    monkeypatch.setattr(current_runtime, "_own", None)


def made(count: int) -> list[RuntimeLike]:
    return [cast("RuntimeLike", object()) for _ in range(count)]


def test_outside_of_everything() -> None:
    with pytest.raises(NoRuntime, match="with Runtime"):
        runtime()


def test_the_innermost_one_counts() -> None:
    outer, inner = made(2)
    enter(outer)
    enter(inner)
    assert runtime() is inner
    leave(inner)
    assert runtime() is outer
    leave(outer)
    with pytest.raises(NoRuntime):
        runtime()


def test_left_in_another_order() -> None:
    one, two = made(2)
    enter(one)
    enter(two)
    enter(one)
    leave(two)
    leave(one)
    assert runtime() is one
    leave(two)  # not there any more: nothing happens
    assert runtime() is one


def test_the_stack_is_the_process_s() -> None:
    (one,) = made(1)
    enter(one)
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(runtime()))
    thread.start()
    thread.join()
    assert seen == [one]


def test_a_worker_s_own_comes_first_and_is_made_when_asked_for() -> None:
    before, own, entered = made(3)
    made_by_worker: list[RuntimeLike] = []

    def make() -> RuntimeLike:
        made_by_worker.append(own)
        return own

    enter(before)
    in_worker(make)
    assert made_by_worker == []
    assert runtime() is own
    enter(entered)  # one task's `with Runtime` must not redirect the tasks beside it
    assert runtime() is own
