"""The future of an answer: Pykka's, and asyncio can await it.

A future is one of three:

1. An answer that is on its way, made by a reference.
2. Whatever a program sets, by `set`, `set_exception` or `set_get_hook`.
3. Made of other futures by `map`, `filter`, `join` or `reduce`. The function runs at the first `get` or `await`.

The wait of a task or of an actor's method holds no slot of its worker.
"""

from __future__ import annotations

import asyncio
import functools
import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Generic, NoReturn, TypeVar, cast

from ..clock import TimedFuture, clock_of
from ..errors import AskTimeout, NotInTask
from ..task.current_actor import running
from ..timeouts import check_timeout, deadline_of, left_of

T = TypeVar("T")
J = TypeVar("J")
M = TypeVar("M")
R = TypeVar("R")

ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]

_UNSET: Final = object()


class ActorFuture(Generic[T]):
    """A value that is there now or later. `get` waits for it, and so does `await`."""

    __slots__ = ("__weakref__", "_hook", "_lock", "_raw", "_value")

    def __init__(self) -> None:
        #: Done when the value or the error is known; a subclass may have another.
        self._raw: Future[Any] = Future()
        self._hook: Callable[[float | None], T] | None = None
        #: What the hook has returned, or what was read of the answer, once it is there.
        self._value: Any = _UNSET
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def get(self, *, timeout: float | None = None) -> T:
        """The value; raises its error. AskTimeout if it is not there within `timeout` seconds."""
        seconds = check_timeout(timeout)
        if self._hook is not None:
            with self._lock:
                if self._value is _UNSET:
                    self._value = self._hook(seconds)
            return cast("T", self._value)
        if not self._raw.done():
            wait_here(self._raw, seconds)
        return self._result(seconds)

    async def _get_async(self) -> T:
        if self._hook is not None:
            # A user's function, which may block.
            return await asyncio.to_thread(self.get)
        if not self._raw.done():
            await wait_async(self._raw, None)
        return self._result(None)

    def _result(self, seconds: float | None) -> T:
        if not self._raw.done():
            raise AskTimeout(f"no answer within {seconds:g} s")
        return cast("T", self._raw.result())

    def __await__(self) -> Generator[Any, None, T]:
        return self._get_async().__await__()

    __iter__ = __await__

    def set(self, value: T | None = None) -> None:
        """Set the value. Raises queue.Full if it is set already."""
        with self._free():
            self._raw.set_result(value)

    def set_exception(self, exc_info: ExcInfo | None = None) -> None:
        """Set an error, by default the one that is being handled. Raises queue.Full if a value is set already."""
        kind, error, traceback = sys.exc_info() if exc_info is None else exc_info
        if error is None:
            if kind is None:
                raise TypeError(
                    "set_exception needs an exception: call it in an except block, or pass exc_info"
                )
            error = kind()
        with self._free():
            self._raw.set_exception(error.with_traceback(traceback))

    def set_get_hook(self, func: Callable[[float | None], T]) -> None:
        """Have `get` call this function with its timeout, once. Raises queue.Full if a value is set already."""
        with self._free():
            self._hook = func

    def _free(self) -> threading.RLock:
        """The lock, if nothing is set yet."""
        with self._lock:
            if self._hook is not None or self._raw.done():
                raise queue.Full
        return self._lock

    def filter(self: ActorFuture[Iterable[J]], func: Callable[[J], bool]) -> ActorFuture[list[J]]:
        """The future of a list of the items for which the function is true."""
        return _Derived(lambda items: list(filter(func, items)), self)

    def join(self, *futures: ActorFuture[Any]) -> ActorFuture[list[Any]]:
        """The future of a list of the values of this future and of others."""
        return _Derived(lambda *values: list(values), self, *futures)

    def map(self, func: Callable[[T], M]) -> ActorFuture[M]:
        """The future of what the function makes of the value."""
        return _Derived(func, self)

    def reduce(self: ActorFuture[Iterable[J]], func: Callable[[Any, J], R], *args: R) -> ActorFuture[R]:
        """The future of the items reduced to one value, from the left; see `functools.reduce`."""
        return _Derived(lambda items: functools.reduce(func, items, *args), self)


class _Derived(ActorFuture[T]):
    """The future of what a function makes of the values of others."""

    __slots__ = ("_function", "_sources")

    def __init__(self, function: Callable[..., T], *sources: ActorFuture[Any]) -> None:
        super().__init__()
        self._function = function
        self._sources = sources
        self._hook = self._made

    def _made(self, timeout: float | None) -> T:
        return self._function(*get_all(self._sources, timeout=timeout))

    async def _get_async(self) -> T:
        # Not gather: like `get`, it raises the first error in the order of the futures.
        values = [await source for source in self._sources]
        if self._value is _UNSET:
            value = self._function(*values)
            if self._value is _UNSET:
                self._value = value
        return cast("T", self._value)


