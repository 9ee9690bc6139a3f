"""Futures, as Pykka has them, and awaited by asyncio."""

from __future__ import annotations

import asyncio
import queue
import threading
import traceback
import types
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any

import pykka
import pytest

from fake_port import PATIENCE, FakePort
from understudy import Actor, ActorFuture, get_all
from understudy.actors.errors import AskTimeout, InvalidOption, NotInTask
from understudy.actors.refs.futures import Answer
from understudy.actors.task import current_actor
from understudy.actors.task.declaration import Task


class Echo(Actor):
    def echo(self, value: Any) -> Any:
        return value


@pytest.fixture
def future() -> ActorFuture[Any]:
    return ActorFuture()


def three() -> list[ActorFuture[int]]:
    return [ActorFuture() for _ in range(3)]


def counted(function: Callable[..., Any]) -> tuple[Callable[..., Any], list[Any]]:
    """The function, and a list of the arguments of its calls."""
    calls: list[Any] = []

    def call(*args: Any) -> Any:
        calls.append(args)
        return function(*args)

    return call, calls


def test_what_is_set_is_got_again_and_again(future: ActorFuture[int]) -> None:
    future.set(3)
    assert [future.get(), future.get(timeout=0)] == [3, 3]
    nothing: ActorFuture[None] = ActorFuture()
    nothing.set()
    assert nothing.get() is None
    assert repr(future) == "<ActorFuture>"


def test_it_is_set_once(future: ActorFuture[int]) -> None:
    future.set(0)
    for again in (
        lambda: future.set(1),
        lambda: future.set_get_hook(lambda timeout: 1),
        lambda: fail(future),
    ):
        with pytest.raises(queue.Full):
            again()
    assert future.get() == 0


def fail(future: ActorFuture[Any]) -> None:
    try:
        raise NameError("foo")
    except NameError:
        future.set_exception()


def test_get_waits_for_another_thread(future: ActorFuture[int]) -> None:
    thread = threading.Timer(0.01, future.set, [3])
    thread.start()
    assert future.get(timeout=PATIENCE) == 3
    thread.join()


@pytest.mark.parametrize("timeout", [0, 0.01, -1])
def test_get_waits_no_longer_than_its_timeout(future: ActorFuture[int], timeout: float) -> None:
    with pytest.raises(pykka.Timeout) as caught:
        future.get(timeout=timeout)
    assert isinstance(caught.value, AskTimeout)


def test_a_timeout_must_be_seconds(future: ActorFuture[int]) -> None:
    with pytest.raises(InvalidOption, match="timeout must be seconds"):
        future.get(timeout="soon")  # type: ignore[arg-type]


def test_an_error_is_raised_with_the_frames_where_it_was_raised(future: ActorFuture[int]) -> None:
    fail(future)
    for _ in range(2):
        with pytest.raises(NameError, match="foo") as caught:
            future.get()
        assert "fail" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_an_error_can_be_given(future: ActorFuture[int]) -> None:
    future.set_exception((ValueError, None, None))
    with pytest.raises(ValueError):  # noqa: PT011 - it has no message
        future.get()
    with pytest.raises(TypeError, match="needs an exception"):
        ActorFuture().set_exception()


def test_a_future_may_hold_a_future(future: ActorFuture[Any]) -> None:
    inner: ActorFuture[str] = ActorFuture()
    inner.set("foo")
    future.set(inner)
    assert future.get().get() == "foo"


# --- hooks ---


def test_a_hook_is_called_once_with_the_timeout(future: ActorFuture[Any]) -> None:
    hook, calls = counted(lambda timeout: None)
    future.set_get_hook(hook)
    assert [future.get(timeout=3), future.get(timeout=0)] == [None, None]
    assert calls == [(3,)]
    with pytest.raises(queue.Full):
        future.set(1)
    with pytest.raises(queue.Full):
        fail(future)


def test_a_hook_that_raises_is_called_again(future: ActorFuture[Any]) -> None:
    outcomes = [TimeoutError(), 3]

    def hook(timeout: float | None) -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    future.set_get_hook(hook)
    with pytest.raises(TimeoutError):
        future.get()
    assert future.get() == 3


# --- futures of futures ---


def test_get_all_waits_for_all() -> None:
    futures = three()
    for number, each in enumerate(futures):
        each.set(number)
    assert get_all(futures) == [0, 1, 2]
    assert get_all(futures, timeout=1) == [0, 1, 2]


def test_get_all_has_one_timeout_for_all() -> None:
    futures = three()
    futures[0].set(0)
    with pytest.raises(pykka.Timeout):
        get_all(futures, timeout=0.01)


def test_map(future: ActorFuture[Any]) -> None:
    mapped = future.map(lambda value: value["foo"])
    future.set({"foo": "bar"})
    assert mapped.get(timeout=0) == "bar"


def test_map_gets_the_whole_value(future: ActorFuture[Any]) -> None:
    mapped = future.map(lambda value: value + 10)
    future.set([10, 20])
    with pytest.raises(TypeError):
        mapped.get(timeout=0)


def test_filter(future: ActorFuture[Any]) -> None:
    filtered = future.filter(lambda item: item > 10)
    future.set([1, 11, 3, 13])
    assert filtered.get(timeout=0) == [11, 13]


