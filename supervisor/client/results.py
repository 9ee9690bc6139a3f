"""Results: a client's waits for the ends of tasks, in the calling thread or by a future."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from ...actors.clock import SYSTEM
from ...actors.errors import HomeError, StoreError
from ...actors.ids import id_text
from ...actors.task.trigger import CALL
from ..wire.messages import Ask
from .callbacks import UserFuture
from .connection import Reply
from .deadline import NO_DEADLINE, Deadline
from .reconnecting import ReconnectingClient
from .steps import counted, finish, is_done, is_done_in_task, sync_task
from .stored_ends import StoredEnds
from .wait import EndsWait, Row


class Results:
    """The ends of tasks, from the supervisor of one `ReconnectingClient`. Thread-safe.

    The end of a single task is looked for in the store first, and so is any end while there is no connection: tasks
    that have ended need no supervisor. A task that is not found there may have ended since; the supervisor knows.
    A wait inside a sync task gives up the task's slot; otherwise waiting parents would block their children.
    """

    def __init__(self, client: ReconnectingClient, stored: StoredEnds) -> None:
        self._client = client
        self._stored = stored

    def begin(
        self,
        keys: Iterable[bytes],
        deadline: Deadline,
        known: Sequence[Row] = (),
        kind: type[EndsWait] = EndsWait,
    ) -> EndsWait:
        """Start to wait for the ends of these tasks, some of which are `known`; `forget` the wait when done."""
        wait = kind(keys, self._client.clock)
        if known:
            wait.take(known)
        self._client.begin(wait, deadline)
        return wait

    def stored(self, keys: Iterable[bytes]) -> list[Row]:
        """The ends of those tasks whose end is in the store, while there is no connection; else nothing."""
        self._client.check_open()
        if self._client.connection is not None:
            return []
        return [row for key in keys if (row := self._stored.find(key)) is not None]

    @property
    def reads_at_once(self) -> bool:
        """Whether the store is open, so that `ended` reads no more than a few pages."""
        return self._stored.is_open

    def ended(self, key: bytes) -> Row | None:
        """The end of a task that the store has; None if the supervisor must be asked."""
        self._client.check_open()
        try:
            return self._stored.find(key)
        except (StoreError, HomeError):
            if self._client.connection is None:
                raise
            return None

    def late(self, wait: EndsWait, deadline: Deadline) -> Exception:
        """The error of a wait whose time is over."""
        if self._client.connection is None:
            return self._client.late(deadline)
        left = next(iter(wait.left), None)
        what = "the task has" if left is None else f"task {id_text(left)} has"
        return TimeoutError(f"{what} not ended within {deadline.seconds:g} s")

    def one(self, key: bytes, deadline: Deadline) -> Row:
        """A task's end; TimeoutError when the time is over."""
        row = self.ended(key)
        if row is not None:
            return row
        with self._waiting([key], deadline) as wait:
            return self._end(wait, key, deadline)

    def of_start(self, key: bytes, start: Sequence[Any], deadline: Deadline) -> Row:
        """Start a run of the kind "call" by its START row and return its end.

        START and WAIT are sent together, so that no further request is needed for the end.
        """
        client = self._client
        started: Reply = finish(client.request(deadline, Ask.START, [start], CALL), deadline, client.late)
        try:
            with self._waiting([key], deadline) as wait:
                if sync_task() is None and client.clock is SYSTEM:
                    # Wait for both, or for the first error: waking up for each of them takes longer.
                    with counted():
                        futures.wait([started, wait.future], deadline.left(), futures.FIRST_EXCEPTION)
                answer = client.ask(deadline, Ask.START, [start], CALL, reply=started)
                there = finish(answer, deadline, client.late)
                if there is not None and there[0] != key:
                    # Its task is unique, and another one was there.
                    return self.one(there[0], deadline)
                if not (wait.future.done() and wait.future.exception() is not None):
                    return self._end(wait, key, deadline)
        finally:
            started.drop()
        # The supervisor went away between START and WAIT, and the next one did not know the task yet.
        return self.one(key, deadline)

    def each(self, keys: Sequence[bytes], deadline: Deadline) -> Generator[Row, None, None]:
        """The ends of several tasks, in this order, each as soon as it and all before it have come."""
        with self._waiting(keys, deadline) as wait:
            for key in keys:
                if key not in wait.rows:
                    self._await_row(wait, key, deadline)
                yield wait.rows[key]

    def future(self, key: bytes, give: Callable[[Row], Any], keep: object) -> UserFuture[Any]:
        """A future with `give(end)`; cancel it to stop waiting. It refers to `keep` until it is done."""
        row = self.ended(key)
        wait = self.begin([key], NO_DEADLINE, [] if row is None else [row])
        return EndFuture(self._client, wait, give, keep)

    @contextmanager
    def _waiting(self, keys: Sequence[bytes], deadline: Deadline) -> Iterator[EndsWait]:
        wait = self.begin(keys, deadline, self.stored(keys))
        try:
            yield wait
        finally:
            self._client.forget(wait)

    def _end(self, wait: EndsWait, key: bytes, deadline: Deadline) -> Row:
        if not self._await(wait, deadline):
            raise self.late(wait, deadline)
        return wait.rows[key]

    def _await(self, wait: EndsWait, deadline: Deadline) -> bool:
        """Whether all tasks have ended in time."""
        if not is_done_in_task(wait.future, deadline.left()):
            return False
        wait.future.result()
        return True

    def _await_row(self, wait: EndsWait, key: bytes, deadline: Deadline) -> None:
        if sync_task() is not None:
            if not self._await(wait, deadline):
                raise self.late(wait, deadline)
            return
        if self._client.clock is SYSTEM:
            self._await_news(wait, key, deadline)
        else:
            while key not in wait.rows:
                if wait.future.done():
                    wait.future.result()
                if not is_done(wait.next_news(), deadline.left()):
                    break
        if key not in wait.rows:
            raise self.late(wait, deadline)

    def _await_news(self, wait: EndsWait, key: bytes, deadline: Deadline) -> None:
        """One condition for all rows: a future for each of them takes longer."""
        with counted(), wait.news:
            while key not in wait.rows:
                if wait.future.done():
                    wait.future.result()
                if deadline.left() == 0:
                    break
                wait.news.wait(deadline.left())


