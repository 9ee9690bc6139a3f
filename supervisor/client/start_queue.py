"""StartQueue: starts that are sent in the background, and futures that are set when the tasks have ended."""

from __future__ import annotations

import functools
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, TypeVar

from ...actors.attempt.helper_threads import start_outside
from ...actors.errors import (
    InvalidOption,
    InvalidTask,
    InvalidValue,
    NotRunning,
    NotUnique,
    TaskNotFound,
    UnknownPool,
    UnknownTask,
)
from ...actors.ids import id_text
from ...actors.shapes import Shape
from ..settings import BATCH_BYTES, BATCH_LIMIT
from ..wire.messages import Ask
from .callbacks import Callbacks, UserFuture
from .calls import START_AHEAD, START_PART
from .connection import Reply, Rows
from .deadline import NO_DEADLINE, Deadline
from .reconnecting import ReconnectingClient
from .start_rows import StartRow
from .steps import finish, is_done_in_task
from .views import value_of
from .wait import EndsWait, Row

T = TypeVar("T")

log = logging.getLogger("understudy")

#: Starts without an acknowledgement, from which on `put` waits.
MAX_STARTS: Final = BATCH_LIMIT
#: Bytes of their arguments, from which on `put` waits.
MAX_START_BYTES: Final = 2 * BATCH_BYTES
#: Refusals of a request for the sake of one of its tasks. Any other error would meet each half of it, too.
ABOUT_TASKS: Final = (
    InvalidTask,
    InvalidOption,
    InvalidValue,
    NotUnique,
    UnknownTask,
    UnknownPool,
    TaskNotFound,
)


class TaskFuture(UserFuture[T]):
    """The future value of a task. Its `cancel` cancels the task."""

    def __init__(
        self, callbacks: Callbacks, queue: StartQueue, row: StartRow, shape: Shape | None = None
    ) -> None:
        """`shape` is that of the task's result, if its annotations give one."""
        super().__init__(callbacks, _value_of if shape is None else lambda end: value_of(*end, shape=shape))
        #: None once the future is set or cancelled.
        self._queue: StartQueue | None = queue
        #: The id in the row of its start.
        self.row_id: bytes = row[0]
        #: The id of the task: another one if the start has a key that leads there, or is that of a unique task.
        self.task_id = self.row_id

    @property
    def id(self) -> str:
        """The task's id. If the start has a key or its task is unique, it is right when the future is done."""
        return id_text(self.task_id)

    def cancel(self) -> bool:
        """Cancel the task, without waiting for the supervisor. False if the future is done already.

        The future is cancelled at once. A task that ends before the cancel reaches the supervisor keeps its own state.
        """
        queue = self._queue
        if queue is None or not queue.take_out(self):
            return self.cancelled()
        self._queue = None
        super().cancel()
        self.set_running_or_notify_cancel()
        return True

    def set_end(self, row: Row) -> None:
        """The task has ended."""
        self._queue = None
        self.set_raw(row)

    def fail(self, error: Exception) -> None:
        """The task was not started, or its end cannot be had."""
        self._queue = None
        self.set_exception(error)


