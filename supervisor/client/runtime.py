"""Runtime: the client for programs with threads. `AsyncRuntime` wraps it for asyncio."""

from __future__ import annotations

import _thread
import builtins
import dataclasses
import functools
import os
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from typing import Any, Final, Literal, ParamSpec, Self, TypeVar, overload

from ...actors import values
from ...actors.checks import check_flag, check_whole
from ...actors.errors import ConnectTimeout, InvalidOption
from ...actors.ids import id_bytes, id_text
from ...actors.refs.actor import Actor
from ...actors.refs.port import PostKind, Turn, turn_here
from ...actors.refs.ref import ActorRef
from ...actors.state import State
from ...actors.task import current_runtime
from ...actors.task.call import Call
from ...actors.task.declaration import Task
from ...actors.task.handles import IdLike, TaskInfo, TaskRecord, id_of
from ...actors.task.metadata import checked as checked_metadata
from ...actors.task.outcomes import ErrorGroups, TaskAttempts, TaskStats
from ...actors.task.step_info import StepInfo
from ...actors.task.trigger import CALL
from ...storage.reader import Reader
from ..home import Home
from ..linux.exit_functions import at_exit
from ..settings import Settings
from . import outcomes, searches
from .access_calls import AccessCalls
from .actor_calls import ActorCalls, ActorLike, ClassLike
from .bulk import Bulk
from .bulking import Bulking
from .calls import Calls, several
from .deadline import NO_DEADLINE, Deadline
from .emitting import Emitting
from .event_calls import EventCalls
from .gathering import Gathering
from .granting import Granting, web_settings
from .letter_wait import AddressedLetter
from .limiting import Limiting
from .monitoring import Monitoring
from .pages import SearchPage
from .reconnecting import ReconnectingClient
from .results import Results
from .schedule_calls import ScheduleCalls
from .scheduling import Scheduling
from .stacking import Stacking
from .start_queue import StartQueue
from .start_rows import StreamLike, TaskLike
from .steps import Steps, finish
from .stored_ends import StoredEnds
from .subscription import Subscription
from .tree import Supervising
from .tree_calls import TreeCalls
from .views import DeadLetter, LogLine, outcome_of, result_shape, shape_of_end, step_info, value_of, view
from .watch import Watch

#: Default seconds that an embedded supervisor gives running tasks when the `with` block ends.
EMBEDDED_DRAIN: Final = 5.0

#: Chunks of a task's log that one call reads; more than the log's limit allows.
LOG_CHUNKS: Final = 1_000_000

#: Seconds that `status` waits until the supervisor has said which worker has an actor in memory.
WORKER_ANSWER: Final = 1.0

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A", bound=Actor)


class _Unset:
    def __repr__(self) -> str:
        return "…"


#: The default of `close`: None is no id, and a variable that holds it must not close the runtime.
UNSET: Final[Any] = _Unset()


