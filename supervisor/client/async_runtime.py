"""AsyncRuntime: the client for asyncio programs, with the calls of `Runtime` as coroutines."""

from __future__ import annotations

import asyncio
import builtins
import contextvars
import functools
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Concatenate, Final, Literal, ParamSpec, Self, TypeVar, cast, overload

from ...actors.refs.actor import Actor
from ...actors.refs.async_ref import AsyncActorRef
from ...actors.task import current_runtime
from ...actors.task.call import Call
from ...actors.task.declaration import Task
from ...actors.task.handles import IdLike, TaskInfo, TaskRecord, id_of
from ...actors.task.trigger import CALL
from ...actors.trees.supervisor import Supervisor
from .actor_calls import ActorLike, ClassLike
from .async_tree import AsyncTree
from .calls import several
from .deadline import Deadline
from .gather import Arrivals, Errors, gathered, wait_of
from .runtime import UNSET, Runtime
from .start_rows import StreamLike, TaskLike
from .steps import Steps, finish_async, finish_in_threads, is_done_async
from .subscription import TaskEvent
from .views import outcome_of, result_shape, shape_of_end, value_of
from .wait import EndsWait, Row
from .watch import AsyncWatch

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A", bound=Actor)
W = TypeVar("W", bound=EndsWait)
I = TypeVar("I", bound=IdLike)  # noqa: E741 - an id

#: Threads for what reads the disk or a caller's iterator. What waits for the supervisor takes no thread.
THREADS: Final = 32


class _OnLoop(Runtime):
    """A view of a `Runtime`, whose calls give coroutines: they wait on the event loop."""

    def __init__(self, runtime: Runtime, threads: Executor) -> None:
        self._runtime = runtime
        self._threads = threads
        (
            self._client,
            self._reader,
            self._calls,
            self._events,
            self._schedules,
            self._bulks,
            self._access,
            self._actors,
            self._reader,
            self._call_timeout,
        ) = (
            runtime._client,
            runtime._reader,
            runtime._calls,
            runtime._events,
            runtime._schedules,
            runtime._bulks,
            runtime._access,
            runtime._actors,
            runtime._reader,
            runtime._call_timeout,
        )

    @property
    def _handles(self) -> Runtime:
        return self._runtime

    def _do(self, steps: Steps[T], deadline: Deadline, *, long: bool = False) -> T:
        late = self._client.late
        if long:
            return cast("T", finish_in_threads(steps, deadline, late, self._threads))
        return cast("T", finish_async(steps, deadline, late))


