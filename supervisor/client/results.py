"""Results: a client's waits for the ends of tasks, in the calling thread or by a future."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ...actors.attempt.actor import TaskActor, running_actor
from ...actors.attempt.async_actor import AsyncTaskActor
from ...actors.ids import id_text
from ...storage.reader import Reader
from ..wire.messages import Ask
from .callbacks import UserFuture
from .connection import Reply
from .deadline import NO_DEADLINE, Deadline
from .reconnecting import ReconnectingClient
from .steps import finish, is_done
from .wait import EndsWait, Row


class Results:
    """The ends of tasks, from the supervisor of one `ReconnectingClient`. Thread-safe.

    Without a connection the store is read first: tasks that have ended need no supervisor. A wait inside a sync task
    gives up the task's slot; otherwise waiting parents would block their children.
    """

    def __init__(self, client: ReconnectingClient, reader: Reader) -> None:
        self._client = client
        self._reader = reader

    def begin(self, keys: Iterable[bytes], deadline: Deadline, known: Sequence[Row] = ()) -> EndsWait:
        """Start to wait for the ends of these tasks, some of which are `known`; `forget` the wait when done."""
        wait = EndsWait(keys)
        if known:
            wait.take(known)
        self._client.begin(wait, deadline)
        return wait

    def stored(self, keys: Iterable[bytes]) -> list[Row]:
        """The ends of those tasks whose end is in the store, while there is no connection; else nothing."""
        self._client.check_open()
        if self._client.connection is not None:
            return []
        return [row for key in keys if (row := self._stored(key)) is not None]

    def late(self, wait: EndsWait, deadline: Deadline) -> Exception:
        """The error of a wait whose time is over."""
        if self._client.connection is None:
            return self._client.late(deadline)
        left = next(iter(wait.left), None)
        what = "the task has" if left is None else f"task {id_text(left)} has"
        return TimeoutError(f"{what} not ended within {deadline.seconds:g} s")

    def one(self, key: bytes, deadline: Deadline) -> Row:
        """A task's end; TimeoutError when the time is over."""
        with self._waiting([key], deadline) as wait:
            return self._end(wait, key, deadline)

    def of_start(self, key: bytes, start: Sequence[Any], deadline: Deadline) -> Row:
        """Start a task by its START row and return its end.

        START and WAIT are sent together, so that no further request is needed for the end.
        """
        client = self._client
        started: Reply = finish(client.request(deadline, Ask.START, [start]), deadline, client.late)
        try:
            with self._waiting([key], deadline) as wait:
                if _may_park() is None:
                    # Wait for both, or for the first error: waking up for each of them takes longer.
                    with _counted():
                        futures.wait([started, wait.future], deadline.left(), futures.FIRST_EXCEPTION)
                answer = client.ask(deadline, Ask.START, [start], reply=started)
                finish(answer, deadline, client.late)
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

    def future(self, key: bytes, give: Callable[[Row], Any], keep: object) -> UserFuture:
        """A future with `give(end)`; cancel it to stop waiting. It refers to `keep` until it is done."""
        return EndFuture(self._client, self.begin([key], NO_DEADLINE, self.stored([key])), give, keep)

    @contextmanager
    def _waiting(self, keys: Sequence[bytes], deadline: Deadline) -> Iterator[EndsWait]:
        wait = self.begin(keys, deadline, self.stored(keys))
        try:
            yield wait
        finally:
            self._client.forget(wait)

    def _stored(self, key: bytes) -> Row | None:
        record = self._reader.record(key)
        if record is None or not record.terminal:
            return None
        value = None if record.result is None else self._reader.result(key)
        if value is None and record.result is not None:
            return None  # It was pruned between the two reads.
        return key, record.state, value, record.error

    def _end(self, wait: EndsWait, key: bytes, deadline: Deadline) -> Row:
        if not self._await(wait, deadline):
            raise self.late(wait, deadline)
        return wait.rows[key]

    def _await(self, wait: EndsWait, deadline: Deadline) -> bool:
        """Whether all tasks have ended in time."""
        actor = _may_park()
        if actor is None:
            with _counted():
                if not is_done(wait.future, deadline.left()):
                    return False
                wait.future.result()
                return True
        if not actor.wait_future(wait.future, deadline.left()):
            return False
        wait.future.result()
        return True

    def _await_row(self, wait: EndsWait, key: bytes, deadline: Deadline) -> None:
        if _may_park() is not None:
            if not self._await(wait, deadline):
                raise self.late(wait, deadline)
            return
        with _counted(), wait.news:
            while key not in wait.rows:
                if wait.future.done():
                    wait.future.result()
                if deadline.left() == 0:
                    break
                wait.news.wait(deadline.left())
        if key not in wait.rows:
            raise self.late(wait, deadline)


class EndFuture(UserFuture):
    """The future end of a task."""

    def __init__(
        self, client: ReconnectingClient, wait: EndsWait, give: Callable[[Row], Any], keep: object
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
                (row,) = wait.rows.values()
                self.set_result(row)


def _may_park() -> TaskActor | None:
    """The sync task of the current thread, or None; it gives up its slot while it waits."""
    actor = running_actor()
    return None if isinstance(actor, AsyncTaskActor) else actor


def _counted() -> AbstractContextManager[None]:
    """A wait of the current thread. In a thread of an async task it is one of the task."""
    actor = running_actor()
    return actor.waiting_in_thread() if isinstance(actor, AsyncTaskActor) else nullcontext()
