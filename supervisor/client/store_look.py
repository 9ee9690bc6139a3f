"""StoreLook: what pages read from the store beyond the calls of a `Runtime`. It asks the supervisor for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...actors import values
from ...actors.events.entry import WatchEntry
from ...actors.state import State
from ...actors.task.handles import IdLike, id_of
from ...storage.file.names import store_file
from ...storage.query import FIELDS
from ...storage.tables.step_rows import ENDS, RETRIED
from .runtime import Runtime

QUERY_FIELDS = FIELDS
"""The fields of a query's terms."""


@dataclass(frozen=True, slots=True)
class Bar:
    """What has ended in a part of a window."""

    start: int
    """Seconds since the epoch."""
    ended: dict[State, int]
    """By final state; all of them are there."""
    retried: int

    @property
    def total(self) -> int:
        """How many tasks have ended."""
        return sum(self.ended.values())


class StoreLook:
    """Reads the store of one runtime. Thread-safe. Values of types that are not registered here are `Foreign`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._reader = runtime._calls.store

    def newest(self) -> int:
        """The number of the newest commit. This is no read: it takes about a microsecond."""
        return self._reader.newest()

    def result(self, id: IdLike) -> Any:
        """What the task has returned; None if nothing yet."""
        return _value(self._reader.result(id_of(id)))

    def checkpoint(self, id: IdLike) -> Any:
        """The task's last checkpoint; None if there is none."""
        return _value(self._reader.checkpoint(id_of(id)))

    def messages(self, id: IdLike, limit: int = 100) -> list[Any]:
        """The oldest messages in the task's mailbox that it has not acknowledged."""
        return [_value(packed) for packed in self._reader.messages(id_of(id), limit)]

    def items(self, id: IdLike, limit: int) -> list[WatchEntry]:
        """The first items that the task has published."""
        found: list[WatchEntry] = []
        with self._runtime.watch(task=id) as entries:
            while len(found) < limit:
                try:
                    entry = entries.next(timeout=0)
                except TimeoutError:
                    break
                if entry is None:
                    break
                if entry.kind == "item":
                    found.append(entry)
        return found

    def bars(self, start: float, now: float, width: int) -> list[Bar]:
        """What has ended since `start`, in bars of `width` seconds: 10, or full minutes, or full hours."""
        return [
            Bar(at, dict(zip(ENDS, step.ended, strict=False)), step.ended[RETRIED])
            for at, step in self._reader.ended_over(start, now, width)
        ]

    def size(self) -> int:
        """Bytes of the store's file."""
        try:
            return store_file(Path(self._runtime.home)).stat().st_size
        except FileNotFoundError:
            return 0


def _value(packed: bytes | None) -> Any:
    return None if packed is None else values.unpack_foreign(packed)
