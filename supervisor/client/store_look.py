"""StoreLook: what pages and the API read from the store beyond the calls of a `Runtime`.

It asks the supervisor for nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...actors import values
from ...actors.access import AuditEntry
from ...actors.errors import InvalidOption
from ...actors.events.entry import WatchEntry
from ...actors.ids import id_bytes, id_text
from ...actors.state import State
from ...actors.task.handles import IdLike, TaskRecord, id_of
from ...actors.task.outcomes import ErrorGroups, TaskStats
from ...actors.trees.status import TreeStatus
from ...storage.file.names import store_file
from ...storage.query import FIELDS
from ...storage.tables.start_rows import Start
from ...storage.tables.step_rows import ENDS, RETRIED
from ...storage.tie_reader import Ties
from ...storage.totals_reader import ReadyAges
from . import outcomes, searches
from .outcomes import Sees
from .pages import SearchPage
from .runtime import Runtime
from .views import LogLine

#: Chunks of a log that one look reads.
LOG_CHUNKS: Final = 200

#: Entries of the audit in one read.
_AUDIT_PART: Final = 1_000

__all__ = ["QUERY_FIELDS", "Bar", "Start", "StoreLook"]

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

    def __init__(self, runtime: Runtime, ages: ReadyAges | None = None) -> None:
        """`ages` is what looks before this one have found out, for `oldest_ready`."""
        self._ages = ages or ReadyAges()
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

    def ties(self, record: TaskRecord) -> tuple[str | None, Ties]:
        """The task that a task is linked to, and its other links and monitors."""
        reader, id = self._reader, id_bytes(record.id)
        stored = reader.record(id)
        return record.origin_run if stored is not None and stored.linked else None, reader.ties(id)

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

    # --- of the names that somebody may see ---

    def search(self, query: str, *, limit: int, after: str | None, sees: Sees) -> SearchPage:
        """As `Runtime.search`, for the tasks with these names."""
        return searches.search(self._reader, query, limit, after, self._now, sees)

    def stats(self, window: float, task: str | None, sees: Sees) -> TaskStats:
        """As `Runtime.stats`."""
        return outcomes.stats(self._reader, window, task, self._now, sees)

    def errors(self, window: float, task: str | None, limit: int, sees: Sees) -> ErrorGroups:
        """As `Runtime.errors`."""
        return outcomes.errors(self._reader, window, task, limit, self._now, sees)

    @property
    def _now(self) -> float:
        return self._runtime._client.clock.time()

    def trees(self) -> list[TreeStatus]:
        """See `Runtime.trees`."""
        return self._runtime.trees()

    # --- pages ---

    def log(self, id: IdLike, *, after: int, limit: int) -> tuple[list[LogLine], int, bool]:
        """Lines of a task's log behind the chunk `after`: at least `limit`, in whole chunks, or all that there are.

        Also the last of these chunks, behind which a later call goes on, and whether there are more now.
        """
        key = id_of(id)
        lines: list[LogLine] = []
        while True:
            chunks = self._reader.logs(key, after, LOG_CHUNKS)
            for place, (chunk, own) in enumerate(chunks, 1):
                lines += [LogLine(chunk, *line) for line in own]
                after = chunk
                # Behind chunk 0, which says what was dropped, the log begins anew.
                if len(lines) >= limit and chunk:
                    return lines, after, place < len(chunks) or bool(self._reader.logs(key, after, 1))
            if len(chunks) < LOG_CHUNKS:
                return lines, after, False

    def audit(
        self, limit: int, before: str = "", text: str = ""
    ) -> tuple[list[tuple[str, AuditEntry]], str | None]:
        """Entries of the audit with their marks, newest first, and the mark behind which there are more.

        `before` is the mark of an entry; `text` is contained in the action, name, outcome or address of all of them,
        whatever its case. InvalidOption for a mark that is none.
        """
        try:
            mark = bytes.fromhex(before) or None
        except ValueError as error:
            raise InvalidOption("before= is the mark of an entry of the audit") from error
        found: list[tuple[str, AuditEntry]] = []
        while entries := self._reader.audit(_AUDIT_PART, mark):
            for mark, entry in entries:
                if text in f"{entry.who}\n{entry.action}\n{entry.outcome}\n{entry.address}".casefold():
                    if len(found) == limit:
                        return found, found[-1][0]
                    found.append((mark.hex(), entry))
        return found, None

    def starts(self, since: float) -> list[Start]:
        """When supervisors have started since then, oldest first."""
        return [start for start in self._reader.starts() if start.time >= since]

    def oldest_ready(self, names: Collection[str]) -> dict[str, tuple[str, float]]:
        """Of these names, the oldest task that waits for a place on a worker, with the time at which it was created.

        Names without one are left out, and those of which it is not found at once.
        """
        found, _ = self._reader.oldest_ready(self._ages, names)
        return {name: (id_text(oldest.id), oldest.created) for name, oldest in found.items() if name in names}

    def size(self) -> int:
        """Bytes of the store's file."""
        try:
            return store_file(Path(self._runtime.home)).stat().st_size
        except FileNotFoundError:
            return 0


def _value(packed: bytes | None) -> Any:
    return None if packed is None else values.unpack_foreign(packed)