class Answer(ActorFuture[T]):
    """The answer to a letter."""

    __slots__ = ("_asked", "_read", "_timeout", "_who")

    def __init__(
        self,
        raw: Future[Any],
        read: Callable[[Any], T],
        who: object,
        timeout: float | None = None,
        asked: Callable[[Answer[Any]], None] | None = None,
    ) -> None:
        """`read` makes the value of what arrives; `who` is asked, as the text of errors names it.

        `asked` is called before a wait in a method of an actor, and once the answer is there.
        """
        # Not the base class's, which makes what only a future needs that is set here.
        self._raw = raw
        self._hook = None
        self._value = _UNSET
        self._read = read
        self._who = who
        self._timeout = timeout
        self._asked = asked

    def get(self, *, timeout: float | None = None) -> T:
        """See ActorFuture. Without a timeout, that of the reference counts: see `ActorRef.options`."""
        if self._asked is not None:
            self._asked(self)
        seconds = check_timeout(self._timeout if timeout is None else timeout)
        if not self._raw.done():
            wait_here(self._raw, seconds)
        return self._result(seconds)

    async def _get_async(self) -> T:
        if self._asked is not None:
            self._asked(self)
        if not self._raw.done():
            await wait_async(self._raw, self._timeout)
        return self._result(self._timeout)

    def _free(self) -> NoReturn:
        raise queue.Full

    def follow(self, raw: Future[Any]) -> None:
        """Wait for the answer in this future from now on: the letter was sent again."""
        self._raw = raw

    def cancel(self) -> bool:
        """Wait no longer. The message may be handled all the same."""
        return self._raw.cancel()

    def done(self) -> bool:
        """Whether the answer is there."""
        return self._raw.done()

    def _result(self, seconds: float | None) -> T:
        if not self._raw.done():
            raise AskTimeout(
                f"{self._who} has not answered within {seconds:g} s; the message may still be handled, and a second "
                "ask is another message unless both have the same key: see ActorRef.options"
            )
        if self._asked is not None:
            self._asked(self)
        if self._value is _UNSET:
            self._value = self._read(self._raw.result())
        return cast("T", self._value)


def get_all(futures: Iterable[ActorFuture[T]], *, timeout: float | None = None) -> Sequence[T]:
    """The values of all futures. `timeout` is for all of them together."""
    deadline: float | None = None
    values: list[T] = []
    for future in futures:
        clock = clock_of(future._raw)
        deadline = deadline_of(check_timeout(timeout), clock) if deadline is None else deadline
        values.append(future.get(timeout=None if deadline is None else max(0, left_of(deadline, clock) or 0)))
    return values


def wait_here(future: Future[Any], seconds: float | None) -> None:
    """Wait until the future is done or the time is over. In a task the wait holds no slot."""
    _hurry(future)
    actor = running()
    if actor is not None:
        actor.wait_future(future, seconds)
        return
    clock_of(future).wait(future, seconds)


def _hurry(future: Future[Any]) -> None:
    if isinstance(future, TimedFuture):
        future.hurry()


def check_may_block(what: str) -> None:
    """NotInTask on the event loop of an async task, which a wait would block; `what` is what to do instead."""
    actor = running()
    loop = getattr(actor, "loop", None)
    if loop is not None and loop is asyncio._get_running_loop():
        raise NotInTask(f"this would block the event loop of an async task or actor: {what}")


async def wait_async(future: Future[Any], seconds: float | None) -> None:
    """As `wait_here`, on an event loop."""
    _hurry(future)
    actor = running()
    if actor is not None and getattr(actor, "loop", None) is asyncio.get_running_loop():
        await actor.wait_future_async(future, seconds)  # type: ignore[attr-defined]  # an async task has it
        return
    done = asyncio.wrap_future(_followed(future))
    try:
        async with asyncio.timeout(seconds):
            await done
    except TimeoutError:
        return


def _followed(future: Future[Any]) -> Future[None]:
    """A future that is done when this one is, and that can be cancelled without it."""
    follower: Future[None] = Future()

    def follow(_: object) -> None:
        if follower.set_running_or_notify_cancel():
            follower.set_result(None)

    Future.add_done_callback(future, follow)
    return follower