def test_reduce(future: ActorFuture[Any]) -> None:
    total, from_five = future.reduce(lambda x, y: x + y), future.reduce(lambda x, y: x + y, 5)
    future.set([1, 2, 3])
    assert (total.get(timeout=0), from_five.get(timeout=0)) == (6, 11)
    empty: ActorFuture[list[int]] = ActorFuture()
    empty.set([])
    assert empty.reduce(lambda x, y: x + y, 5).get() == 5


def test_join() -> None:
    futures = three()
    joined = futures[0].join(*futures[1:])
    for number, each in enumerate(futures):
        each.set(number)
    assert joined.get(timeout=0) == [0, 1, 2]


DERIVED: dict[str, Callable[[ActorFuture[Any]], ActorFuture[Any]]] = {
    "map": lambda future: future.map(lambda value: value),
    "filter": lambda future: future.filter(bool),
    "reduce": lambda future: future.reduce(lambda x, y: x + y),
    "join": lambda future: future.join(future),
}


@pytest.mark.parametrize("way", DERIVED)
def test_a_derived_future_passes_the_timeout_on(future: ActorFuture[Any], way: str) -> None:
    derived = DERIVED[way](future)
    with pytest.raises(pykka.Timeout):
        derived.get(timeout=0)
    future.set([1])
    assert derived.get(timeout=0) is derived.get(), "the function runs once"
    with pytest.raises(queue.Full):
        derived.set(1)


@pytest.mark.parametrize("way", ["filter", "reduce"])
def test_what_is_not_iterable_is_a_type_error(future: ActorFuture[Any], way: str) -> None:
    derived = DERIVED[way](future)
    future.set(1)
    with pytest.raises(TypeError):
        derived.get(timeout=0)


# --- asyncio ---


def test_await_waits_without_blocking_the_loop(future: ActorFuture[int]) -> None:
    async def program() -> list[Any]:
        asyncio.get_running_loop().call_later(0.01, future.set, 3)
        return [await future, await future.map(lambda n: n + 1), await future.join(future)]

    assert asyncio.run(program()) == [3, 4, [3, 3]]


def test_await_raises_the_error(future: ActorFuture[int]) -> None:
    async def program() -> Any:
        return await future

    fail(future)
    with pytest.raises(NameError, match="foo"):
        asyncio.run(program())


def test_await_runs_a_hook_on_another_thread(future: ActorFuture[int]) -> None:
    async def program() -> Any:
        return await future

    future.set_get_hook(lambda timeout: threading.get_ident())
    assert asyncio.run(program()) != threading.get_ident()


def test_await_in_generators(future: ActorFuture[int]) -> None:
    @types.coroutine
    def old_way() -> Generator[Any, None, int]:
        return (yield from future)

    async def program() -> int:
        return await old_way()

    future.set(1)
    assert asyncio.run(program()) == 1


def test_await_can_be_given_up(future: ActorFuture[int]) -> None:
    async def program() -> int:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_awaited(future), 0.01)
        future.set(3)
        return await future

    assert asyncio.run(program()) == 3


async def _awaited(future: ActorFuture[Any]) -> Any:
    return await future


def test_an_answer_cannot_be_set(port: FakePort) -> None:
    answer = port.actor(Echo).submit(Echo.echo, 1)
    for use in (lambda: answer.set(2), lambda: fail(answer), lambda: answer.set_get_hook(lambda timeout: 2)):
        with pytest.raises(queue.Full):
            use()
    assert answer.get() == 1


def test_await_of_answers(port: FakePort) -> None:
    ref = port.actor(Echo)

    async def program() -> list[Any]:
        both = await asyncio.gather(*(ref.submit(Echo.echo, n) for n in range(3)))
        return [*both, await ref.tell("x", block=False), await ref.stop(block=False)]

    assert asyncio.run(program()) == [0, 1, 2, None, True]


def test_await_keeps_the_timeout_of_the_reference() -> None:
    async def program() -> None:
        await Answer(Future(), lambda reply: reply, "it", 0.01)

    with pytest.raises(AskTimeout, match=r"it has not answered within 0\.01 s"):
        asyncio.run(program())


# --- in tasks ---


class Running:
    """A task that notes its waits."""

    actor_stopped = threading.Event()
    task: Task[..., Any] = Task.named("m:f")

    def __init__(self, loop: Any = None) -> None:
        self.waits: list[Any] = []
        if loop is not None:
            self.loop = loop

    def wait_future(self, future: Future[Any], timeout: float | None) -> bool:
        self.waits.append(timeout)
        future.set_result(1)
        return True

    async def wait_future_async(self, future: Future[Any], timeout: float | None) -> bool:
        return self.wait_future(future, timeout)


def test_the_wait_of_a_task_is_the_tasks(future: ActorFuture[int]) -> None:
    task = Running()
    token = current_actor.current.set(task)  # type: ignore[arg-type]
    try:
        assert future.get(timeout=7) == 1
        assert task.waits == [7]
    finally:
        current_actor.current.reset(token)


def test_the_wait_of_an_async_task_is_the_tasks(port: FakePort, future: ActorFuture[int]) -> None:
    ref = port.actor(Echo)

    async def program() -> Any:
        task = Running(asyncio.get_running_loop())
        current_actor.current.set(task)  # type: ignore[arg-type]
        for blocking in (lambda: ref.ask(1), lambda: ref.tell(1), ref.stop, lambda: ref.call(Echo.echo, 1)):
            with pytest.raises(NotInTask, match=r"would block the event loop .*: await ref\.submit"):
                blocking()
        return [await future, task.waits]

    assert asyncio.run(program()) == [1, [None]]
    assert port.letters == []