class EndFuture(UserFuture[Any]):
    """The future end of a task."""

    def __init__(
        self, client: ReconnectingClient, wait: EndsWait, give: Callable[[Any], Any], keep: object
    ) -> None:
        super().__init__(client.callbacks, give)
        #: What it waits with, and what must live until then; empty when it waits no longer.
        self._pending: list[tuple[ReconnectingClient, EndsWait, object]] = [(client, wait, keep)]
        wait.future.add_done_callback(self._over)

    def cancel(self) -> bool:
        """Stop waiting. The task is not cancelled."""
        if not super().cancel():
            return False
        for client, wait, _ in self._let_go():
            client.forget(wait)
            self.set_running_or_notify_cancel()
        return True

    def _let_go(self) -> list[tuple[ReconnectingClient, EndsWait, object]]:
        try:
            return [self._pending.pop()]
        except IndexError:
            # By another thread.
            return []

    def _over(self, ended: Future[None]) -> None:
        for client, wait, _ in self._let_go():
            client.forget(wait)
            if not self.set_running_or_notify_cancel():
                continue
            error = ended.exception()
            if error is not None:
                self.set_exception(error)
            else:
                self.set_raw(self._outcome_of(wait.rows))

    def _outcome_of(self, rows: dict[bytes, Row]) -> Any:
        """What it is set with."""
        (row,) = rows.values()
        return row


class RowsFuture(EndFuture):
    """The future ends of several tasks."""

    def _outcome_of(self, rows: dict[bytes, Row]) -> Any:
        return rows