def _awaitable(
    method: Callable[Concatenate[Runtime, P], T],
) -> Callable[Concatenate[AsyncRuntime, P], Coroutine[Any, Any, T]]:
    """The coroutine for a method of `Runtime` that carries out one call and returns what it gives."""

    @functools.wraps(method)
    async def call(self: AsyncRuntime, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await cast("Coroutine[Any, Any, T]", method(self._on_loop, *args, **kwargs))

    return call


def _in_thread(
    method: Callable[Concatenate[Runtime, P], T],
) -> Callable[Concatenate[AsyncRuntime, P], Coroutine[Any, Any, T]]:
    """The coroutine for a method of `Runtime` that reads the disk: another thread calls it."""

    @functools.wraps(method)
    async def call(self: AsyncRuntime, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._call(method, self.sync, *args, **kwargs)

    return call


class AsyncRuntime:
    """`Runtime` for `async with AsyncRuntime(home) as rt:`. Its calls wait on the event loop.

    A call that is cancelled waits no longer, and leaves no thread behind. Like one whose `timeout` is over, it may
    have taken effect.
    """

    def __init__(self, home: str | os.PathLike[str] | None = None, **settings: Any) -> None:
        """Takes the arguments of `Runtime`. Connects at `async with` or `open`."""
        self._make: Callable[[], Runtime] = functools.partial(Runtime, home, **settings)
        self._sync: Runtime | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="understudy-async")

    @classmethod
    def connect(
        cls, home: str | os.PathLike[str] | None = None, *, call_timeout: float | None = None
    ) -> Self:
        """See `Runtime.connect`. It can be used at once, without `async with` or `open`."""
        runtime = cls(home)
        runtime._make = functools.partial(Runtime.connect, home, call_timeout=call_timeout)
        runtime._sync = runtime._make()
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

    @property
    def _on_loop(self) -> Runtime:
        return _OnLoop(self.sync, self._threads)

    send = _awaitable(Runtime.send)
    send_many = _awaitable(Runtime.send_many)
    close_mailbox = _awaitable(Runtime.close_mailbox)
    cancel = _awaitable(Runtime.cancel)
    cancel_where = _awaitable(Runtime.cancel_where)
    retry_where = _awaitable(Runtime.retry_where)
    status = _in_thread(Runtime.status)
    list = _in_thread(Runtime.list)
    search = _in_thread(Runtime.search)
    counts = _in_thread(Runtime.counts)
    attempts = _in_thread(Runtime.attempts)
    steps = _in_thread(Runtime.steps)
    errors = _in_thread(Runtime.errors)
    stats = _in_thread(Runtime.stats)
    restore = _in_thread(Runtime.restore)
    dead_letters = _in_thread(Runtime.dead_letters)
    redrive = _awaitable(Runtime.redrive)
    emit = _awaitable(Runtime.emit)
    emit_many = _awaitable(Runtime.emit_many)
    replay = _awaitable(Runtime.replay)
    stack = _awaitable(Runtime.stack)
    bulk_ids = _awaitable(Runtime.bulk_ids)
    start_bulk = _awaitable(Runtime.start_bulk)
    bulk = _in_thread(Runtime.bulk)
    bulks = _in_thread(Runtime.bulks)
    bulk_outcomes = _in_thread(Runtime.bulk_outcomes)
    cancel_bulk = _awaitable(Runtime.cancel_bulk)
    wait_bulk = _awaitable(Runtime.wait_bulk)
    plan_bulk = _awaitable(Runtime.plan_bulk)
    start_plan = _awaitable(Runtime.start_plan)
    limits = _awaitable(Runtime.limits)
    limit_of = _awaitable(Runtime.limit_of)
    set_limit = _awaitable(Runtime.set_limit)
    pools = _awaitable(Runtime.pools)
    schedule = _awaitable(Runtime.schedule)
    pause_schedule = _awaitable(Runtime.pause_schedule)
    resume_schedule = _awaitable(Runtime.resume_schedule)
    cancel_schedule = _awaitable(Runtime.cancel_schedule)
    run_schedule = _awaitable(Runtime.run_schedule)
    backfill = _awaitable(Runtime.backfill)
    schedule_info = _in_thread(Runtime.schedule_info)
    schedules = _in_thread(Runtime.schedules)
    schedule_history = _in_thread(Runtime.schedule_history)
    next_times = _in_thread(Runtime.next_times)
    watch_token = _awaitable(Runtime.watch_token)
    add_token = _awaitable(Runtime.add_token)
    record_audit = _awaitable(Runtime.record_audit)
    remove_token = _awaitable(Runtime.remove_token)
    tokens = _in_thread(Runtime.tokens)
    audit = _in_thread(Runtime.audit)
    event = _in_thread(Runtime.event)
    events = _in_thread(Runtime.events)
    streams = _in_thread(Runtime.streams)
    stream = _in_thread(Runtime.stream)
    logs = _in_thread(Runtime.logs)
    trees = _in_thread(Runtime.trees)
    ping = _awaitable(Runtime.ping)
    tree = _awaitable(Runtime.tree)
    prune = _awaitable(Runtime.prune)
    compact = _awaitable(Runtime.compact)
    stop_supervisor = _awaitable(Runtime.stop_supervisor)

    async def supervise(self, tree: Supervisor, *, timeout: float | None = None) -> AsyncTree:
        """See `Runtime.supervise`."""
        return AsyncTree(await self._call(self.sync.supervise, tree, timeout=timeout), self._call)

    async def tree_of(self, id: str) -> AsyncTree:
        """See `Runtime.tree_of`."""
        return AsyncTree(await self._call(self.sync.tree_of, id), self._call)

    # Written out, because `_awaitable` knows no overloads.

    @overload
    async def start(self, task: Task[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TaskInfo[T]: ...
    @overload
    async def start(self, task: str, /, *args: Any, **kwargs: Any) -> TaskInfo[Any]: ...
    async def start(self, task: TaskLike, /, *args: Any, **kwargs: Any) -> TaskInfo[Any]:
        """See `Runtime.start`."""
        call: Callable[..., Any] = self._on_loop.start
        return cast("TaskInfo[Any]", await call(task, *args, **kwargs))

    @overload
    async def start_many(
        self, task: Iterable[Call[T]], /, *, timeout: float | None = None
    ) -> builtins.list[TaskInfo[T]]: ...
    @overload
    async def start_many(
        self, task: Task[..., T], calls: Iterable[Any], *, timeout: float | None = None
    ) -> builtins.list[TaskInfo[T]]: ...
    @overload
    async def start_many(
        self, task: str, calls: Iterable[Any], *, timeout: float | None = None
    ) -> builtins.list[TaskInfo[Any]]: ...
    async def start_many(
        self,
        task: TaskLike | Iterable[Call[Any]],
        calls: Iterable[Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> builtins.list[TaskInfo[Any]]:
        """See `Runtime.start_many`."""
        call: Callable[..., Any] = self._on_loop.start_many
        return cast("builtins.list[TaskInfo[Any]]", await call(task, calls, timeout=timeout))

    @overload
    async def retry(
        self, id: TaskInfo[T], *, from_scratch: bool = False, timeout: float | None = None
    ) -> TaskInfo[T]: ...
    @overload
    async def retry(
        self, id: IdLike, *, from_scratch: bool = False, timeout: float | None = None
    ) -> TaskInfo[Any]: ...
    async def retry(
        self, id: IdLike, *, from_scratch: bool = False, timeout: float | None = None
    ) -> TaskInfo[Any]:
        """See `Runtime.retry`."""
        call: Callable[..., Any] = self._on_loop.retry
        return cast("TaskInfo[Any]", await call(id, from_scratch=from_scratch, timeout=timeout))

    @overload
    async def run(
        self, task: Task[..., T], /, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> T: ...
    @overload
    async def run(self, task: str, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any: ...
    async def run(self, task: TaskLike, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """See `Runtime.run`."""
        sync = self.sync
        deadline = sync._deadline(timeout)
        steps = sync._calls.start(sync, deadline, task, args, kwargs, CALL)
        info = await finish_async(steps, deadline, sync._client.late)
        return value_of(*await self._end(info, deadline), shape=result_shape(task))

    @overload
    async def actor(
        self, cls: Callable[P, A], name: str | None = None, /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncActorRef[A]: ...
    @overload
    async def actor(
        self, cls: str, name: str | None = None, /, *args: Any, **kwargs: Any
    ) -> AsyncActorRef[Any]: ...
    async def actor(
        self, cls: Any, name: str | None = None, /, *args: Any, **kwargs: Any
    ) -> AsyncActorRef[Any]:
        """See `Runtime.actor`. The calls of the reference are coroutines."""
        call: Callable[..., Any] = self._on_loop.actor
        return AsyncActorRef(await call(cls, name, *args, **kwargs))

    async def call(
        self, actor: ActorLike, method: str, /, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> Any:
        """See `Runtime.call`."""
        sync = self.sync
        ref = await self._call(sync._actors.find, sync, actor)
        return await AsyncActorRef(ref.options(timeout=timeout)).call(method, *args, **kwargs)

    @overload
    async def lookup(self, cls: type[A], name: str) -> AsyncActorRef[A] | None: ...
    @overload
    async def lookup(self, cls: ClassLike, name: str) -> AsyncActorRef[Any] | None: ...
    async def lookup(self, cls: ClassLike, name: str) -> AsyncActorRef[Any] | None:
        """See `Runtime.lookup`."""
        ref = await self._call(self.sync.lookup, cls, name)
        return None if ref is None else AsyncActorRef(ref)

    @overload
    async def actors(
        self,
        cls: type[A],
        *,
        prefix: str = "",
        limit: int | None = 100,
        after: ActorLike | None = None,
    ) -> builtins.list[AsyncActorRef[A]]: ...
    @overload
    async def actors(
        self,
        cls: ClassLike | None = None,
        *,
        prefix: str = "",
        limit: int | None = 100,
        after: ActorLike | None = None,
    ) -> builtins.list[AsyncActorRef[Any]]: ...
    async def actors(
        self,
        cls: ClassLike | None = None,
        *,
        prefix: str = "",
        limit: int | None = 100,
        after: ActorLike | None = None,
    ) -> builtins.list[AsyncActorRef[Any]]:
        """See `Runtime.actors`."""
        refs = await self._call(self.sync.actors, cls, prefix=prefix, limit=limit, after=after)
        return [AsyncActorRef(ref) for ref in refs]

    @overload
    async def result(self, id: TaskInfo[T], timeout: float | None = None) -> T: ...
    @overload
    async def result(self, id: IdLike, timeout: float | None = None) -> Any: ...
    async def result(self, id: IdLike, timeout: float | None = None) -> Any:
        """See `Runtime.result`."""
        return value_of(*await self._end(id, self.sync._deadline(timeout)), shape=shape_of_end(id))

    async def _end(self, id: IdLike, deadline: Deadline) -> Row:
        key, ends = id_of(id), self.sync._ends
        row = ends.ended(key) if ends.reads_at_once else await self._call(ends.ended, key)
        if row is not None:
            return row
        async with self._waiting([key], deadline, EndsWait) as wait:
            if not await is_done_async(wait.future, deadline.left()):
                raise ends.late(wait, deadline)
            wait.future.result()
        return wait.rows[key]

    @asynccontextmanager
    async def _waiting(self, keys: Sequence[bytes], deadline: Deadline, kind: type[W]) -> AsyncIterator[W]:
        sync = self.sync
        # Reading may take long the first time. The wait itself begins here, so that a cancel always ends it.
        known = await self._call(sync._ends.stored, keys) if sync._client.connection is None else []
        wait = cast("W", sync._ends.begin(keys, deadline, known, kind))
        try:
            yield wait
        finally:
            sync._client.forget(wait)

    @overload
    def results(
        self,
        ids: Iterable[TaskInfo[T]],
        timeout: float | None = None,
        *,
        return_exceptions: Literal[False] = False,
    ) -> AsyncIterator[T]: ...
    @overload
    def results(
        self, ids: Iterable[IdLike], timeout: float | None = None, *, return_exceptions: bool = False
    ) -> AsyncIterator[Any]: ...
    async def results(
        self, ids: Iterable[IdLike], timeout: float | None = None, *, return_exceptions: bool = False
    ) -> AsyncIterator[Any]:
        """See `Runtime.results`."""
        known = list(several(ids, "results", "ids"))
        keys = [id_of(id) for id in known]
        give = outcome_of if return_exceptions else value_of
        deadline = self.sync._deadline(timeout)
        async with self._waiting(keys, deadline, EndsWait) as wait:
            for id, key in zip(known, keys, strict=True):
                while key not in wait.rows:
                    news = wait.next_news()
                    if wait.future.done():
                        wait.future.result()
                    elif key not in wait.rows and not await is_done_async(news, deadline.left()):
                        raise self.sync._ends.late(wait, deadline)
                yield give(*wait.rows[key], shape=shape_of_end(id))

    async def gather(
        self, ids: Iterable[IdLike], timeout: float | None = None, errors: Errors = "raise"
    ) -> builtins.list[Any]:
        """See `Runtime.gather`."""
        known = [*several(ids, "gather", "tasks")]
        keys, deadline = [id_of(id) for id in known], self.sync._deadline(timeout)
        async with self._waiting(keys, deadline, wait_of(errors)) as wait:
            if not await is_done_async(wait.future, deadline.left()):
                raise self.sync._ends.late(wait, deadline)
            wait.future.result()
            return gathered(known, keys, wait.rows, errors)

    async def as_completed(self, ids: Iterable[I], timeout: float | None = None) -> AsyncIterator[I]:
        """See `Runtime.as_completed`; for `async for`."""
        known = {id_of(id): id for id in several(ids, "as_completed", "tasks")}
        deadline = self.sync._deadline(timeout)
        async with self._waiting([*known], deadline, Arrivals) as arrivals:
            for _ in known:
                while (news := arrivals.pending()) is not None:
                    if not await is_done_async(news, deadline.left()):
                        raise self.sync._ends.late(arrivals, deadline)
                yield known[arrivals.pop()]

    async def wait(self, id: IdLike, timeout: float | None = None) -> TaskRecord:
        """See `Runtime.wait`."""
        await self._end(id, self.sync._deadline(timeout))
        return await self.status(id)

    def watch(
        self, *, stream: StreamLike | None = None, task: IdLike | None = None, after: str | None = None
    ) -> AsyncWatch:
        """See `Runtime.watch`; for `async with` and `async for`."""
        return AsyncWatch(self._call, lambda: self.sync.watch(stream=stream, task=task, after=after))

    async def subscribe(
        self,
        *,
        task: TaskLike | None = None,
        stream: StreamLike | None = None,
        progress: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[TaskEvent]:
        """See `Runtime.subscribe`."""
        sync = self.sync
        deadline = sync._deadline(timeout)
        subscription = sync._subscription(task, stream, progress)
        await finish_async(sync._client.connected(deadline), deadline, sync._client.late)
        try:
            await self._call(subscription.open, deadline.left())
            while (event := await subscription.next_async()) is not None:
                yield event
        finally:
            subscription.close()

    @property
    def home(self) -> str:
        """See `Runtime.home`."""
        return self.sync.home

    @property
    def supervisor_pid(self) -> int:
        """See `Runtime.supervisor_pid`. It blocks the event loop while no supervisor is there."""
        return self.sync.supervisor_pid

    @property
    def web_url(self) -> str | None:
        """See `Runtime.web_url`. It blocks the event loop while no supervisor is there."""
        return self.sync.web_url

    async def close(self, id: IdLike = UNSET, *, timeout: float | None = None) -> None:
        """See `Runtime.close`."""
        if id is not UNSET:
            await self.close_mailbox(id, timeout=timeout)
            return
        if self._sync is not None:
            await self._call(self._sync.close)
            self._sync = None
        self._threads.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        await self.open()
        self.sync._client.check_open()
        current_runtime.enter(self.sync)
        return self

    async def __aexit__(self, *_: object) -> None:
        current_runtime.leave(self.sync)
        await self.close()

    async def _call(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        call = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)
