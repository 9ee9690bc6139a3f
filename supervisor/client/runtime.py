"""Runtime: the client for programs with threads. `AsyncRuntime` wraps it for asyncio."""

from __future__ import annotations

import atexit
import builtins
import functools
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sized
from concurrent.futures import Future
from contextlib import closing
from typing import Any, Final, ParamSpec, Self, TypeVar, overload

from ...actors import values
from ...actors.checks import check_whole
from ...actors.errors import (
    InvalidOption,
    NotRunning,
    SupervisorLost,
    TaskNotFound,
    UnencodableValue,
    ValueTooLarge,
)
from ...actors.ids import id_bytes, id_text, new_id
from ...actors.shapes import Shape
from ...actors.state import State
from ...actors.task import current_runtime
from ...actors.task.call import Call
from ...actors.task.declaration import Task
from ...actors.task.handles import TaskInfo, TaskRecord
from ...storage.reader import Reader
from ...storage.tables.record import Record
from ..home import Home
from ..settings import BATCH_BYTES, BATCH_LIMIT, Settings
from ..wire.messages import Ask
from .reconnecting import ReconnectingClient
from .results import Results
from .start_rows import StartRow, StartRows, TaskLike
from .subscription import Subscription
from .views import LogLine, result_shape, value_of, view

log = logging.getLogger("understudy")

#: Default seconds that an embedded supervisor gives running tasks when the `with` block ends.
EMBEDDED_DRAIN: Final = 5.0

#: Chunks of a task's log that one call reads; more than the log's limit allows.
LOG_CHUNKS: Final = 1_000_000

#: Tasks in one part if a start is too large for one commit.
START_PART: Final = 2_000
#: Parts sent ahead of their acknowledgements.
START_AHEAD: Final = 4

P = ParamSpec("P")
T = TypeVar("T")

IdLike = str | TaskInfo[Any]


