"""The tasks that share a limit under one key: those that hold a place, and those that wait for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...storage.tables.limit_rows import gate_sort
from ..rules.rate_window import RateWindow
from .ready_queue import ReadyQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from .limits import LimitNumbers
    from .live_task import LiveTask

#: The room where no number says how much there is.
ANY: Final = 1 << 30


class GateGroup:
    """One key of a limit."""

    __slots__ = (
        "dirty",
        "eager",
        "holders",
        "key",
        "numbers",
        "per",
        "queue",
        "ready",
        "sort",
        "stored",
        "wakes",
        "window",
    )

    def __init__(
        self,
        numbers: LimitNumbers,
        key: str | None,
        read_after: Callable[[int], Callable[[bytes, int], list[bytes]]],
        window: int,
    ) -> None:
        self.numbers = numbers
        self.key = key
        self.sort = gate_sort(numbers.name, key)
        self.queue = ReadyQueue(read_after(self.sort), window, window // 4, window)
        #: The tasks that hold a place, by id: they run, or may begin at any time.
        self.holders: dict[bytes, LiveTask] = {}
        #: Those of them that stand in a queue for a worker, with the pool of that worker.
        self.ready: dict[bytes, tuple[LiveTask, str | None]] = {}
        self.window = RateWindow()
        #: Seconds for which the window counts that was found on disk, while the limit is not known.
        self.per = 0.0
        #: Whether it is to be looked at with the next turn.
        self.eager = False
        #: When it is to be looked at next, by the event loop's time.
        self.wakes: float | None = None
        #: Whether the row of its window is to be written, and whether the disk has one.
        self.dirty = self.stored = False

    def room(self, now: float) -> int:
        """How many more may be let in now."""
        numbers = self.numbers
        room = ANY if numbers.concurrency is None else numbers.concurrency - len(self.holders)
        if numbers.rate is not None:
            room = min(room, self.window.room(numbers.rate, now))
        return max(0, room)

    @property
    def idle(self) -> bool:
        """Whether nothing is known of it that has to be kept."""
        return not self.holders and self.queue.empty and not self.window
