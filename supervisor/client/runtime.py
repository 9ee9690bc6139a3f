"""Runtime: the client for programs with threads. `AsyncRuntime` wraps it for asyncio."""

from __future__ import annotations

import _thread
import builtins
import functools
import os
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from typing import Any, Final, Literal, ParamSpec, Self, TypeVar, overload

from ...actors import values
from ...actors.checks import check_flag
from ...actors.errors import InvalidOption
from ...actors.ids import id_bytes
from ...actors.refs.actor import Actor
from ...actors.refs.port import PostKind, Turn, turn_here
from ...actors.task import current_runtime
from ...actors.task.call import Call
from ...actors.task.declaration import Task
from ...actors.task.handles import IdLike, TaskInfo, TaskRecord, id_of
from ...actors.task.trigger import CALL
from ...storage.reader import Reader
from ..home import Home
from ..linux.exit_functions import at_exit
from ..settings import Settings
from .access_calls import AccessCalls
from .acting import Acting
from .actor_calls import ActorCalls
from .bulk_calls import BulkCalls
from .bulking import Bulking
from .calls import Calls, several
from .deadline import NO_DEADLINE, Deadline
from .emitting import Emitting
from .event_calls import EventCalls
from .gathering import Gathering
from .granting import Granting, web_settings
from .limiting import Limiting
from .monitoring import Monitoring
from .pooling import Pooling
from .reading import Reading
from .reconnecting import ReconnectingClient
from .results import Results
from .schedule_calls import ScheduleCalls
from .scheduling import Scheduling
from .stacking import Stacking
from .start_queue import StartQueue
from .start_rows import StreamLike, TaskLike, name_of
from .steps import Steps, finish
from .stored_ends import StoredEnds
from .subscription import Subscription
from .tree import Supervising
from .tree_calls import TreeCalls
from .views import outcome_of, result_shape, shape_of_end, value_of

#: Default seconds that an embedded supervisor gives running tasks when the `with` block ends.
EMBEDDED_DRAIN: Final = 5.0

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A", bound=Actor)


class _Unset:
    def __repr__(self) -> str:
        return "…"


#: The default of `close`: None is no id, and a variable that holds it must not close the runtime.
UNSET: Final[Any] = _Unset()


class Runtime(
    Reading,
    Acting,
    Emitting,
    Scheduling,
    Supervising,
    Limiting,
    Pooling,
    Stacking,
    Bulking,
    Granting,
    Monitoring,
    Gathering,
):
    """Access to a supervisor. Thread-safe; calls of several threads share commits.

    `Runtime(home)` attaches to the supervisor that serves `home`. If there is none, it starts one as a child process
    and stops it at `close`, at the end of the `with` block, or at exit. `Runtime.connect(home)` only attaches, when
    that is needed: reading and the results of ended tasks need no supervisor.

    Waiting, starting, closing and cancelling survive a restart of the supervisor, because they are asked again.
    A `send` without a key raises SupervisorLost if the supervisor goes away meanwhile, because asking again might
    deliver the message twice.

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
        self._bulks = BulkCalls(client, self._reader)
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

    def send(self, id: IdLike, message: Any, *, key: str | None = None, timeout: float | None = None) -> None:
        """Put a message into a task's mailbox; returns once it is on disk.

        With a `key` it may be sent again: a task that had a message under this key within a day gets no other one. So
        such a call survives a restart of the supervisor.

        In a method of an actor it returns at once: the message leaves with the commit of what the method does, which
        happens once, so there it takes no key.
        Raises TaskNotFound, MailboxClosed, MailboxFull, UnencodableValue, ValueTooLarge, SupervisorLost.
        """
        turn = self._turn()
        if turn is not None:
            if key is not None:
                raise InvalidOption(
                    "in a method of an actor a message is sent once in any case: leave key out"
                )
            turn.post(id_of(id), values.pack(message, "message"), PostKind.MESSAGE)
            return None
        deadline = self._deadline(timeout)
        return self._do(self._calls.send(deadline, id, message, key), deadline)

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

    # --- events as they happen ---

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