class Runtime:
    """Access to a supervisor. Thread-safe; calls of several threads share commits.

    `Runtime(home)` attaches to the supervisor that serves `home`. If there is none, it starts one as a child process
    and stops it at `close`, at the end of the `with` block, or at exit. `Runtime.connect(home)` only attaches.

    Waiting, starting, closing and cancelling survive a restart of the supervisor, because they are asked again.
    A `send` raises SupervisorLost if the supervisor goes away meanwhile, because asking again might deliver the
    message twice. Calls raise NotRunning if the supervisor does not come back, and other errors of the error tree.
    """

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        app: str | None = None,
        workers: int | None = None,
        slots: int = 8,
        **settings: Any,
    ) -> None:
        """`app` names the module with the tasks ("module", "package.module", "path/to/file.py").

        The default is the program itself and every module in which it has declared tasks. `settings` are the fields
        of `Settings`.
        """
        settings.setdefault("drain", EMBEDDED_DRAIN)
        checked = Settings.of({"workers": workers, "slots": slots, **settings})
        self._attach(ReconnectingClient(Home(home), checked, app, owner=True))

    @classmethod
    def connect(cls, home: str | os.PathLike[str] | None = None) -> Self:
        """Attach to the supervisor that serves `home`. Raises NotRunning if there is none."""
        runtime = cls.__new__(cls)
        runtime._attach(ReconnectingClient(Home(home), Settings(), None, owner=False))
        return runtime

    def _attach(self, attachment: ReconnectingClient) -> None:
        self._attachment = attachment
        self._reader = Reader(attachment.home.path)
        self._starts = StartRows(attachment)
        self._ends = Results(attachment)
        atexit.register(self.close)

    @property
    def home(self) -> str:
        """The home folder's absolute path."""
        return str(self._attachment.home.path)

    @property
    def supervisor_pid(self) -> int:
        """The supervisor's pid."""
        return int(self._attachment.connected().facts["pid"])

    # --- starting tasks ---

    @overload
    def start(self, task: Task[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TaskInfo[T]: ...
    @overload
    def start(self, task: str, /, *args: Any, **kwargs: Any) -> TaskInfo[Any]: ...
    def start(self, task: TaskLike, /, *args: Any, **kwargs: Any) -> TaskInfo[Any]:
        """Start a task; returns when it is on disk.

        `task` is a Task or a name ("module:function"). Raises UnknownTask, InvalidTask, UnencodableValue,
        ValueTooLarge, StoreFull, AppFailed, and TypeError for arguments that do not fit.
        """
        return self._start(self._starts.rows_of(task)(args, kwargs))

    def _start(self, row: StartRow) -> TaskInfo[Any]:
        there = self._attachment.ask(Ask.START, [row])
        return self._info(row, None if there is None else there[0])

    @overload
    def start_many(self, task: Iterable[Call[T]], /) -> list[TaskInfo[T]]: ...
    @overload
    def start_many(self, task: Task[..., T], calls: Iterable[Any]) -> list[TaskInfo[T]]: ...
    @overload
    def start_many(self, task: str, calls: Iterable[Any]) -> list[TaskInfo[Any]]: ...
    def start_many(
        self, task: TaskLike | Iterable[Call[Any]], calls: Iterable[Any] | None = None
    ) -> list[TaskInfo[Any]]:
        """Start one task for each element of `calls`: an argument, a tuple of them or a dict of keyword ones.

        `start_many([task.options(key=…).call(…), …])` starts calls that have options of their own; they may be calls
        of several tasks.

        Up to 10,000 tasks of at most 8 MiB together are started in one commit, all or none. More tasks are started in
        parts, each all or none; the first parts run while later ones are still being sent. The first part that is
        refused ends the call; up to three parts after it may be started.
        """
        if isinstance(task, str | Task):
            calls = _several(calls, "start_many", "calls")
            made = self._starts.rows_of_many(task, calls)
        else:
            calls = _several(task, "start_many", "a task and its calls, or calls made by Task.call(…)")
            made = self._starts.rows_of_calls(calls)
        infos: list[TaskInfo[Any]] = []
        rows: list[StartRow] = []
        size = 0
        pending: deque[tuple[list[StartRow], Future[Any]]] = deque()
        part = START_PART if isinstance(calls, Sized) and len(calls) > BATCH_LIMIT else BATCH_LIMIT
        for row in made:
            rows.append(row)
            size += len(row[2] or b"") + 100
            if len(rows) >= part or size >= BATCH_BYTES:
                pending.append((rows, self._attachment.request(Ask.START, rows)))
                rows, size, part = [], 0, START_PART
                if len(pending) >= START_AHEAD:
                    infos += self._started(*pending.popleft())
        if rows:
            pending.append((rows, self._attachment.request(Ask.START, rows)))
        while pending:
            infos += self._started(*pending.popleft())
        return infos

    def _started(self, rows: builtins.list[StartRow], future: Future[Any]) -> builtins.list[TaskInfo[Any]]:
        there = self._attachment.answer(future, Ask.START, rows)
        if there is None:
            return [TaskInfo(id, stream, name, origin, self) for id, name, _, _, _, _, stream, origin in rows]
        return builtins.list(map(self._info, rows, there))

    @overload
    def run(self, task: Task[..., T], /, *args: Any, timeout: float | None = None, **kwargs: Any) -> T: ...
    @overload
    def run(self, task: str, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any: ...
    def run(self, task: TaskLike, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Start a task, wait for it and return its value; see `result`."""
        row = self._starts.rows_of(task)(args, kwargs)
        id, _, _, _, key, *_ = row
        if key is not None:
            # The task that the key leads to is not known before the answer.
            return self.result(self._start(row), timeout)
        shape = result_shape(task)
        return value_of(*self._ends.of_start(id, row, timeout), shape=shape)

    @overload
    def retry(self, id: TaskInfo[T], *, from_scratch: bool = False) -> TaskInfo[T]: ...
    @overload
    def retry(self, id: str, *, from_scratch: bool = False) -> TaskInfo[Any]: ...
    def retry(self, id: IdLike, *, from_scratch: bool = False) -> TaskInfo[Any]:
        """Retry an ended task: start a new task with the same arguments from the old one's checkpoint."""
        old = self.status(id)
        made = new_id()
        self._attachment.ask(Ask.RETRY, id_bytes(old.id), made, from_scratch)
        return self._info_of(made, old)

    def _info(self, row: StartRow, there: bytes | None) -> TaskInfo[Any]:
        id, name, _, _, _, _, stream, origin = row
        if there is not None and there != id:
            return self._info_of(there, self.status(id_text(there)))
        return TaskInfo(id, stream, name, origin, self)

    def _info_of(self, id: bytes, record: TaskRecord) -> TaskInfo[Any]:
        origin = None if record.origin_run is None else id_bytes(record.origin_run)
        return TaskInfo(id, id_bytes(record.stream_id), record.task, origin, self)

    # --- messages ---

    def send(self, id: IdLike, message: Any) -> None:
        """Put a message into a task's mailbox; returns once it is on disk.

        Raises TaskNotFound, MailboxClosed, MailboxFull, UnencodableValue, ValueTooLarge, SupervisorLost.
        """
        self._attachment.request(
            Ask.SEND, [(_id(id), values.pack(message, "message", self._attachment.value_limit))]
        ).result()

    def send_many(self, messages: Iterable[tuple[IdLike, Any]]) -> None:
        """Put (id, message) pairs into mailboxes in this order; one commit for each 10,000 messages or 8 MiB."""
        pending: list[Future[Any]] = []
        rows: list[tuple[bytes, bytes]] = []
        size = 0
        limit = self._attachment.value_limit
        for number, (id, message) in enumerate(_several(messages, "send_many", "(id, message) pairs")):
            rows.append((_id(id), value := _pack_message(number, message, limit)))
            size += len(value) + 50
            if len(rows) >= BATCH_LIMIT or size >= BATCH_BYTES:
                pending.append(self._attachment.request(Ask.SEND, rows))
                rows, size = [], 0
        if rows:
            pending.append(self._attachment.request(Ask.SEND, rows))
        for future in pending:
            future.result()

    def close_mailbox(self, id: IdLike) -> None:
        """Close a task's mailbox for new messages.

        The task's `receive` gives None when the mailbox is empty.
        """
        self._attachment.ask(Ask.CLOSE, _id(id))

    def cancel(self, id: IdLike) -> bool:
        """Cancel a task. True if it had not ended; its state will then be `cancelled`."""
        key = _id(id)
        try:
            return bool(self._attachment.request(Ask.CANCEL, key).result())
        except SupervisorLost:
            # The cancel may have been done and only the answer lost. The second answer is then False.
            return bool(self._attachment.ask(Ask.CANCEL, key)) or self.status(id).state is State.CANCELLED

    # --- ends ---

    @overload
    def result(self, id: TaskInfo[T], timeout: float | None = None) -> T: ...
    @overload
    def result(self, id: str, timeout: float | None = None) -> Any: ...
    def result(self, id: IdLike, timeout: float | None = None) -> Any:
        """Wait for a task's end; returns its value.

        Raises TaskFailed, Poisoned, TaskTimedOut, TaskCancelled or TimeoutError.
        """
        return value_of(*self._ends.one(_id(id), timeout), shape=_shape(id))

    @overload
    def results(self, ids: Iterable[TaskInfo[T]], timeout: float | None = None) -> Iterator[T]: ...
    @overload
    def results(self, ids: Iterable[IdLike], timeout: float | None = None) -> Iterator[Any]: ...
    def results(self, ids: Iterable[IdLike], timeout: float | None = None) -> Iterator[Any]:
        """The values of several tasks, in the order given, each as soon as it and all before it have come."""
        known = list(_several(ids, "results", "ids"))
        # Closed at once, also if a value raises: its wait must not last as long as the error does.
        with closing(self._ends.each([_id(id) for id in known], timeout)) as ends:
            for id, row in zip(known, ends, strict=True):
                yield value_of(*row, shape=_shape(id))

    def wait(self, id: IdLike, timeout: float | None = None) -> TaskRecord:
        """Wait for any end of a task; returns its record. Raises TimeoutError after `timeout` seconds."""
        self._ends.one(_id(id), timeout)
        return self.status(id)

    @overload
    def wait_for(self, id: TaskInfo[T]) -> Future[T]: ...
    @overload
    def wait_for(self, id: str) -> Future[Any]: ...
    def wait_for(self, id: IdLike) -> Future[Any]:
        """A future with the value or error of `result`; cancel it to stop waiting."""
        return self._ends.future(_id(id), functools.partial(value_of, shape=_shape(id)))

    def wait_for_end(self, id: IdLike) -> Future[None]:
        """A future that is set when the task has ended in any final state."""
        return self._ends.future(_id(id), lambda *_row: None)

    # --- reading, directly from disk without the supervisor ---

    def status(self, id: IdLike) -> TaskRecord:
        """A task's record. Raises TaskNotFound."""
        key = _id(id)
        return view(self._record(key), self._store.mailbox_depth(key))

    def list(
        self,
        *,
        state: State | str | Iterable[State | str] | None = None,
        task: TaskLike | None = None,
        stream: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[TaskRecord]:
        """Tasks, newest first. For the next page, pass the last id of this one as `before`."""
        wanted = None if state is None else _states([state] if isinstance(state, str) else state)
        check_whole("limit", limit, 0)
        records = self._store.records(
            states=wanted,
            name=_name(task),
            stream=None if stream is None else id_bytes(stream),
            limit=limit,
            before=None if before is None else id_bytes(before),
        )
        return [view(record) for record in records]

    def restore(self, id: IdLike) -> Any:
        """A task's last checkpoint, or None. Raises TaskNotFound."""
        key = _id(id)
        packed = self._store.checkpoint(key)
        if packed is None:
            self._record(key)
            return None
        return values.unpack(packed)

    def logs(self, id: IdLike, *, after: int = -1) -> builtins.list[LogLine]:
        """The lines that a task has printed and logged so far, oldest first. Raises TaskNotFound.

        Lines belong to chunks numbered from 1; chunks up to the number `after` are left out. Chunk 0 exists once the
        log has reached its limit, and says how many lines were dropped.
        """
        key = _id(id)
        chunks = self._store.logs(key, after, LOG_CHUNKS)
        if not chunks:
            self._record(key)
        return [LogLine(chunk, *line) for chunk, lines in chunks for line in lines]

    @property
    def _store(self) -> Reader:
        """The reader. Raises NotRunning if this runtime was closed, as requests do."""
        if self._attachment.closed:
            raise NotRunning("this runtime was closed")
        return self._reader

    def _record(self, key: bytes) -> Record:
        record = self._store.record(key)
        if record is None:
            raise TaskNotFound(f"no task has the id {id_text(key)}", id_text(key))
        return record

    def subscribe(self, *, task: TaskLike | None = None, stream: str | None = None) -> Subscription:
        """An iterator over all state changes from now on, optionally of one task name or one stream."""
        self._attachment.connected()
        return Subscription(self._attachment.home, _name(task), None if stream is None else id_bytes(stream))

    # --- running the supervisor ---

    def tree(self) -> dict[str, Any]:
        """The live processes and the tasks that each runs, as plain data."""
        return dict(self._attachment.ask(Ask.TREE))

    def prune(self, *, all: bool = False) -> int:
        """Remove ended tasks whose keep time is over; returns their number.

        With `all`, remove ended tasks of any age, except those kept for ever."""
        return int(self._attachment.ask(Ask.PRUNE, all))

    def compact(self) -> None:
        """Return the space of removed tasks to the file system.

        A program that has read from this home keeps the old file open until its next read; its space is freed then.
        """
        self._attachment.ask(Ask.COMPACT)
        self._reader.record(bytes(16))  # Any read closes the old file.

    def stop_supervisor(self, *, now: bool = False) -> None:
        """Stop the supervisor, even one that this runtime did not start.

        With `now`, do not wait for running tasks.
        """
        self._attachment.request(Ask.STOP, now).result()

    def close(self, id: IdLike | None = None) -> None:
        """With an id: see `close_mailbox`. Without: disconnect; stop the supervisor if this runtime started it.

        May be called twice.
        """
        if id is not None:
            self.close_mailbox(id)
            return
        atexit.unregister(self.close)
        self._attachment.close()
        self._reader.close()

    def __enter__(self) -> Self:
        self._attachment.connected()
        current_runtime.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        current_runtime.leave(self)
        self.close()


def _several(values: Iterable[T] | None, call: str, what: str) -> Iterable[T]:
    """The values if they are iterable. Raises InvalidOption otherwise."""
    if isinstance(values, Iterable):
        return values
    raise InvalidOption(f"{call} takes {what}, as a list or another iterable, not {values!r:.80}")


def _states(names: Iterable[State | str]) -> set[State]:
    try:
        return {State(name) for name in names}
    except ValueError as error:
        raise InvalidOption(f"{error}: the states are {', '.join(State)}") from None


def _name(task: TaskLike | None) -> str | None:
    return task.name if isinstance(task, Task) else task


def _shape(id: IdLike) -> Shape | None:
    """Of the task's result, if its handle says which task it is."""
    return result_shape(id.task) if isinstance(id, TaskInfo) else None


def _id(id: IdLike) -> bytes:
    return id.key if isinstance(id, TaskInfo) else id_bytes(id)


def _pack_message(number: int, message: Any, limit: int) -> bytes:
    try:
        return values.pack(message, "message", limit)
    except (UnencodableValue, ValueTooLarge):
        # The name is made only for the error, because it costs as much as a short message.
        values.pack(message, f"messages[{number}]", limit)
        raise