class Runtime(
    Emitting, Scheduling, Supervising, Limiting, Stacking, Bulking, Granting, Monitoring, Gathering
):
    """Access to a supervisor. Thread-safe; calls of several threads share commits.

    `Runtime(home)` attaches to the supervisor that serves `home`. If there is none, it starts one as a child process
    and stops it at `close`, at the end of the `with` block, or at exit. `Runtime.connect(home)` only attaches, when
    that is needed: reading and the results of ended tasks need no supervisor.

    Waiting, starting, closing and cancelling survive a restart of the supervisor, because they are asked again.
    A `send` raises SupervisorLost if the supervisor goes away meanwhile, because asking again might deliver the
    message twice.

    `timeout=` is the time in seconds that a call may take. Then it raises TimeoutError if the supervisor is there, and
    ConnectTimeout, a NotRunning, if it is not. A call without `timeout=` waits up to 10 s for a supervisor, and
    without a limit for its answer. `call_timeout` is the `timeout=` of all calls without one of their own.
    """

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        app: str | None = None,
        workers: int | None = None,
        slots: int = 8,
        call_timeout: float | None = None,
        web: str | Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """`web` is the address of a web process, as "127.0.0.1:8787"; port 0 takes a free one, which `web_url` tells.
        A map gives more of its settings: {"web": …, "http": …, "hosts": […]}.

        `app` names the module with the tasks ("module", "package.module", "path/to/file.py").

        The default is the program itself and every module in which it has declared tasks. `settings` are the fields
        of `Settings`.
        """
        settings.setdefault("drain", EMBEDDED_DRAIN)
        checked = Settings.of({"workers": workers, "slots": slots, **settings})
        self._set_call_timeout(call_timeout)
        wanted = web_settings(web)
        self._attach(ReconnectingClient(Home(home).checked(), checked, app, owner=True, web=wanted))

    @classmethod
    def connect(
        cls, home: str | os.PathLike[str] | None = None, *, call_timeout: float | None = None
    ) -> Self:
        """Use the supervisor that serves `home`. Returns at once, even if none does yet and the folder is absent.

        The first call that needs the supervisor connects, and waits for it if need be.
        """
        runtime = cls.__new__(cls)
        runtime._set_call_timeout(call_timeout)
        runtime._attach(ReconnectingClient(Home(home).checked(), Settings(), None, owner=False))
        return runtime

    def _set_call_timeout(self, call_timeout: float | None) -> None:
        Deadline(call_timeout, "call_timeout")
        self._call_timeout = call_timeout

    def _attach(self, client: ReconnectingClient, reader: Reader | None = None) -> None:
        self._client = client
        self._reader = Reader(client.home.path) if reader is None else reader
        stored = StoredEnds(self._reader)
        self._calls = Calls(client, self._reader, stored)
        self._ends = Results(client, stored)
        self._events = EventCalls(client, self._reader)
        self._schedules = ScheduleCalls(client, self._reader, self._calls.starts)
        self._trees = TreeCalls(client, self._reader, self._calls.starts)
        self._bulk = Bulk(client, self._reader)
        self._access = AccessCalls(client, self._reader)
        self._actors = ActorCalls(client, self._reader, self._calls.starts, self._call_timeout)
        # Nothing here may refer to the runtime, so that this is called as soon as the program lets go of it.
        self._finalizer = weakref.finalize(self, _let_go, client, self._reader)
        self._finalizer.atexit = False  # See `_close_all`.
        _open.add(self)

    def _deadline(self, timeout: float | None) -> Deadline:
        if timeout is None:
            timeout = self._call_timeout
        return NO_DEADLINE if timeout is None else Deadline(timeout, clock=self._client.clock)

    def _start_queue(self, on_over: Callable[[], None]) -> StartQueue:
        """A queue for an `Executor`."""
        return StartQueue(self._client, functools.partial(self._deadline, None), on_over)

    def _turn(self) -> Turn | None:
        """The turn of an actor whose method calls its own runtime; None otherwise."""
        return turn_here() if current_runtime.is_workers_own(self) else None

    def _do(self, steps: Steps[T], deadline: Deadline, *, long: bool = False) -> T:
        """Carry out a call. A `long` one has steps that would block an event loop; see `AsyncRuntime`."""
        return finish(steps, deadline, self._client.late)

    @property
    def _handles(self) -> Runtime:
        """The runtime that the handles of started tasks use."""
        return self

    @property
    def home(self) -> str:
        """The home folder's absolute path."""
        return str(self._client.home.path)

    @property
    def supervisor_pid(self) -> int:
        """The supervisor's pid."""
        deadline = self._deadline(None)
        return int(self._do(self._client.connected(deadline), deadline).facts["pid"])

    # --- starting tasks ---

    @overload
    def start(self, task: Task[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TaskInfo[T]: ...
    @overload
    def start(self, task: str, /, *args: Any, **kwargs: Any) -> TaskInfo[Any]: ...
    def start(self, task: TaskLike, /, *args: Any, **kwargs: Any) -> TaskInfo[Any]:
        """Start a task; returns when it is on disk.

        `task` is a Task or a name ("module:function"). All keyword arguments are the task's; `call_timeout` limits
        the call. Raises UnknownTask, InvalidTask, UnencodableValue, ValueTooLarge, StoreFull, AppFailed, and
        TypeError for arguments that do not fit.
        """
        deadline = self._deadline(None)
        return self._do(self._calls.start(self._handles, deadline, task, args, kwargs), deadline)

    @overload
    def start_many(
        self, task: Iterable[Call[T]], /, *, timeout: float | None = None
    ) -> list[TaskInfo[T]]: ...
    @overload
    def start_many(
        self, task: Task[..., T], calls: Iterable[Any], *, timeout: float | None = None
    ) -> list[TaskInfo[T]]: ...
    @overload
    def start_many(
        self, task: str, calls: Iterable[Any], *, timeout: float | None = None
    ) -> list[TaskInfo[Any]]: ...
    def start_many(
        self,
        task: TaskLike | Iterable[Call[Any]],
        calls: Iterable[Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> list[TaskInfo[Any]]:
        """Start one task for each element of `calls`: an argument, a tuple of them or a dict of keyword ones.

        `start_many([task.options(key=…).call(…), …])` starts calls that have options of their own; they may be calls
        of several tasks.

        Up to 10,000 tasks of at most 8 MiB together are started in one commit, all or none. More tasks are started in
        parts, each all or none; the first parts run while later ones are still being sent. The first part that is
        refused ends the call; up to three parts after it may be started.
        """
        one: TaskLike | None = None
        if isinstance(task, str | Task):
            one, calls = task, several(calls, "start_many", "calls")
        else:
            calls = several(task, "start_many", "a task and its calls, or calls made by Task.call(…)")
        deadline = self._deadline(timeout)
        return self._do(self._calls.start_many(self._handles, deadline, one, calls), deadline, long=True)

    @overload
    def run(self, task: Task[..., T], /, *args: Any, timeout: float | None = None, **kwargs: Any) -> T: ...
    @overload
    def run(self, task: str, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any: ...
    def run(self, task: TaskLike, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Start a task, wait for it and return its value; see `result`. `timeout` holds for all of that."""
        deadline = self._deadline(timeout)
        row = self._do(self._calls.row_of(deadline, task, args, kwargs), deadline)
        id, _, _, _, key, *_ = row
        shape = result_shape(task)
        if key is not None:
            # The task that the key leads to is not known before the answer.
            info = self._do(self._calls.start_row(self, deadline, row, CALL), deadline)
            return value_of(*self._ends.one(info.id_bytes, deadline), shape=shape)
        return value_of(*self._ends.of_start(id, row, deadline), shape=shape)

    @overload
    def retry(
        self, id: TaskInfo[T], *, from_scratch: bool = False, timeout: float | None = None
    ) -> TaskInfo[T]: ...
    @overload
    def retry(
        self, id: IdLike, *, from_scratch: bool = False, timeout: float | None = None
    ) -> TaskInfo[Any]: ...
    def retry(self, id: IdLike, *, from_scratch: bool = False, timeout: float | None = None) -> TaskInfo[Any]:
        """Retry an ended task: start a new task with the same arguments from the old one's checkpoint."""
        deadline = self._deadline(timeout)
        return self._do(self._calls.retry(self._handles, deadline, id, from_scratch), deadline, long=True)

    # --- messages ---

    def send(self, id: IdLike, message: Any, *, timeout: float | None = None) -> None:
        """Put a message into a task's mailbox; returns once it is on disk.

        In a method of an actor it returns at once: the message leaves with the commit of what the method does.
        Raises TaskNotFound, MailboxClosed, MailboxFull, UnencodableValue, ValueTooLarge, SupervisorLost.
        """
        turn = self._turn()
        if turn is not None:
            turn.post(id_of(id), values.pack(message, "message"), PostKind.MESSAGE)
            return None
        deadline = self._deadline(timeout)
        return self._do(self._calls.send(deadline, id, message), deadline)

    def send_many(self, messages: Iterable[tuple[IdLike, Any]], *, timeout: float | None = None) -> None:
        """Put (id, message) pairs into mailboxes in this order; one commit for each 10,000 messages or 8 MiB."""
        messages = several(messages, "send_many", "(id, message) pairs")
        if self._turn() is not None:
            for id, message in messages:
                self.send(id, message)
            return None
        deadline = self._deadline(timeout)
        return self._do(self._calls.send_many(deadline, messages), deadline, long=True)

    def close_mailbox(self, id: IdLike, *, timeout: float | None = None) -> None:
        """Close a task's mailbox for new messages.

        The task's `receive` gives None when the mailbox is empty.
        """
        deadline = self._deadline(timeout)
        return self._do(self._calls.close_mailbox(deadline, id), deadline)

    def cancel(self, id: IdLike, *, timeout: float | None = None) -> bool:
        """Cancel a task. True if it had not ended; its state will then be `cancelled`."""
        deadline = self._deadline(timeout)
        return self._do(self._calls.cancel(deadline, id), deadline)

    # --- many tasks ---

    def cancel_where(self, query: str, *, dry_run: bool = False, timeout: float | None = None) -> int:
        """Cancel the tasks that fit a query and have not ended, page by page; returns how many.

        With `dry_run` nothing is cancelled. A call that is ended half way has cancelled some of them; the same call
        again goes on. Raises InvalidQuery, also for an empty query.
        """
        check_flag("dry_run", dry_run)
        deadline = self._deadline(timeout)
        return self._do(self._bulk.cancel(deadline, query, dry_run), deadline, long=True)

    def retry_where(
        self,
        query: str,
        *,
        from_scratch: bool = False,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> int:
        """Retry the ended tasks that fit a query, page by page; returns how many. See `retry`.

        Without a term `state:` these are tasks that have failed or timed out. A task that another one retries already
        is left out, so a call that is ended half way goes on if it is made again. Raises InvalidQuery, also for an
        empty query.
        """
        check_flag("dry_run", dry_run)
        check_flag("from_scratch", from_scratch)
        deadline = self._deadline(timeout)
        return self._do(self._bulk.retry(deadline, query, from_scratch, dry_run), deadline, long=True)

    # --- actors ---

    @overload
    def actor(
        self, cls: Callable[P, A], name: str | None = None, /, *args: P.args, **kwargs: P.kwargs
    ) -> ActorRef[A]: ...
    @overload
    def actor(self, cls: str, name: str | None = None, /, *args: Any, **kwargs: Any) -> ActorRef[Any]: ...
    def actor(self, cls: Any, name: str | None = None, /, *args: Any, **kwargs: Any) -> ActorRef[Any]:
        """The actor of this class and name; it is started with these arguments if there is none.

        Returns when it is on disk. `cls` is a class or its full name ("module:Class"). Without a name a new actor is
        started. All keyword arguments are those of `__init__`; `call_timeout` limits the call. Raises as `start`.
        """
        deadline = self._deadline(None)
        return self._do(self._actors.actor(self._handles, deadline, cls, name, args, kwargs), deadline)

    def call(
        self, actor: ActorLike, method: str, /, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> Any:
        """Call a method of an actor without its class: `rt.call("Account/ada", "deposit", 5)`.

        `actor` is "Class/name", a reference or an id. The class is its full name ("module:Class") or, if no other
        class with an actor of this name has the same, its short one. Raises as `ActorRef.call`.
        """
        return self._actors.find(self, actor).options(timeout=timeout).call(method, *args, **kwargs)

    def redrive(self, actor: ActorLike, id: str | None = None, *, timeout: float | None = None) -> int:
        """Send the dead letters of an actor again, or the one with this id; returns their number."""
        deadline = self._deadline(timeout)
        return self._do(self._actors.redrive(self._handles, deadline, actor, id), deadline, long=True)

    @overload
    def lookup(self, cls: type[A], name: str) -> ActorRef[A] | None: ...
    @overload
    def lookup(self, cls: ClassLike, name: str) -> ActorRef[Any] | None: ...
    def lookup(self, cls: ClassLike, name: str) -> ActorRef[Any] | None:
        """The living actor of this class and name, or None. Reads the store; starts nothing."""
        return self._actors.lookup(self._handles, cls, name)

    @overload
    def actors(
        self,
        cls: type[A],
        *,
        prefix: str = "",
        limit: int | None = 100,
        after: ActorLike | None = None,
    ) -> builtins.list[ActorRef[A]]: ...
    @overload
    def actors(
        self,
        cls: ClassLike | None = None,
        *,
        prefix: str = "",
        limit: int | None = 100,
        after: ActorLike | None = None,
    ) -> builtins.list[ActorRef[Any]]: ...
    def actors(
        self,
        cls: ClassLike | None = None,
        *,
        prefix: str = "",
        limit: int | None = 100,
        after: ActorLike | None = None,
    ) -> builtins.list[ActorRef[Any]]:
        """Living actors, of one class or all. For the next page, pass the last one of this page as `after`.

        `prefix` is that of their names.
        """
        return self._actors.actors(self._handles, cls, prefix, limit, after)

    def dead_letters(self, actor: ActorLike) -> builtins.list[DeadLetter]:
        """The messages that the actor could not handle, oldest first."""
        return self._actors.dead_letters(self._handles, actor)

    def post(
        self,
        letters: builtins.list[AddressedLetter],
        *,
        timeout: float | None = None,
        soon: bool = False,
    ) -> Future[Any]:
        """Send letters, as `ActorRef` makes them, each with the id of its actor: all or none.

        The future is done when they are on disk, or taken in by actors that are not durable. A letter without a key
        is not sent again after a lost connection; the future then raises SupervisorLost. `soon`: they may be sent with
        others.
        """
        return self._actors.post(letters, self._deadline(timeout), self, soon=soon)

    def ask(
        self, id: bytes, letter: bytes, *, timeout: float | None = None, soon: bool = False
    ) -> Future[Any]:
        """Send a letter that wants an answer, as `ActorRef` makes it. The future gives the encoded reply.

        After a lost connection the letter is sent again, under its id. Cancel the future to wait no longer. With a
        `timeout` its caller looks at the time; without one it fails after 10 s without a supervisor. `soon`: it may be
        sent with others, at the latest when somebody waits for the future.
        """
        return self._actors.ask(id, letter, self._deadline(timeout), self, soon=soon)

    def actor_status(self, id: bytes) -> TaskRecord:
        """As `status`, for `ActorRef`, and from the disk alone: without the worker of an actor between turns."""
        return self._calls.status(id_text(id))

    # --- ends ---

    @overload
    def result(self, id: TaskInfo[T], timeout: float | None = None) -> T: ...
    @overload
    def result(self, id: IdLike, timeout: float | None = None) -> Any: ...
    def result(self, id: IdLike, timeout: float | None = None) -> Any:
        """Wait for a task's end; returns its value. If it has ended, this needs no supervisor.

        Raises TaskFailed, Poisoned, TaskTimedOut, TaskCancelled or TimeoutError.
        """
        deadline = self._deadline(timeout)
        return value_of(*self._ends.one(id_of(id), deadline), shape=shape_of_end(id))

    @overload
    def results(
        self,
        ids: Iterable[TaskInfo[T]],
        timeout: float | None = None,
        *,
        return_exceptions: Literal[False] = False,
    ) -> Iterator[T]: ...
    @overload
    def results(
        self, ids: Iterable[IdLike], timeout: float | None = None, *, return_exceptions: bool = False
    ) -> Iterator[Any]: ...
    def results(
        self, ids: Iterable[IdLike], timeout: float | None = None, *, return_exceptions: bool = False
    ) -> Iterator[Any]:
        """The values of several tasks, in the order given, each as soon as it and all before it have come.

        The first task that did not complete raises its error. With `return_exceptions` the error is given in the
        place of the value, and the rest follows.
        """
        known = list(several(ids, "results", "ids"))
        keys = [id_of(id) for id in known]
        Deadline(timeout)
        return self._results(known, keys, timeout, outcome_of if return_exceptions else value_of)

    def _results(
        self, ids: Iterable[IdLike], keys: builtins.list[bytes], timeout: float | None, give: Any
    ) -> Iterator[Any]:
        # Most tasks have one of a few names.
        shape_of = functools.cache(result_shape)
        # Closed here: the traceback of a task's error would keep the wait alive.
        with closing(self._ends.each(keys, self._deadline(timeout))) as ends:
            for id, row in zip(ids, ends, strict=True):
                shape = shape_of(id.task) if isinstance(id, TaskInfo) else None
                yield give(*row, shape=shape)

    def wait(self, id: IdLike, timeout: float | None = None) -> TaskRecord:
        """Wait for any end of a task; returns its record. Raises TimeoutError after `timeout` seconds."""
        deadline = self._deadline(timeout)
        self._ends.one(id_of(id), deadline)
        return self.status(id)

    @overload
    def wait_for(self, id: TaskInfo[T]) -> Future[T]: ...
    @overload
    def wait_for(self, id: IdLike) -> Future[Any]: ...
    def wait_for(self, id: IdLike) -> Future[Any]:
        """A future with the value or error of `result`; cancel it to stop waiting.

        Its callbacks run on one thread of this runtime, one after another, and may use the runtime.
        """
        shape = shape_of_end(id)
        return self._ends.future(id_of(id), lambda row: value_of(*row, shape=shape), self)

    def wait_for_end(self, id: IdLike) -> Future[None]:
        """A future that is set when the task has ended in any final state; see `wait_for`."""
        return self._ends.future(id_of(id), lambda _row: None, self)

    # --- reading, directly from disk without the supervisor ---

    def status(self, id: IdLike) -> TaskRecord:
        """A task's record. Raises TaskNotFound.

        Of an actor between turns, the supervisor says which worker has it in memory. After a second without that
        answer, and without a supervisor, `worker_pid` is None.
        """
        record = self._calls.status(id)
        if record.actor is None or record.state is not State.IDLE:
            return record
        deadline = self._deadline(WORKER_ANSWER)
        with suppress(TimeoutError, ConnectTimeout):
            pid = self._do(self._calls.worker_of(deadline, id_bytes(record.id)), deadline)
            record = dataclasses.replace(record, worker_pid=pid)
        return record

    def list(
        self,
        *,
        state: State | str | Iterable[State | str] | None = None,
        task: TaskLike | None = None,
        stream: StreamLike | None = None,
        metadata: Mapping[str, str] | None = None,
        limit: int = 100,
        before: IdLike | None = None,
    ) -> list[TaskRecord]:
        """Tasks, newest first. `metadata` are entries that a task must have.

        For the next page, pass the last id of this one as `before`.
        """
        wanted = None if state is None else _states([state] if isinstance(state, str) else state)
        check_whole("limit", limit, 0)
        records = self._calls.store.records(
            states=wanted,
            name=name_of(task),
            stream=None if stream is None else id_bytes(stream),
            metadata=checked_metadata(metadata),
            limit=limit,
            before=None if before is None else id_of(before),
        )
        return [view(record, 0, self._calls.store.args) for record in records]

    def search(self, query: str, *, limit: int = 50, after: str | None = None) -> SearchPage:
        """A page of the tasks that fit a query, newest first, such as "state:failed task:etl* newer:1d 'reset'".

        For the next page, pass the `cursor` of this one as `after`. A page takes at most about 50 ms: it may have fewer
        tasks than `limit` and a cursor nevertheless. Raises InvalidQuery, which shows the place of a mistake.
        """
        return searches.search(self._calls.store, query, limit, after, self._client.clock.time())

    def counts(self) -> searches.Counts:
        """How many tasks of each name are in each state. Zeros are left out."""
        return self._calls.store.counts()

    def attempts(self, id: IdLike) -> TaskAttempts:
        """The runs of a task so far, oldest first, with their times, workers and errors. Raises TaskNotFound.

        The last 100 are kept; `dropped` says how many older ones there were.
        """
        record = self._calls.record(id_of(id))
        return outcomes.attempts(self._calls.store, record)

    def steps(self, id: IdLike, *, limit: int | None = 100) -> builtins.list[StepInfo]:
        """The steps that a task keeps, the `limit` newest ones, oldest first; None for all. Raises TaskNotFound.

        Those of an actor belong to messages that it has not handled, or that are dead letters.
        """
        record = self._calls.record(id_of(id))
        if limit is not None:
            check_whole("limit", limit, 0)
        if record.steps is None:
            return []
        found = self._calls.store.steps(record.id, limit, of_actor=record.actor is not None)
        return [step_info(step) for step in found]

    def errors(
        self, window: float = 86_400.0, *, task: TaskLike | None = None, limit: int = 100
    ) -> ErrorGroups:
        """The causes of the failures of the last `window` seconds, the most frequent first, at most `limit`.

        Tasks count that have failed or timed out and have not been pruned. `task` is a task, its name or a pattern.
        """
        return outcomes.errors(self._calls.store, window, task, limit, self._client.clock.time())

    def stats(self, window: float = 3_600.0, *, task: TaskLike | None = None) -> TaskStats:
        """What has ended in the last `window` seconds, by state, with the times to wait and to run; also by name.

        `task` is a task, its name or a pattern. The window is rounded up to 10 s, 1 min, 10 min or 1 h, if it reaches
        back 2 h, 2 d, 14 d or 400 d.
        """
        return outcomes.stats(self._calls.store, window, task, self._client.clock.time())

    def restore(self, id: IdLike) -> Any:
        """A task's last checkpoint, or None. Raises TaskNotFound."""
        key = id_of(id)
        packed = self._calls.store.checkpoint(key)
        if packed is None:
            self._calls.record(key)
            return None
        return values.unpack(packed)

    def logs(self, id: IdLike, *, after: int = -1) -> builtins.list[LogLine]:
        """The lines that a task has printed and logged so far, oldest first. Raises TaskNotFound.

        Lines belong to chunks numbered from 1; chunks up to the number `after` are left out. Chunk 0 exists once the
        log has reached its limit, and says how many lines were dropped.
        """
        key = id_of(id)
        chunks = self._calls.store.logs(key, after, LOG_CHUNKS)
        if not chunks:
            self._calls.record(key)
        return [LogLine(chunk, *line) for chunk, lines in chunks for line in lines]

    def watch(
        self, *, stream: StreamLike | None = None, task: IdLike | None = None, after: str | None = None
    ) -> Watch:
        """Follow a task or a stream: an iterator and context manager over a snapshot and everything that happens.

        Items that are published, lines of log, attempts and ends come in order and each once: from the beginning, or
        from behind the entry whose `cursor` is `after`. The watch of a task ends with it. It reads the store, so it
        goes on while no supervisor runs. Raises TaskNotFound, EventNotFound, and InvalidOption for a wrong cursor.
        """
        return Watch(self._calls.store, stream, task, after, self._client.clock)

    def subscribe(
        self,
        *,
        task: TaskLike | None = None,
        stream: StreamLike | None = None,
        progress: bool = False,
        timeout: float | None = None,
    ) -> Subscription:
        """An iterator over all state changes from now on, optionally of one task name or one stream.

        With `progress=True` the progress that running tasks report comes too, as events with a `progress`.
        `timeout` limits this call, not the wait for events.
        """
        deadline = self._deadline(timeout)
        subscription = self._subscription(task, stream, progress)
        self._do(self._client.connected(deadline), deadline)
        return subscription.open(deadline.left())

    def _subscription(self, task: TaskLike | None, stream: StreamLike | None, progress: bool) -> Subscription:
        check_flag("progress", progress)
        key = None if stream is None else id_bytes(stream)
        return Subscription(self._client.home, name_of(task), key, progress)

    # --- running the supervisor ---

    def ping(self, *, timeout: float | None = None) -> None:
        """Return once the supervisor answers. Raises NotRunning if none serves the home by then."""
        deadline = self._deadline(timeout)
        return self._do(self._calls.ping(deadline), deadline)

    def tree(self, *, timeout: float | None = None) -> dict[str, Any]:
        """The live processes and the tasks that each runs, as plain data."""
        deadline = self._deadline(timeout)
        return self._do(self._calls.tree(deadline), deadline)

    def prune(self, *, all: bool = False, timeout: float | None = None) -> int:
        """Remove ended tasks whose keep time is over; returns their number.

        With `all`, remove ended tasks of any age, except those kept for ever.
        """
        deadline = self._deadline(timeout)
        return self._do(self._calls.prune(deadline, all), deadline)

    def compact(self, *, timeout: float | None = None) -> None:
        """Return the space of removed tasks to the file system.

        A program that has read from this home keeps the old file open until its next read; its space is freed then.
        """
        deadline = self._deadline(timeout)
        return self._do(self._calls.compact(deadline), deadline, long=True)

    def stop_supervisor(self, *, now: bool = False, timeout: float | None = None) -> None:
        """Stop the supervisor, even one that this runtime did not start.

        With `now`, do not wait for running tasks.
        """
        deadline = self._deadline(timeout)
        return self._do(self._calls.stop_supervisor(deadline, now), deadline)

    def close(self, id: IdLike = UNSET, *, timeout: float | None = None) -> None:
        """Disconnect; stop the supervisor if this runtime started it. May be called twice.

        With an id: see `close_mailbox`, which is the better name for it. `timeout` is for that alone.
        """
        if id is not UNSET:
            self.close_mailbox(id, timeout=timeout)
            return
        self._finalizer.detach()
        self._client.close()
        self._reader.close()

    def __enter__(self) -> Self:
        self._client.check_open()
        current_runtime.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        current_runtime.leave(self)
        self.close()


#: The runtimes of this process that were not let go of.
_open: Final[weakref.WeakSet[Runtime]] = weakref.WeakSet()


def _close_all() -> None:
    for runtime in list(_open):
        runtime.close()


at_exit(_close_all)


def attached(home: str | os.PathLike[str] | None) -> Runtime:
    """A runtime that is connected. Raises NotRunning at once if no supervisor serves `home`."""
    runtime = Runtime.connect(home)
    try:
        runtime._client.connect_now()
    except BaseException:
        runtime.close()
        raise
    return runtime


def _let_go(client: ReconnectingClient, reader: Reader) -> None:
    """Close a runtime that the program has let go of without `close`."""
    used = client.used
    # On another thread: the garbage collector calls this, at any point of the program's code, so it must not wait or
    # take locks. Not `threading.Thread`, whose start takes one. At exit no thread can be started.
    with suppress(RuntimeError):
        _thread.start_new_thread(_close, (client, reader))
    if used:
        warnings.warn(
            f"a Runtime of {client.home.path} was not closed: use `with`, or call its close()",
            ResourceWarning,
            stacklevel=1,
        )


def _close(client: ReconnectingClient, reader: Reader) -> None:
    client.close()
    reader.close()


def _states(names: Iterable[State | str]) -> set[State]:
    try:
        return {State(name) for name in names}
    except ValueError as error:
        raise InvalidOption(f"{error}: the states are {', '.join(State)}") from None


def name_of(task: TaskLike | None) -> str | None:
    """The name of a task that is given by itself or by its name."""
    return task.name if isinstance(task, Task) else task
