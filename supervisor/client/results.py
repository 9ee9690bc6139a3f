"""Results: a client's waits for the ends of tasks, in the calling thread or by a future."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ...actors.attempt.actor import TaskActor, running_actor
from ...actors.attempt.async_actor import AsyncTaskActor
from ...actors.ids import id_text
from ...actors.timeouts import check_timeout, deadline_of, left_of
from ..wire.messages import Ask
from .reconnecting import ReconnectingClient
from .wait import EndsWait, Row


class Results:
    """The ends of tasks, from the supervisor of one `ReconnectingClient`. Thread-safe.

    A wait inside a sync task gives up the task's slot; otherwise waiting parents would block their children.
    """

    def __init__(self, attachment: ReconnectingClient) -> None:
        self._attachment = attachment

    def one(self, key: bytes, timeout: float | None) -> Row:
        """A task's end; TimeoutError when `timeout` seconds run out."""
        seconds = check_timeout(timeout)
        return self._one(key, deadline_of(seconds), seconds)

    def of_start(self, key: bytes, start: Sequence[Any], timeout: float | None) -> Row:
        """Start a task by its START row and return its end.

        START and WAIT are sent together, so that no further request is needed for the end.
        """
        seconds = check_timeout(timeout)
        deadline = deadline_of(seconds)
        started = self._attachment.request(Ask.START, [start])
        with self._waiting([key]) as wait:
            if _may_park() is None:
                # Wait for both, or for the first error: waking up for each of them takes longer.
                with _counted():
                    futures.wait([started, wait.future], seconds, futures.FIRST_EXCEPTION)
            self._attachment.answer(started, Ask.START, [start])
            if not (wait.future.done() and wait.future.exception() is not None):
                return self._end(wait, key, deadline, seconds)
        # The supervisor went away between START and WAIT, and the next one did not know the task yet.
        return self._one(key, deadline, seconds)

    def each(self, keys: Sequence[bytes], timeout: float | None) -> Generator[Row, None, None]:
        """The ends of several tasks, in this order, each as soon as it and all before it have come."""
        seconds = check_timeout(timeout)
        deadline = deadline_of(seconds)
        with self._waiting(keys) as wait:
            for key in keys:
                if key not in wait.rows:
                    self._await_row(wait, key, deadline)
                yield wait.rows[key]

    def future(self, key: bytes, give: Callable[..., Any]) -> Future[Any]:
        """A future with `give(end)`; cancel it to stop waiting."""
        wait = self._attachment.wait_for([key])
        future: Future[Any] = Future()

        def over(ended: Future[None]) -> None:
            self._attachment.forget(wait)
            if not future.set_running_or_notify_cancel():
                return
            try:
                ended.result()
                value = give(*wait.rows[key])
            except Exception as error:  # noqa: BLE001 - a registered type's decoder may raise any error
                future.set_exception(error)
            else:
                future.set_result(value)

        wait.future.add_done_callback(over)
        future.add_done_callback(lambda done: self._attachment.forget(wait) if done.cancelled() else None)
        return future

    @contextmanager
    def _waiting(self, keys: Sequence[bytes]) -> Iterator[EndsWait]:
        wait = self._attachment.wait_for(keys)
        try:
            yield wait
        finally:
            self._attachment.forget(wait)

    def _one(self, key: bytes, deadline: float | None, seconds: float | None) -> Row:
        with self._waiting([key]) as wait:
            return self._end(wait, key, deadline, seconds)

    def _end(self, wait: EndsWait, key: bytes, deadline: float | None, seconds: float | None) -> Row:
        if not self._await(wait, left_of(deadline)):
            raise TimeoutError(f"task {id_text(key)} has not ended within {seconds:g} s")
        return wait.rows[key]

    def _await(self, wait: EndsWait, timeout: float | None) -> bool:
        """Whether all tasks have ended in time."""
        actor = _may_park()
        if actor is None:
            with _counted():
                try:
                    wait.future.result(timeout)
                except TimeoutError:
                    return False
                return True
        if not actor.wait_future(wait.future, timeout):
            return False
        wait.future.result()
        return True

    def _await_row(self, wait: EndsWait, key: bytes, deadline: float | None) -> None:
        if _may_park() is not None:
            if not self._await(wait, left_of(deadline)):
                raise TimeoutError("the tasks have not ended in time")
            return
        with _counted(), wait.news:
            while key not in wait.rows:
                if wait.future.done():
                    wait.future.result()
                left = left_of(deadline)
                if left is not None and left <= 0:
                    raise TimeoutError(f"task {id_text(key)} has not ended in time")
                wait.news.wait(left)


def _may_park() -> TaskActor | None:
    """The sync task of the current thread, or None; it gives up its slot while it waits."""
    actor = running_actor()
    return None if isinstance(actor, AsyncTaskActor) else actor


def _counted() -> AbstractContextManager[None]:
    """A wait of the current thread. In a thread of an async task it is one of the task."""
    actor = running_actor()
    return actor.waiting_in_thread() if isinstance(actor, AsyncTaskActor) else nullcontext()