class StartQueue:
    """Starts tasks in a thread of its own. Thread-safe.

    A START takes all that was put in since the one before, and is sent when that one is acknowledged. A full one, of
    START_PART tasks or BATCH_BYTES, is sent at once, at most START_AHEAD ahead of their acknowledgements. If the
    supervisor refuses a START because of one of its tasks, its halves are tried, so that no task fails because of
    another one.

    Guarantees:

    * Each future is set once: to the end of its task, to an error, or cancelled. The thread that takes it out of
      `_pending` sets it.
    * The thread begins at the first `put`. It ends when the queue is closed and all futures are set, after a call of
      `on_over`. It keeps the queue alive.
    """

    def __init__(
        self,
        client: ReconnectingClient,
        deadline: Callable[[], Deadline],
        on_over: Callable[[], None],
    ) -> None:
        """`deadline()` gives the limit of one request to the supervisor. An error of `on_over()` is logged."""
        self._client = client
        self._deadline = deadline
        self._on_over = on_over
        self._closed = False
        self._reset()
        _queues.add(self)

    def _reset(self) -> None:
        # Guards the fields below. Reentrant, because a signal handler or a finalizer may use the queue, too.
        self._lock = threading.RLock()
        #: Notified when the thread has something to do or has done it.
        self._change = threading.Condition(self._lock)
        #: Starts that were not sent, in order, by their ids.
        self._rows: dict[bytes, StartRow] = {}
        #: Futures that are not set, by `row_id`.
        self._pending: dict[bytes, TaskFuture[Any]] = {}
        #: Cancelled futures whose starts were sent.
        self._cancelled: list[TaskFuture[Any]] = []
        #: Starts that were not acknowledged, and the bytes of their arguments.
        self._starts = self._bytes = 0
        #: Bytes of the arguments in `_rows`.
        self._unsent_bytes = 0
        #: Waits for ends that have not come.
        self._waits: set[_QueueWait] = set()
        self._thread: threading.Thread | None = None
        #: Set when the thread ends.
        self._over: Future[None] = Future()
        #: Whether the thread has work at hand.
        self._busy = False
        #: Threads that are setting futures now.
        self._setting = 0

    def put(self, row: StartRow, deadline: Deadline, shape: Shape | None = None) -> TaskFuture[Any]:
        """Start a task. Returns before it is started, but waits while too many starts are not acknowledged.

        Raises RuntimeError if the queue is closed, TimeoutError when the time is over.
        """
        future: TaskFuture[Any] = TaskFuture(self._client.callbacks, self, row, shape)
        size = _size(row)
        with self._lock:
            if self._closed or self._is_full(size):
                self._await_room(size, deadline)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="understudy-executor", daemon=True)
                start_outside(thread)
                self._thread = thread
            self._pending[row[0]] = future
            self._rows[row[0]] = row
            self._starts += 1
            self._bytes += size
            self._unsent_bytes += size
            if not self._busy or self._completes_part(size):
                self._change.notify_all()
        return future

    def _is_full(self, size: int) -> bool:
        return self._starts >= MAX_STARTS or (self._starts > 0 and self._bytes + size > MAX_START_BYTES)

    def _await_room(self, size: int, deadline: Deadline) -> None:
        while not self._closed and self._is_full(size):
            if deadline.left() == 0:
                raise TimeoutError(
                    f"{self._starts:,} starts were not acknowledged within {deadline.seconds:g} s; "
                    "this task was not started"
                )
            self._change.wait(deadline.left())
        if self._closed:
            raise RuntimeError("this executor was shut down and takes no more tasks")

    def _completes_part(self, size: int) -> bool:
        """Whether the last row, of this size, has made the next START as large as one may be."""
        return len(self._rows) == START_PART or 0 <= self._unsent_bytes - BATCH_BYTES < size

    def take_out(self, future: TaskFuture[Any]) -> bool:
        """Cancel the task of a future, which the caller sets to cancelled. False if another thread sets the future."""
        with self._change:
            if self._pending.pop(future.row_id, None) is None:
                return False
            row = self._rows.pop(future.row_id, None)
            if row is None:
                self._cancelled.append(future)
            else:
                self._starts -= 1
                self._bytes -= _size(row)
                self._unsent_bytes -= _size(row)
            self._change.notify_all()
        return True

    def cancel_all(self) -> None:
        """Cancel all futures that are not set."""
        with self._change:
            futures = list(self._pending.values())
        for future in futures:
            future.cancel()

    def close(self) -> None:
        """Take no more starts. Does not wait; may be called twice."""
        with self._change:
            closed, self._closed = self._closed, True
            self._change.notify_all()
        if not closed and self._thread is None:
            self._end()

    def join(self) -> None:
        """After `close`: wait until all futures are set and the thread has ended. A sync task gives up its slot."""
        if self._thread is not None and self._thread is not threading.current_thread():
            is_done_in_task(self._over, None)
            self._thread.join()

    def flush(self, seconds: float | None) -> None:
        """Wait until everything was sent to the supervisor and answered, but no longer than this."""
        with self._change:
            self._change.wait_for(lambda: not (self._rows or self._cancelled or self._busy), seconds)

    # --- the thread ---

    def _run(self) -> None:
        sent: deque[_Sent] = deque()
        while (work := self._next_work(sent)) is not None:
            work()
        # Their tasks were cancelled, and may take a while to end.
        for wait in list(self._waits):
            self._forget(wait)
        self._end()

    def _next_work(self, sent: deque[_Sent]) -> Callable[[], None] | None:
        """Wait for something to do; None at the end. `sent` are the STARTs that were not answered."""
        with self._change:
            self._busy = bool(sent)
            if not sent:
                self._change.notify_all()
            while True:
                if sent and (sent[0].reply.done() or sent[0].deadline.left() == 0):
                    return functools.partial(self._finish, sent.popleft())
                if self._cancelled:
                    # CANCEL follows the acknowledgement, so nothing more is sent until all have come.
                    if not sent:
                        self._busy = True
                        cancelled, self._cancelled = self._cancelled, []
                        return functools.partial(self._cancel, cancelled)
                elif self._rows and (not sent or (len(sent) < START_AHEAD and self._has_part())):
                    self._busy = True
                    return functools.partial(self._send, self._next_rows(), sent)
                elif self._is_over():
                    return None
                self._change.wait(sent[0].deadline.left() if sent else None)

    def _end(self) -> None:
        try:
            self._on_over()
        except Exception:
            log.exception("what an executor has used cannot be closed")
        finally:
            self._over.set_result(None)

    def _is_over(self) -> bool:
        return self._closed and not (self._rows or self._cancelled or self._pending or self._setting)

    def _has_part(self) -> bool:
        """Whether the next START would be as large as one may be."""
        return len(self._rows) >= START_PART or self._unsent_bytes >= BATCH_BYTES

    def _next_rows(self) -> list[StartRow]:
        """The rows of the next START."""
        if not self._has_part():
            rows, self._rows, self._unsent_bytes = self._rows, {}, 0
            return list(rows.values())
        part: list[StartRow] = []
        size = 0
        for row in self._rows.values():
            part.append(row)
            size += _size(row)
            if len(part) == START_PART or size >= BATCH_BYTES:
                break
        for row in part:
            del self._rows[row[0]]
        self._unsent_bytes -= size
        return part

    def _send(self, rows: list[StartRow], sent: deque[_Sent]) -> None:
        deadline, client = self._deadline(), self._client
        try:
            reply = finish(client.request(deadline, Ask.START, rows), deadline, client.late)
        except Exception as error:  # noqa: BLE001 - each error becomes that of the futures
            self._fail([row[0] for row in rows], error)
            self._settle(rows)
        else:
            sent.append(_Sent(rows, reply, deadline))
            reply.add_done_callback(self._answered)

    def _answered(self, _reply: Future[Any]) -> None:
        with self._change:
            self._change.notify_all()

    def _finish(self, sent: _Sent) -> None:
        """Take the answer to a START; it is sent again if it was lost with the connection."""
        self._start(sent.rows, sent.deadline, sent.reply)
        self._settle(sent.rows)

    def _settle(self, rows: Sequence[StartRow]) -> None:
        size = sum(map(_size, rows))
        with self._change:
            self._starts -= len(rows)
            self._bytes -= size
            self._change.notify_all()

    def _start(self, rows: Sequence[StartRow], deadline: Deadline, reply: Reply | None = None) -> None:
        client = self._client
        ids = [row[0] for row in rows]
        try:
            there = finish(client.ask(deadline, Ask.START, rows, reply=reply), deadline, client.late)
            if there is None:
                self._wait(_QueueWait(self, ids))
            else:
                self._wait(_QueueWait(self, set(there), self._follow(ids, there)))
        except Exception as error:  # noqa: BLE001 - each error becomes that of the futures
            if len(rows) > 1 and isinstance(error, ABOUT_TASKS):
                half = len(rows) // 2
                self._start(rows[:half], self._deadline())
                self._start(rows[half:], self._deadline())
            else:
                self._fail(ids, error)

    def _follow(self, ids: Sequence[bytes], there: Sequence[bytes]) -> Mapping[bytes, Sequence[bytes]]:
        """The ids of rows by the tasks to which their keys have led."""
        row_ids: dict[bytes, list[bytes]] = {}
        with self._lock:
            # A future that was cancelled meanwhile is not among the pending ones, and its task is cancelled next.
            futures = {future.row_id: future for future in self._cancelled}
            for id, task_id in zip(ids, there, strict=True):
                row_ids.setdefault(task_id, []).append(id)
                if (future := self._pending.get(id) or futures.get(id)) is not None:
                    future.task_id = task_id
        return row_ids

    def _cancel(self, futures: Sequence[TaskFuture[Any]]) -> None:
        deadline, client = self._deadline(), self._client
        try:
            sent = [
                (id, finish(client.request(deadline, Ask.CANCEL, id), deadline, client.late))
                for id in [future.task_id for future in futures]
            ]
            for id, reply in sent:
                try:
                    finish(client.ask(deadline, Ask.CANCEL, id, reply=reply), deadline, client.late)
                except TaskNotFound as error:
                    log.debug("a cancelled future's task was not started: %s", error)
        except Exception as error:  # noqa: BLE001 - the futures are cancelled already
            log.warning("the tasks of %d cancelled futures may go on: %s", len(futures), error)

    # --- the ends ---

    def _wait(self, wait: _QueueWait) -> None:
        self._waits.add(wait)
        try:
            self._client.begin(wait, NO_DEADLINE)
        except NotRunning as error:
            wait.fail(error)

    def _forget(self, wait: _QueueWait) -> None:
        self._waits.discard(wait)
        self._client.forget(wait)

    def ended(self, wait: _QueueWait, rows: Rows) -> None:
        """Tasks have ended (called in the thread that reads)."""
        with self._change:
            self._setting += 1
        for row in rows:
            for id in wait.row_ids_of(row[0]):
                future = self._pending.pop(id, None)
                if future is not None:
                    future.set_end(row)
        self._have_set()
        if not wait.left:
            self._forget(wait)

    def failed(self, wait: _QueueWait, error: Exception) -> None:
        """No more ends will come from this wait."""
        self._forget(wait)
        left = list(wait.left)
        if len(left) > 1 and isinstance(error, ABOUT_TASKS):
            half = len(left) // 2
            self._wait(wait.part(left[:half]))
            self._wait(wait.part(left[half:]))
        else:
            self._fail([id for task_id in left for id in wait.row_ids_of(task_id)], error)

    def _fail(self, ids: Collection[bytes], error: Exception) -> None:
        with self._change:
            self._setting += 1
        for id in ids:
            future = self._pending.pop(id, None)
            if future is not None:
                future.fail(error)
        self._have_set()

    def _have_set(self) -> None:
        with self._change:
            self._setting -= 1
            if self._closed:
                self._change.notify_all()


