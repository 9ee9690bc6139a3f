"""Gathering: the calls of a runtime that wait for several tasks at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, overload

from ...actors.task.handles import IdLike, TaskInfo, id_of
from .calls import Calls, several
from .child_map import ChildMap
from .deadline import NO_DEADLINE, Deadline
from .gather import Arrivals, Errors, gathered, wait_of
from .results import Results, RowsFuture
from .runtime_part import RuntimePart
from .start_rows import TaskLike
from .steps import is_done_in_task

T = TypeVar("T")
I = TypeVar("I", bound=IdLike)  # noqa: E741 - an id


class Gathering(RuntimePart):
    """The part of a runtime that waits for several tasks. In a task these waits hold no slot."""

    _ends: Results
    _calls: Calls

    @overload
    def gather(
        self, ids: Iterable[TaskInfo[T]], timeout: float | None = None, errors: Literal["raise"] = "raise"
    ) -> list[T]: ...
    @overload
    def gather(
        self, ids: Iterable[TaskInfo[T]], timeout: float | None = None, *, errors: Literal["return"]
    ) -> list[T | Exception]: ...
    @overload
    def gather(
        self, ids: Iterable[IdLike], timeout: float | None = None, errors: Errors = "raise"
    ) -> list[Any]: ...
    def gather(
        self, ids: Iterable[IdLike], timeout: float | None = None, errors: Errors = "raise"
    ) -> list[Any]:
        """The values of several tasks in the order given, once all have come.

        As soon as a task has not completed, its error is raised; the others go on. With `errors="return"` errors stand
        in the places of values. TimeoutError when `timeout` seconds run out.
        """
        known = list(several(ids, "gather", "tasks"))
        keys, deadline = [id_of(id) for id in known], self._deadline(timeout)
        wait = self._ends.begin(keys, deadline, self._ends.stored(keys), wait_of(errors))
        try:
            if not is_done_in_task(wait.future, deadline.left()):
                raise self._ends.late(wait, deadline)
            wait.future.result()
            return gathered(known, keys, wait.rows, errors)
        finally:
            self._client.forget(wait)

    def wait_for_all(self, ids: Iterable[IdLike], errors: Errors = "raise") -> Future[list[Any]]:
        """A future with what `gather` gives; cancel it to stop waiting. See `wait_for`."""
        known = list(several(ids, "gather", "tasks"))
        keys = [id_of(id) for id in known]
        wait = self._ends.begin(keys, NO_DEADLINE, self._ends.stored(keys), wait_of(errors))
        return RowsFuture(self._client, wait, lambda rows: gathered(known, keys, rows, errors), self)

    def as_completed(self, ids: Iterable[I], timeout: float | None = None) -> Iterator[I]:
        """The tasks, each once it has ended in any final state: in the order of their ends, each once.

        TimeoutError when `timeout` seconds run out.
        """
        known = {id_of(id): id for id in several(ids, "as_completed", "tasks")}
        Deadline(timeout)
        return self._as_completed(known, timeout)

    def _as_completed(self, known: dict[bytes, I], timeout: float | None) -> Iterator[I]:
        deadline = self._deadline(timeout)
        with self.arrivals(known) as arrivals:
            for _ in known:
                while (news := arrivals.pending()) is not None:
                    if not is_done_in_task(news, deadline.left()):
                        raise self._ends.late(arrivals, deadline)
                yield known[arrivals.pop()]

    def child_map(
        self,
        base: tuple[bytes, bytes],
        task: TaskLike,
        items: Iterable[Any],
        limit: int,
        errors: Errors,
    ) -> ChildMap:
        """The children of a call of `map_tasks`; `base` is the id of the parent, and the base of the map."""
        items = several(items, "map_tasks", "items")
        return ChildMap(self._client, self._ends, self._calls.starts, base, task, items, limit, errors)

    @contextmanager
    def arrivals(self, keys: Iterable[bytes]) -> Iterator[Arrivals]:
        """A block in which the ends of tasks come one by one. `keys` are their ids as bytes."""
        wait = self._ends.begin(keys, NO_DEADLINE, self._ends.stored(keys), Arrivals)
        assert isinstance(wait, Arrivals)
        try:
            yield wait
        finally:
            self._client.forget(wait)
