"""The executor of an event loop: shares of tasks, and threads that ended tasks have left behind."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from understudy.actors.attempt import loop_executor
from understudy.actors.attempt.actor import current_actor
from understudy.actors.attempt.loop_executor import EACH, LoopExecutor
from waiting import until

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
    # A thread gives its share back only after it has set the last result.
    until(lambda: executor._shares == {})


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
    assert executor._shares == {}
    assert executor._all == set()


def test_a_shutdown_may_cancel_what_has_not_begun(executor: LoopExecutor) -> None:
    blocker = Blocker()
    blocked = [executor.submit(blocker, n) for n in range(EACH)]
    blocker.until_begun(EACH)
    waiting = executor.submit(print, "never")
    executor.shutdown(wait=False, cancel_futures=True)
    assert waiting.cancelled()
    blocker.go.set()
    assert [call.result(PATIENCE) for call in blocked] == list(range(EACH))


def refuse(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_call_for_which_no_thread_can_be_started_leaves_nothing(
    executor: LoopExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            executor.submit(made.append, 1)
    assert executor._shares == {}
    assert executor._all == set()
    executor.submit(made.append, 2).result(PATIENCE)
    until(lambda: executor._shares == {})
    assert made == [2]


def test_a_task_with_a_thread_needs_no_other(executor: LoopExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    blocker = Blocker()
    blocked = executor.submit(blocker, 1)
    blocker.until_begun(1)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        waiting = executor.submit(int, "2")
    blocker.go.set()
    assert [blocked.result(PATIENCE), waiting.result(PATIENCE)] == [1, 2]
    until(lambda: executor._shares == {})


def test_an_idle_thread_makes_the_next_call_or_ends(
    executor: LoopExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = executor.submit(threading.get_ident).result(PATIENCE)
    until(lambda: executor._idle)
    monkeypatch.setattr(loop_executor, "IDLE", 0.01)
    assert executor.submit(threading.get_ident).result(PATIENCE) == first
    until(lambda: not executor._all)
    assert executor._idle == []
    assert executor.submit(int, "3").result(PATIENCE) == 3
