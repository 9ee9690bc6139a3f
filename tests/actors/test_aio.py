from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from understudy.actors import aio, ambient, context
from understudy.actors.context import lineage_here
from understudy.actors.errors import NotInTask, TaskNotFound
from understudy.actors.info import TaskInfo

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
    """Answers on whatever thread it is asked, and blocks in `result` until all have asked."""

    def __init__(self, parties: int = 1) -> None:
        self.barrier = threading.Barrier(parties)
        self.calls: list[tuple[Any, ...]] = []

    def send(self, id: str, message: Any) -> None:
        if id == "nobody":
            raise TaskNotFound("no such task", id)
        self.calls.append(("send", id, message))

    def restore(self, id: str) -> Any:
        return {"of": id}

    def start(self, task: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(("start", task, args, kwargs, lineage_here()))
        return TaskInfo("i", "s", task)

    def result(self, id: str, timeout: float | None = None) -> Any:
        self.barrier.wait(20)
        return [id, timeout, threading.current_thread() is threading.main_thread()]


def use(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> None:
    monkeypatch.setattr(ambient, "_own", lambda: runtime)


def test_calls_of_the_runtime(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime()
    use(monkeypatch, runtime)

    async def body() -> Any:
        await aio.send("i", {"x": 1})
        started = await aio.start("app:etl", 1, b=2)
        with pytest.raises(TaskNotFound):
            await aio.send("nobody", 1)
        return [await aio.restore("j"), await aio.result("k", 3), await aio.result(started)]

    play = stage.perform(body)
    assert play.value() == [{"of": "j"}, ["k", 3, False], ["i", None, False]]
    actor = play.actor
    assert runtime.calls == [
        ("send", "i", {"x": 1}),
        ("start", "app:etl", (1,), {"b": 2}, (actor.id, actor.assignment.stream)),
    ]


def test_many_may_wait_for_results_and_still_call(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # More than asyncio's own threads: each result comes only once all have been asked for and a send got through.
    waiting = 60
    runtime = Runtime(waiting + 1)
    use(monkeypatch, runtime)

    async def body() -> Any:
        results = asyncio.gather(*(aio.result(str(n)) for n in range(waiting)))
        while runtime.barrier.n_waiting < waiting:  # noqa: ASYNC110 - a barrier has no event
            await asyncio.sleep(0.001)
        await aio.send("i", 1)
        await asyncio.to_thread(runtime.barrier.wait, 20)
        return len(await results)

    assert stage.perform(body).value() == waiting


def test_a_cancel_does_not_wait_for_the_runtime(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(2)
    use(monkeypatch, runtime)

    async def body() -> None:
        await aio.result("i")

    play = stage.perform(body)
    play.until(lambda: play.actor._begun)
    play.actor.stop_for("cancel")
    assert play.outcome().error[0] == "CancelledError"
    runtime.barrier.abort()
