"""Calls in steps, carried out by a thread and by an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from understudy.supervisor.client.deadline import NO_DEADLINE, Deadline
from understudy.supervisor.client.steps import Steps, finish, finish_async, finish_in_threads
from waiting import until


class Late(Exception):
    pass


class Call:
    """Adds up what its futures give."""

    def __init__(self, *futures: Future[int]) -> None:
        self.futures = futures
        self.closed = False
        self.threads: set[str] = set()

    def steps(self) -> Steps[int]:
        total = 0
        try:
            for future in self.futures:
                self.threads.add(threading.current_thread().name)
                yield future
                total += future.result()
            return total
        finally:
            self.closed = True


def late(_deadline: Deadline) -> Exception:
    return Late()


def done(value: int) -> Future[int]:
    future: Future[int] = Future()
    future.set_result(value)
    return future


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, thread_name_prefix="steps") as pool:
        yield pool


def test_a_call_goes_on_when_its_future_is_done(threads: ThreadPoolExecutor):
    assert finish(Call(done(1), done(2)).steps(), NO_DEADLINE, late) == 3
    assert finish(Call().steps(), NO_DEADLINE, late) == 0

    async def story() -> None:
        second: Future[int] = Future()
        adding = asyncio.create_task(finish_async(Call(done(1), second).steps(), NO_DEADLINE, late))
        await asyncio.sleep(0)
        second.set_result(4)
        assert await adding == 5
        call = Call(done(1), done(2))
        assert await finish_in_threads(call.steps(), NO_DEADLINE, late, threads) == 3
        assert call.threads == {"steps_0"}

    asyncio.run(story())


def test_a_call_whose_time_is_over_is_closed(threads: ThreadPoolExecutor):
    calls = [Call(Future()) for _ in range(3)]
    with pytest.raises(Late):
        finish(calls[0].steps(), Deadline(0.01), late)

    async def story() -> None:
        with pytest.raises(Late):
            await finish_async(calls[1].steps(), Deadline(0.01), late)
        with pytest.raises(Late):
            await finish_in_threads(calls[2].steps(), Deadline(0.01), late, threads)

    asyncio.run(story())
    assert all(call.closed for call in calls)


def test_errors_of_a_future_are_the_calls_own(threads: ThreadPoolExecutor):
    def failing() -> Future[int]:
        future: Future[int] = Future()
        future.set_exception(TimeoutError("the task's own"))
        return future

    with pytest.raises(TimeoutError, match="own"):
        finish(Call(failing()).steps(), Deadline(5), late)

    async def story() -> None:
        with pytest.raises(TimeoutError, match="own"):
            await finish_async(Call(failing()).steps(), Deadline(5), late)
        with pytest.raises(TimeoutError, match="own"):
            await finish_in_threads(Call(failing()).steps(), Deadline(5), late, threads)

    asyncio.run(story())


def test_a_cancelled_call_is_closed(threads: ThreadPoolExecutor):
    async def story() -> None:
        for finishing in (
            lambda call: finish_async(call.steps(), NO_DEADLINE, late),
            lambda call: finish_in_threads(call.steps(), NO_DEADLINE, late, threads),
        ):
            call = Call(Future())
            waiting = asyncio.create_task(finishing(call))
            while not call.threads:  # noqa: ASYNC110 - another thread begins it
                await asyncio.sleep(0.001)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            until(lambda call=call: call.closed)

    asyncio.run(story())


def test_a_cancel_during_a_step_closes_the_call_after_the_step(threads: ThreadPoolExecutor):
    begun, go_on = threading.Event(), threading.Event()
    closed: list[int] = []

    def slow() -> Steps[None]:
        try:
            begun.set()
            go_on.wait(10)
            yield Future()
        finally:
            closed.append(1)

    async def story() -> None:
        waiting = asyncio.create_task(finish_in_threads(slow(), NO_DEADLINE, late, threads))
        while not begun.is_set():  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert closed == []
        go_on.set()

    asyncio.run(story())
    until(lambda: closed == [1])