class _Sent(NamedTuple):
    """A START that was sent."""

    rows: list[StartRow]
    reply: Reply
    deadline: Deadline


class _QueueWait(EndsWait):
    """A wait that hands the ends to a queue as they come, and keeps none."""

    def __init__(
        self,
        queue: StartQueue,
        ids: Collection[bytes],
        row_ids: Mapping[bytes, Sequence[bytes]] | None = None,
    ) -> None:
        super().__init__(ids)
        self._queue = queue
        #: Ids of rows by the ids of tasks; None if they are the same.
        self._row_ids = row_ids

    def row_ids_of(self, task_id: bytes) -> Sequence[bytes]:
        """The ids of the rows that have led to this task."""
        return (task_id,) if self._row_ids is None else self._row_ids[task_id]

    def part(self, ids: Collection[bytes]) -> _QueueWait:
        """A wait for some of these tasks."""
        return _QueueWait(self._queue, ids, self._row_ids)

    def take(self, rows: Rows) -> None:
        """See `EndsWait`."""
        with self.news:
            self.left.difference_update([row[0] for row in rows])
            if not self.left and not self.future.done():
                self.future.set_result(None)
        self._queue.ended(self, rows)

    def fail(self, error: Exception) -> None:
        """See `EndsWait`."""
        super().fail(error)
        self._queue.failed(self, error)


def _size(row: StartRow) -> int:
    return len(row[2] or b"")


def _value_of(end: Row) -> Any:
    return value_of(*end)


#: The queues of this process; weak references, so that this set does not keep them alive.
_queues: weakref.WeakSet[StartQueue] = weakref.WeakSet()


def flush_all(seconds: float) -> None:
    """Close all queues, and wait until they have sent what they hold; no longer than this for all of them."""
    queues, deadline = list(_queues), Deadline(seconds)
    for queue in queues:
        queue.close()
    for queue in queues:
        queue.flush(deadline.left())


def _after_fork_in_child() -> None:
    # The parent's thread does not exist here; the parent starts what it was given.
    for queue in list(_queues):
        queue._reset()


os.register_at_fork(after_in_child=_after_fork_in_child)
