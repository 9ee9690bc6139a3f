from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from understudy.actors.errors import NotInTask, TaskFailed, TaskNotFound
from understudy.actors.ids import id_text
from understudy.actors.inside import aio, context
from understudy.actors.inside.context import lineage_here
from understudy.actors.refs.async_ref import AsyncActorRef
from understudy.actors.refs.ref import ActorRef
from understudy.actors.task import current_runtime
from understudy.actors.task.handles import TaskInfo

CALLS: dict[str, Callable[[], Any]] = {
    "receive": aio.receive,
    "checkpoint": lambda: aio.checkpoint(1),
    "restore": aio.restore,
    "sleep": lambda: aio.sleep(0),
}


@pytest.mark.parametrize("name", CALLS)
def test_outside_of_a_task(name: str) -> None:
    with pytest.raises(NotInTask, match=f"^{name} works only inside a running task"):
        asyncio.run(CALLS[name]())


@pytest.mark.parametrize("name", CALLS)
def test_in_a_sync_task(stage: Any, name: str) -> None:
    def body() -> Any:
        with pytest.raises(NotInTask, match=f"here use understudy.{name}"):
            asyncio.run(CALLS[name]())

    stage.perform(body).value()


def test_every_public_name_is_there() -> None:
    assert all(hasattr(aio, name) for name in aio.__all__)
    for shared in ("cancelled", "current", "progress"):
        assert getattr(aio, shared) is getattr(context, shared)


class Runtime:
    """Answers on whatever thread it is asked; the results come when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.results: dict[str, Future[Any]] = defaultdict(Future)
        self.threads: set[threading.Thread] = set()

    def send(self, id: str, message: Any) -> None:
        self.threads.add(threading.current_thread())
        if id == "nobody":
            raise TaskNotFound("no such task", id)
        self.calls.append(("send", id, message))

    def restore(self, id: str) -> Any:
        return {"of": id}

    def start(self, task: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(("start", task, args, kwargs, lineage_here()))
        return TaskInfo(b"i" * 16, b"s" * 16, task)

    def actor(self, cls: str, name: str | None, /, *args: Any, **kwargs: Any) -> ActorRef[Any]:
        self.calls.append(("actor", cls, name, args, kwargs, lineage_here()))
        self.threads.add(threading.current_thread())
        return ActorRef(b"i" * 16, cls, name)

    def wait_for(self, id: str | TaskInfo[Any]) -> Future[Any]:
        return self.results[id.id if isinstance(id, TaskInfo) else id]


def use(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> None:
    monkeypatch.setattr(current_runtime, "_own", lambda: runtime)


def test_calls_of_the_runtime(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime()
    use(monkeypatch, runtime)
    runtime.results["k"].set_result(7)
    started = id_text(b"i" * 16)
    runtime.results[started].set_exception(TaskFailed("no", started))

    async def body() -> Any:
        await aio.send("i", {"x": 1})
        started = await aio.start("app:etl", 1, b=2)
        ref = await aio.actor("app:Account", "ada", 1, b=2)
        assert isinstance(ref, AsyncActorRef)
        assert (ref.name, ref.class_name) == ("ada", "app:Account")
        with pytest.raises(TaskNotFound):
            await aio.send("nobody", 1)
        with pytest.raises(TaskFailed):
            await aio.result(started)
        return [await aio.restore("j"), await aio.result("k", 3)]

    play = stage.perform(body)
    assert play.value() == [{"of": "j"}, 7]
    actor = play.actor
    assert runtime.calls == [
        ("send", "i", {"x": 1}),
        ("start", "app:etl", (1,), {"b": 2}, (actor.id, actor.assignment.stream)),
        ("actor", "app:Account", "ada", (1,), {"b": 2}, (actor.id, actor.assignment.stream)),
    ]
    # Never on the event loop, which the call would block.
    assert all(thread.name.startswith("understudy-aio") for thread in runtime.threads)


def test_a_result_outside_of_an_async_task() -> None:
    with pytest.raises(NotInTask):
        asyncio.run(aio.result("i"))


def test_a_result_that_does_not_come_in_time(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime()
    use(monkeypatch, runtime)

    async def body() -> None:
        await aio.result("i", timeout=0.01)

    outcome = stage.perform(body).outcome()
    assert outcome.error[:2] == ("TimeoutError", "task i has not ended within 0.01 s")
    assert runtime.results["i"].cancelled()


def test_any_number_may_wait_for_results_and_still_call(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime()
    use(monkeypatch, runtime)

    async def waits(n: int) -> Any:
        return await aio.result(str(n))

    async def sends() -> None:
        await aio.send("i", 1)

    waiting = [stage.perform(waits, n) for n in range(100)]
    for play in waiting:
        play.until_waiting()
    stage.perform(sends).value()
    for n in range(100):
        runtime.results[str(n)].set_result(n)
    assert [play.value() for play in waiting] == list(range(100))


@pytest.mark.parametrize("reason", ["cancel", "timeout"])
def test_a_signal_ends_the_wait_for_a_result(
    stage: Any, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    runtime = Runtime()
    use(monkeypatch, runtime)

    async def body() -> None:
        await aio.result("i")

    play = stage.perform(body)
    play.until_waiting()
    play.actor.stop_for(reason)
    assert play.outcome().error[0] == "CancelledError"
    assert runtime.results["i"].cancelled()
