"""AsyncRuntime: the client for asyncio programs, with the calls of `Runtime` as coroutines."""

from __future__ import annotations

import asyncio
import builtins
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar, overload

from ...actors.task import current_runtime
from ...actors.task.call import Call
from ...actors.task.declaration import Task
from ...actors.task.handles import TaskInfo, TaskRecord
from ...actors.timeouts import check_timeout
from .runtime import IdLike, Runtime
from .start_rows import TaskLike
from .subscription import TaskEvent

P = ParamSpec("P")
T = TypeVar("T")

#: Calls that may run at once; each waits for a commit, which they share. Waiting for tasks takes no thread.
THREADS: Final = 32


def _awaitable(
    method: Callable[Concatenate[Runtime, P], T],
) -> Callable[Concatenate[AsyncRuntime, P], Coroutine[Any, Any, T]]:
    """The coroutine for a method of `Runtime`: it makes the call on another thread."""

    @functools.wraps(method)
    async def call(self: AsyncRuntime, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._call(method, self.sync, *args, **kwargs)

    return call


class AsyncRuntime:
    """`Runtime` for `async with AsyncRuntime(home) as rt:`. Belongs to one event loop at a time."""

    def __init__(self, home: str | os.PathLike[str] | None = None, **settings: Any) -> None:
        """Takes the arguments of `Runtime`. Connects at `async with` or `open`."""
        self._make: Callable[[], Runtime] = functools.partial(Runtime, home, **settings)
        self._sync: Runtime | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="understudy-async")

    @classmethod
    def connect(cls, home: str | os.PathLike[str] | None = None) -> Self:
        """Only attach: entering the block raises NotRunning if no supervisor serves `home`."""
        runtime = cls(home)
        runtime._make = functools.partial(Runtime.connect, home)
        return runtime

    async def open(self) -> Self:
        """Connect; starts a supervisor if none serves the home."""
        if self._sync is None:
            self._sync = await self._call(self._make)
        return self

    @property
    def sync(self) -> Runtime:
        """The `Runtime` that carries out the calls; other threads may use it."""
        if self._sync is None:
            raise RuntimeError("not connected: use `async with`, or await open() first")
        return self._sync

    send = _awaitable(Runtime.send)
    send_many = _awaitable(Runtime.send_many)
    cancel = _awaitable(Runtime.cancel)
    status = _awaitable(Runtime.status)
    list = _awaitable(Runtime.list)
    restore = _awaitable(Runtime.restore)
    logs = _awaitable(Runtime.logs)

    # Written out, because `_awaitable` knows no overloads.

    @overload
    async def start(self, task: Task[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TaskInfo[T]: ...
    @overload
    async def start(self, task: str, /, *args: Any, **kwargs: Any) -> TaskInfo[Any]: ...
    async def start(self, task: TaskLike, /, *args: Any, **kwargs: Any) -> TaskInfo[Any]:
        """See `Runtime.start`."""
        call: Callable[..., TaskInfo[Any]] = self.sync.start
        return await self._call(call, task, *args, **kwargs)

    @overload
    async def start_many(self, task: Iterable[Call[T]], /) -> builtins.list[TaskInfo[T]]: ...
    @overload
    async def start_many(self, task: Task[..., T], calls: Iterable[Any]) -> builtins.list[TaskInfo[T]]: ...
    @overload
    async def start_many(self, task: str, calls: Iterable[Any]) -> builtins.list[TaskInfo[Any]]: ...
    async def start_many(
        self, task: TaskLike | Iterable[Call[Any]], calls: Iterable[Any] | None = None
    ) -> builtins.list[TaskInfo[Any]]:
        """See `Runtime.start_many`."""
        call: Callable[..., builtins.list[TaskInfo[Any]]] = self.sync.start_many
        return await self._call(call, task, calls)

    @overload
    async def run(
        self, task: Task[..., T], /, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> T: ...
    @overload
    async def run(self, task: str, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any: ...
    async def run(self, task: TaskLike, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """See `Runtime.run`."""
        return await self.result(await self.start(task, *args, **kwargs), timeout)

    @overload
    async def retry(self, id: TaskInfo[T], *, from_scratch: bool = False) -> TaskInfo[T]: ...
    @overload
    async def retry(self, id: str, *, from_scratch: bool = False) -> TaskInfo[Any]: ...
    async def retry(self, id: IdLike, *, from_scratch: bool = False) -> TaskInfo[Any]:
        """See `Runtime.retry`."""
        call: Callable[..., TaskInfo[Any]] = self.sync.retry
        return await self._call(call, id, from_scratch=from_scratch)

    @overload
    async def result(self, id: TaskInfo[T], timeout: float | None = None) -> T: ...
    @overload
    async def result(self, id: str, timeout: float | None = None) -> Any: ...
    async def result(self, id: IdLike, timeout: float | None = None) -> Any:
        """See `Runtime.result`."""
        seconds = check_timeout(timeout)
        call: Callable[..., Future[Any]] = self.sync.wait_for
        return await self._awaited(await self._call(call, id), seconds)

    async def _awaited(self, future: Future[T], seconds: float | None) -> T:
        try:
            # If the caller is cancelled, the future is cancelled, which ends the WAIT at the supervisor.
            # Not `wait_for`: before Python 3.12 it loses a cancel that comes just when the future is set.
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if future.done() and not future.cancelled():
                raise
            raise TimeoutError(f"the task has not ended within {seconds:g} s") from None

    @overload
    def results(self, ids: Iterable[TaskInfo[T]], timeout: float | None = None) -> AsyncIterator[T]: ...
    @overload
    def results(self, ids: Iterable[IdLike], timeout: float | None = None) -> AsyncIterator[Any]: ...
    async def results(self, ids: Iterable[IdLike], timeout: float | None = None) -> AsyncIterator[Any]:
        """See `Runtime.results`."""
        values = self.sync.results(ids, timeout)
        nothing = object()
        with _thread() as call:
            while (value := await call(next, values, nothing)) is not nothing:
                yield value

    async def wait(self, id: IdLike, timeout: float | None = None) -> TaskRecord:
        """See `Runtime.wait`."""
        seconds = check_timeout(timeout)
        await self._awaited(await self._call(self.sync.wait_for_end, id), seconds)
        return await self.status(id)

    async def subscribe(
        self, *, task: TaskLike | None = None, stream: str | None = None
    ) -> AsyncIterator[TaskEvent]:
        """See `Runtime.subscribe`."""
        subscription = await self._call(self.sync.subscribe, task=task, stream=stream)
        with _thread() as call:
            try:
                while (event := await call(subscription.next)) is not None:
                    yield event
            finally:
                subscription.close()

    # --- running the supervisor ---

    @property
    def home(self) -> str:
        """See `Runtime.home`."""
        return self.sync.home

    @property
    def supervisor_pid(self) -> int:
        """See `Runtime.supervisor_pid`."""
        return self.sync.supervisor_pid

    tree = _awaitable(Runtime.tree)
    prune = _awaitable(Runtime.prune)
    compact = _awaitable(Runtime.compact)
    stop_supervisor = _awaitable(Runtime.stop_supervisor)
    close_mailbox = _awaitable(Runtime.close_mailbox)

    async def close(self, id: IdLike | None = None) -> None:
        """See `Runtime.close`."""
        if id is not None:
            await self._call(self.sync.close, id)
            return
        if self._sync is not None:
            await self._call(self._sync.close)
            self._sync = None
        self._threads.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        await self.open()
        current_runtime.enter(self.sync)
        return self

    async def __aexit__(self, *_: object) -> None:
        current_runtime.leave(self.sync)
        await self.close()

    async def _call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await _on(self._threads, function, *args, **kwargs)


async def _on(threads: ThreadPoolExecutor, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(
        threads, functools.partial(function, *args, **kwargs)
    )


@contextmanager
def _thread() -> Iterator[Callable[..., Awaitable[Any]]]:
    """A thread of its own for an iterator: many waiting iterators would use up the threads of the calls."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="understudy-async-iterator")
    try:
        yield functools.partial(_on, thread)
    finally:
        thread.shutdown(wait=False)
