"""Gather: the wait for the ends of several tasks, for all of their values or for their ends one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, Literal

from ...actors.checks import check_choice
from ...actors.clock import SYSTEM, Clock
from ...actors.state import State
from ...actors.task.handles import IdLike
from .connection import Rows
from .views import outcome_of, shape_of_end, value_of
from .wait import EndsWait, Row

Errors = Literal["raise", "return"]
"""What becomes of the error of a task that did not complete."""
ERRORS: Final = ("raise", "return")


class FirstErrorWait(EndsWait):
    """As `EndsWait`, but it is over as soon as one task has not completed."""

    def take(self, rows: Rows) -> None:
        """See `EndsWait`."""
        with self.news:
            super().take(rows)
            if not self.future.done() and any(row[1] != State.COMPLETED for row in rows):
                self.future.set_result(None)


class Arrivals(EndsWait):
    """The ids of tasks in the order in which their ends come. It keeps no values."""

    def __init__(self, ids: Iterable[bytes], clock: Clock = SYSTEM) -> None:
        super().__init__(ids, clock)
        self._arrived: deque[bytes] = deque()

    def take(self, rows: Rows) -> None:
        """See `EndsWait`."""
        with self.news:
            self._arrived.extend(row[0] for row in rows if row[0] in self.left)
            super().take([(row[0], row[1], None, None) for row in rows])

    def pending(self) -> Future[None] | None:
        """None if `pop` has an id; else a future that is done when it may have one. Raises the error of the wait."""
        if self._arrived:
            return None
        news = self.next_news()
        if self._arrived:
            return None  # It came meanwhile.
        if self.future.done():
            self.future.result()
        return news

    def pop(self) -> bytes:
        """The next id."""
        return self._arrived.popleft()


def wait_of(errors: Errors) -> type[EndsWait]:
    """The wait for values. InvalidOption for another word."""
    check_choice("errors", errors, ERRORS)
    return FirstErrorWait if errors == "raise" else EndsWait


def gathered(
    ids: Sequence[IdLike], keys: Sequence[bytes], rows: Mapping[bytes, Row], errors: Errors
) -> list[Any]:
    """The values in the order given. With "raise", the error of the first task of these that did not complete."""
    if len(rows) < len(set(keys)):
        # One has failed, so the others were not waited for.
        keys = [key for key in keys if key in rows and rows[key][1] != State.COMPLETED]
        return [value_of(*rows[key]) for key in keys]
    give = value_of if errors == "raise" else outcome_of
    return [give(*rows[key], shape=shape_of_end(id)) for id, key in zip(ids, keys, strict=True)]
