"""The executor of an event loop: shares of tasks, and threads that ended tasks have left behind."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from understudy.actors.attempt.actor import current_actor
from understudy.actors.attempt.loop_executor import EACH, LoopExecutor

PATIENCE = 20.0


@pytest.fixture
def executor() -> Any:
    made = LoopExecutor()
    yield made
    made.shutdown()


class Blocker:
    """Calls that block until they are let go, with the number of those that have begun."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)

    def __call__(self, value: Any = None) -> Any:
        self.begun.release()
        self.go.wait(PATIENCE)
        return value

    def until_begun(self, count: int) -> None:
        for _ in range(count):
            assert self.begun.acquire(timeout=PATIENCE)


def test_each_task_has_a_share_and_keeps_its_order(stage: Any, executor: LoopExecutor) -> None:
    blocker, order = Blocker(), list[int]()

    async def hog() -> Any:
        asyncio.get_running_loop().set_default_executor(executor)
        blocked = [asyncio.to_thread(blocker) for _ in range(EACH)]
        return await asyncio.gather(*blocked, *(asyncio.to_thread(order.append, n) for n in range(20)))

    async def other() -> Any:
        return await asyncio.to_thread(lambda: "served")

    hogging = stage.perform(hog)
    blocker.until_begun(EACH)
    assert stage.perform(other).value() == "served"
    assert order == [], "its own calls wait for its own threads"
    blocker.go.set()
    hogging.value()
    assert sorted(order) == list(range(20))
    assert executor._shares == {}


def test_calls_of_ended_tasks_hold_up_nobody(stage: Any, executor: LoopExecutor) -> None:
    blocker = Blocker()

    async def leaves() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(executor)
        for _ in range(EACH):
            loop.run_in_executor(None, blocker)

    async def look_up() -> Any:
        return len(await asyncio.get_running_loop().getaddrinfo("localhost", 80)) > 0

    for _ in range(3):
        stage.perform(leaves).outcome()
    blocker.until_begun(3 * EACH)
    assert stage.perform(look_up).value() is True
    blocker.go.set()


def test_results_errors_and_cancelled_calls(executor: LoopExecutor) -> None:
    blocker = Blocker()
    blocked = [executor.submit(blocker, n) for n in range(EACH)]
    blocker.until_begun(EACH)
    cancelled: Future[Any] = executor.submit(print, "never")
    failing = executor.submit(int, "x", base=10)
    assert cancelled.cancel()
    blocker.go.set()
    assert [call.result(PATIENCE) for call in blocked] == list(range(EACH))
    assert isinstance(failing.exception(PATIENCE), ValueError)
    assert current_actor.get(None) is None


def test_after_the_shutdown_it_takes_nothing(executor: LoopExecutor) -> None:
    executor.shutdown()
    with pytest.raises(RuntimeError):
        executor.submit(print)
    assert all(not share.threads and not share.queue for share in executor._shares.values())
