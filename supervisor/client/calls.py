"""Calls: the requests of a runtime, each written once as steps; `Runtime` and `AsyncRuntime` carry them out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence, Sized
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ...actors import values
from ...actors.errors import InvalidOption, SupervisorLost, TaskNotFound, UnencodableValue, ValueTooLarge
from ...actors.ids import id_bytes, id_text
from ...actors.state import State
from ...actors.task.handles import IdLike, TaskInfo, TaskRecord, id_of
from ...actors.task.launch import checked_key
from ...storage.reader import Reader
from ...storage.tables.record import Record
from ..settings import BATCH_BYTES, BATCH_LIMIT
from ..wire.messages import Ask
from .connection import Reply
from .deadline import Deadline
from .reconnecting import ReconnectingClient
from .start_rows import MakeRow, StartRow, StartRows, TaskLike, calls_of
from .steps import Steps
from .stored_ends import StoredEnds
from .views import view

if TYPE_CHECKING:
    from .runtime import Runtime

T = TypeVar("T")

#: Tasks in one part if a start is too large for one commit.
START_PART: Final = 2_000

#: Parts sent ahead of their acknowledgements.
START_AHEAD: Final = 4

#: A future that is done; a call that yields it can be closed there.
DONE: Final[Future[None]] = Future()
DONE.set_result(None)


class Calls:
    """The calls of one `ReconnectingClient` that need its supervisor.

    It does not refer to the `Runtime`, which is closed when nothing refers to it any more. Calls that make a
    `TaskInfo` are given the runtime.
    """

    def __init__(self, client: ReconnectingClient, reader: Reader, stored: StoredEnds) -> None:
        self._client = client
        self._reader = reader
        self._stored = stored
        self.starts = StartRows(client)

    # --- starting tasks ---

    def start(
        self,
        runtime: Runtime,
        deadline: Deadline,
        task: TaskLike,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *kind: str,
    ) -> Steps[TaskInfo[Any]]:
        """See `Runtime.start`. `kind` is that of the run, if it is one."""
        make_row = yield from self.starts.rows_of(task, deadline)
        return (yield from self.start_row(runtime, deadline, make_row(args, kwargs), *kind))

    def row_of(
        self, deadline: Deadline, task: TaskLike, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Steps[StartRow]:
        """The row of a start that has not been sent."""
        make_row = yield from self.starts.rows_of(task, deadline)
        return make_row(args, kwargs)

    def row_at_once(self, task: TaskLike, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StartRow | None:
        """As `row_of`, for a task that was started last; None for another one."""
        make_row = self.starts.last(task)
        return None if make_row is None else make_row(args, kwargs)

    def start_row(
        self, runtime: Runtime, deadline: Deadline, row: StartRow, *kind: str
    ) -> Steps[TaskInfo[Any]]:
        """Start a task by its row."""
        there = yield from self._client.ask(deadline, Ask.START, [row], *kind)
        return self._info(runtime, row, None if there is None else there[0])

    def start_many(
        self, runtime: Runtime, deadline: Deadline, task: TaskLike | None, calls: Iterable[Any]
    ) -> Steps[list[TaskInfo[Any]]]:
        """See `Runtime.start_many`; without `task`, `calls` are those made by `Task.call`."""
        client = self._client
        rows: list[StartRow] = []
        size = 0
        infos: list[TaskInfo[Any]] = []
        pending: deque[tuple[list[StartRow], Reply]] = deque()
        last = task
        make_row: MakeRow | None = None
        if task is not None:
            make_row = yield from self.starts.rows_of(task, deadline)
        part = START_PART if isinstance(calls, Sized) and len(calls) > BATCH_LIMIT else BATCH_LIMIT
        try:
            for called, args, kwargs in calls_of(task, calls):
                if make_row is None or called is not last:
                    last, make_row = called, (yield from self.starts.rows_of(called, deadline))
                row = make_row(args, kwargs)
                rows.append(row)
                size += len(row[2] or b"") + 100
                if len(rows) >= part or size >= BATCH_BYTES:
                    pending.append((rows, (yield from client.request(deadline, Ask.START, rows))))
                    rows, size, part = [], 0, START_PART
                    if len(pending) >= START_AHEAD:
                        infos += yield from self._started(runtime, deadline, *pending.popleft())
                    yield from self._turn(deadline)
            if rows:
                pending.append((rows, (yield from client.request(deadline, Ask.START, rows))))
            while pending:
                infos += yield from self._started(runtime, deadline, *pending.popleft())
            return infos
        finally:
            _drop([reply for _, reply in pending])

    def _started(
        self, runtime: Runtime, deadline: Deadline, rows: list[StartRow], reply: Reply
    ) -> Steps[list[TaskInfo[Any]]]:
        """The handles of one part that was sent."""
        there = yield from self._client.ask(deadline, Ask.START, rows, reply=reply)
        if there is None:
            return [
                TaskInfo(id, stream, name, origin, runtime) for id, name, _, _, _, _, stream, origin in rows
            ]
        return [self._info(runtime, row, id) for row, id in zip(rows, there, strict=True)]

    def retry(
        self, runtime: Runtime, deadline: Deadline, id: IdLike, from_scratch: bool
    ) -> Steps[TaskInfo[Any]]:
        """See `Runtime.retry`."""
        old = self.status(id)
        made = self._client.clock.new_id()
        yield from self._client.ask(deadline, Ask.RETRY, id_bytes(old.id), made, from_scratch)
        return _info_of(runtime, made, old)

    def _info_of_existing(self, runtime: Runtime, id: bytes, name: str) -> TaskInfo[Any]:
        """The handle on a task that was there. One that was pruned since may still keep others from its key."""
        record = self.store.record(id)
        if record is None:
            return TaskInfo(id, id, name, None, runtime, True)
        return TaskInfo(id, record.stream, record.name, record.origin, runtime, True)

    def retry_once(
        self, runtime: Runtime, deadline: Deadline, id: IdLike, from_scratch: bool
    ) -> Steps[TaskInfo[Any]]:
        """As `retry`, but the answer is the task that retries it already, if there is one."""
        old = self.status(id)
        key = id_bytes(old.id)
        made = self._client.clock.new_id()
        if not (yield from self._client.ask(deadline, Ask.RETRY, key, made, from_scratch, True)):
            made = self.store.retry_of(key) or made
        return _info_of(runtime, made, old)

    def _info(self, runtime: Runtime, row: StartRow, there: bytes | None) -> TaskInfo[Any]:
        id, name, _, _, _, _, stream, origin = row
        if there is not None and there != id:
            return self._info_of_existing(runtime, there, name)
        return TaskInfo(id, stream, name, origin, runtime)

    # --- messages ---

    def send(self, deadline: Deadline, id: IdLike, message: Any, key: str | None = None) -> Steps[None]:
        """See `Runtime.send`."""
        if key is not None:
            yield from self.send_once(deadline, id, [message], key)
            return
        to = id_of(id)
        connection = yield from self._client.connected(deadline)
        row = to, values.pack(message, "message", connection.value_limit)
        reply = yield from self._client.request(deadline, Ask.SEND, [row])
        yield from self._client.answer(reply)

    def send_once(self, deadline: Deadline, id: IdLike, messages: Sequence[Any], key: str) -> Steps[None]:
        """Send messages to one task under a key: all in one commit, and none that were sent under it before."""
        to, key = id_of(id), checked_key(key)
        limit = (yield from self._client.connected(deadline)).value_limit
        rows = [(to, _pack_message(number, message, limit)) for number, message in enumerate(messages)]
        yield from self._client.ask(deadline, Ask.SEND, rows, key)

    def send_many(self, deadline: Deadline, messages: Iterable[tuple[IdLike, Any]]) -> Steps[None]:
        """See `Runtime.send_many`."""
        client = self._client
        pending: list[Reply] = []
        rows: list[tuple[bytes, bytes]] = []
        size = 0
        limit = (yield from client.connected(deadline)).value_limit
        try:
            for number, (id, message) in enumerate(messages):
                rows.append((id_of(id), value := _pack_message(number, message, limit)))
                size += len(value) + 50
                if len(rows) >= BATCH_LIMIT or size >= BATCH_BYTES:
                    pending.append((yield from client.request(deadline, Ask.SEND, rows)))
                    rows, size = [], 0
                    yield from self._turn(deadline)
            if rows:
                pending.append((yield from client.request(deadline, Ask.SEND, rows)))
            for reply in pending:
                yield from client.answer(reply)
        finally:
            _drop(pending)

    def close_mailbox(self, deadline: Deadline, id: IdLike) -> Steps[None]:
        """See `Runtime.close_mailbox`."""
        yield from self._client.ask(deadline, Ask.CLOSE, id_of(id))

    def cancel(self, deadline: Deadline, id: IdLike) -> Steps[bool]:
        """See `Runtime.cancel`."""
        key = id_of(id)
        reply = yield from self._client.request(deadline, Ask.CANCEL, key)
        try:
            return bool((yield from self._client.answer(reply)))
        except SupervisorLost:
            # The cancel may have been done and only the answer lost. The second answer is then False.
            again = yield from self._client.ask(deadline, Ask.CANCEL, key)
            return bool(again) or self.status(id).state is State.CANCELLED

    # --- running the supervisor ---

    def ping(self, deadline: Deadline) -> Steps[None]:
        """See `Runtime.ping`."""
        yield from self._client.ask(deadline, Ask.WAIT, [])

    def tree(self, deadline: Deadline) -> Steps[dict[str, Any]]:
        """See `Runtime.tree`."""
        return dict((yield from self._client.ask(deadline, Ask.TREE)))

    def prune(self, deadline: Deadline, all: bool) -> Steps[int]:
        """See `Runtime.prune`."""
        removed = int((yield from self._client.ask(deadline, Ask.PRUNE, all)))
        self._stored.forget()
        return removed

    def compact(self, deadline: Deadline) -> Steps[None]:
        """See `Runtime.compact`."""
        yield from self._client.ask(deadline, Ask.COMPACT)
        self._reader.record(bytes(16))  # Any read closes the old file.

    def stop_supervisor(self, deadline: Deadline, now: bool) -> Steps[None]:
        """See `Runtime.stop_supervisor`."""
        reply = yield from self._client.request(deadline, Ask.STOP, now)
        yield from self._client.answer(reply)

    def _turn(self, deadline: Deadline) -> Steps[None]:
        """Between the parts of a long call: end the call if its time is over."""
        yield DONE
        if deadline.left() == 0:
            raise self._client.late(deadline)

    # --- reading, directly from disk without the supervisor ---

    @property
    def store(self) -> Reader:
        """The reader. Raises NotRunning if this runtime was closed, as requests do."""
        self._client.check_open()
        return self._reader

    def record(self, key: bytes) -> Record:
        """A task's row. Raises TaskNotFound."""
        record = self.store.record(key)
        if record is None:
            raise _not_found(key)
        return record

    def status(self, id: IdLike) -> TaskRecord:
        """See `Runtime.status`."""
        key = id_of(id)
        found = self.store.record_and_depth(key)
        if found is None:
            raise _not_found(key)
        return view(*found, self.store.args)

    # --- asking the supervisor, because the disk does not say it ---

    def worker_of(self, deadline: Deadline, id: bytes) -> Steps[int | None]:
        """The pid of the worker that has an actor in memory; None if none has, or if no supervisor serves the home."""
        if self._client.connection is None and self._client.home.served() is None:
            return None
        reply = yield from self._client.request(deadline, Ask.RESIDENT, id)
        try:
            pid: int | None = yield from self._client.answer(reply)
        except SupervisorLost:
            # Its workers end with it.
            return None
        return pid


def _not_found(key: bytes) -> TaskNotFound:
    return TaskNotFound(f"no task has the id {id_text(key)}", id_text(key))


def several(values: Iterable[T] | None, call: str, what: str) -> Iterable[T]:
    """The values if they are iterable. Raises InvalidOption otherwise."""
    if isinstance(values, Iterable):
        return values
    raise InvalidOption(f"{call} takes {what}, as a list or another iterable, not {values!r:.80}")


def _info_of(runtime: Runtime, id: bytes, record: TaskRecord) -> TaskInfo[Any]:
    origin = None if record.origin_run is None else id_bytes(record.origin_run)
    return TaskInfo(id, id_bytes(record.stream_id), record.task, origin, runtime)


def _drop(replies: Iterable[Reply]) -> None:
    for reply in replies:
        reply.drop()


def _pack_message(number: int, message: Any, limit: int) -> bytes:
    try:
        return values.pack(message, "message", limit)
    except (UnencodableValue, ValueTooLarge):
        # The name is made only for the error, because it costs as much as a short message.
        values.pack(message, f"messages[{number}]", limit)
        raise
