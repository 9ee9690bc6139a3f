"""Aftermath: what follows the ends of parents, carried out some at a time between other work.

It is work of which the disk says that it is to be done, so it begins after the commit that says so. What a supervisor
does not come to, or what fails, stays on disk for the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator

from ...actors.errors import UnderstudyError
from ...actors.ids import id_text
from .live_task import LiveTask
from .task_table import TaskTable

log = logging.getLogger("understudy")


class Aftermath:
    """That of all parents. They take turns, a step each: few children do not wait for many others."""

    def __init__(self, table: TaskTable, cancel: Callable[[bytes], bool], turn: Callable[[], None]) -> None:
        """`cancel` cancels a task. `turn` asks for a turn of the event loop, in which changes are carried out."""
        self._loop = asyncio.get_running_loop()
        self._table = table
        self._cancel = cancel
        self._turn = turn
        self._left: deque[Iterator[None]] = deque()
        self._step: asyncio.Handle | None = None
        self._stopped = False

    def begin(self, steps: Iterator[None]) -> None:
        """Carry out these steps."""
        self._left.append(steps)
        if self._step is None and not self._stopped:
            self._step = self._loop.call_soon(self._go_on)

    def stop(self) -> None:
        """Do nothing any more: the next supervisor does."""
        self._stopped = True
        if self._step is not None:
            self._step.cancel()
            self._step = None

    def living(self, parent: bytes) -> LiveTask | None:
        """A parent that has not ended. One that cannot be read will never go on, so it counts as ended."""
        try:
            return self._table.find(parent)
        except UnderstudyError:
            log.exception("the children of task %s are cancelled", id_text(parent))
            return None

    def cancel(self, parent: bytes, child: bytes) -> None:
        """Cancel a child of a parent that has ended."""
        try:
            self._cancel(child)
        except Exception:
            # It is damaged, or this is a bug. The others are cancelled all the same.
            log.exception("task %s, a child of task %s, is not cancelled", id_text(child), id_text(parent))

    def _go_on(self) -> None:
        steps = self._left.popleft()
        try:
            next(steps)
        except StopIteration:
            pass
        except Exception:
            log.exception(
                "what follows the end of a task is not done before the next start of the supervisor"
            )
        else:
            self._left.append(steps)
        self._step = self._loop.call_soon(self._go_on) if self._left else None
        self._turn()
