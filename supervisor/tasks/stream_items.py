"""StreamItems: what the tasks of each stream publish, and the marks for their lines of log, attempts and ends.

All of it goes into the open batch, in the order in which it is told. At the limit of a stream its oldest items are
removed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ...actors.state import Event
from ...storage.tables.item_rows import (
    END,
    KEY_BYTES,
    LOG,
    TRY,
    Head,
    head_key,
    is_item,
    is_over,
    item_key,
    items_of,
    lines_behind,
    pack_mark,
    place_of,
    row_head,
)
from ...storage.tables.schema import Table
from ..rules.verdict import ErrorRow
from ..settings import Settings
from .commit_loop import CommitLoop
from .live_task import LiveTask

log = logging.getLogger("understudy")

#: Marks that a stream keeps, how many of the oldest go at once beyond that, and rows that are looked at for them.
MOST_MARKS: Final = 100_000
MARKS_AT_ONCE: Final = 1_000
ROWS_AT_ONCE: Final = 20_000
#: Streams of which the numbers stay in memory.
STREAMS: Final = 4_096
#: What became of an attempt after which another one follows.
_HOW: Final = {Event.RETRY: "retry", Event.INTERRUPT: "interrupted"}


class _Stream:
    """The numbers of one stream."""

    __slots__ = ("batch", "bytes", "dropped", "dropped_lines", "item", "lines", "mark", "marks", "stale")

    def __init__(self) -> None:
        #: The last numbers that were given out.
        self.item = 0
        self.mark = 0
        #: Items up to this number were dropped.
        self.dropped = 0
        #: Bytes of the rows of the items that are kept.
        self.bytes = 0
        self.marks = 0
        self.lines = 0
        self.dropped_lines = 0
        #: Number of the last batch that has rows of it.
        self.batch = 0
        #: Whether rows were pruned since it was read.
        self.stale = False

    def head(self) -> bytes:
        """The row of its head."""
        return Head(self.dropped, self.item, self.mark, self.lines, self.dropped_lines).pack()


class StreamItems:
    """The items of all streams."""

    def __init__(self, commits: CommitLoop, settings: Settings) -> None:
        self._commits = commits
        self._store = commits.store
        self._most_items = settings.stream_items
        self._most_bytes = settings.stream_bytes
        #: Streams that were used lately, the last one last.
        self._streams: dict[bytes, _Stream] = {}
        #: The last one of them: many tasks of one stream may end in turn.
        self._last: tuple[bytes, _Stream] | None = None

    # --- what happens ---

    def publish(self, task: LiveTask, stream: bytes, bodies: Sequence[bytes]) -> None:
        """Items of the attempt that runs; see `check_items`."""
        record = task.record
        self._add(task, record.stream, bodies)
        # A method of an actor publishes into the stream of its message, and a watch of the actor shows it, too.
        if stream != record.stream and not is_over(self._store, stream):
            self._add(task, stream, bodies)

    def _add(self, task: LiveTask, stream: bytes, bodies: Sequence[bytes]) -> None:
        if not bodies:
            return
        record = task.record
        task.told = True
        state = self._of(stream)
        head = row_head(task.id, record.attempt, record.interruptions)
        rows: dict[bytes, bytes | None] = {}
        size = 0
        for number, body in enumerate(bodies, state.item + 1):
            row = head + body
            rows[item_key(stream, number)] = row
            size += len(row)
        state.item += len(rows)
        state.mark = 0
        state.bytes += size
        self._store.batch.merge(Table.ITEMS, rows, size + KEY_BYTES * len(rows))
        state.batch = self._store.batch.number
        if state.item - state.dropped > self._most_items or state.bytes > self._most_bytes:
            self._drop_oldest(stream, state)

    def printed(self, task: LiveTask, chunk: int, lines: Sequence[Any]) -> None:
        """A chunk of its log was written."""
        stream = task.record.stream
        state = self._of(stream)
        self._mark(task, stream, state, LOG, lines[0][0], chunk, len(lines), state.lines)
        state.lines += len(lines)

    def over(self, task: LiveTask, event: Event | None, error: ErrorRow | None) -> None:
        """An attempt is over and another one follows, or (None) the task has ended."""
        if task.rests and event is not None:
            return  # a turn of an actor; its letters are tried again
        record = task.record
        if event is not None:
            kind, what = TRY, _HOW[event]
        elif task.told:
            kind, what = END, record.state
        else:
            return  # a watch finds its end in its record
        kind_of_error, text = (None, None) if error is None else error[:2]
        at = record.ended or self._commits.clock.time()
        self._mark(task, record.stream, self._of(record.stream), kind, at, what, kind_of_error, text)

    def pruned(self) -> None:
        """Rows were deleted by others."""
        for state in self._streams.values():
            state.stale = True

    # --- rows ---

    def _mark(self, task: LiveTask, stream: bytes, state: _Stream, kind: int, at: float, *rest: Any) -> None:
        record = task.record
        task.told = True
        state.mark += 1
        state.marks += 1
        row = pack_mark(kind, task.id, record.attempt, record.interruptions, at, *rest)
        batch = self._store.batch
        batch.put(Table.ITEMS, item_key(stream, state.item, state.mark), row)
        state.batch = batch.number
        if state.marks > MOST_MARKS + MARKS_AT_ONCE:
            self._drop_marks(stream, state)

    def _drop_oldest(self, stream: bytes, state: _Stream) -> None:
        # The newest item stays, however large it is.
        while state.dropped < state.item - 1 and (
            state.item - state.dropped > self._most_items or state.bytes > self._most_bytes
        ):
            state.dropped += 1
            key = item_key(stream, state.dropped)
            row = self._commits.get(Table.ITEMS, key)
            if row is not None:
                self._commits.delete(Table.ITEMS, key)
                state.bytes -= len(row)
        self._commits.put(Table.ITEMS, head_key(stream), state.head())

    def _drop_marks(self, stream: bytes, state: _Stream) -> None:
        dropped = 0
        for key, row in self._oldest(stream):
            if not is_item(key) and self._commits.get(Table.ITEMS, key) is not None:
                self._commits.delete(Table.ITEMS, key)
                state.dropped_lines = max(state.dropped_lines, lines_behind(row))
                dropped += 1
                if dropped == MARKS_AT_ONCE:
                    break
        # Should all of these rows be items, there are fewer marks than items, whose number has a limit of its own.
        state.marks -= max(dropped, 1)
        self._commits.put(Table.ITEMS, head_key(stream), state.head())

    def _oldest(self, stream: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The first rows on disk, in parts: nearly always the first part is enough."""
        start, stop = items_of(stream)
        for _ in range(0, ROWS_AT_ONCE, MARKS_AT_ONCE):
            rows = self._commits.scan(Table.ITEMS, start, stop, MARKS_AT_ONCE)
            yield from rows
            if len(rows) < MARKS_AT_ONCE:
                return
            start = rows[-1][0] + b"\0"

    # --- streams in memory ---

    def _of(self, stream: bytes) -> _Stream:
        last = self._last
        if last is not None and last[0] == stream and not last[1].stale:
            return last[1]
        state = self._streams.pop(stream, None)
        if state is None or (state.stale and not self._store.is_pending(state.batch)):
            state = self._read(stream)
            if len(self._streams) >= STREAMS:
                self._let_go()
        self._streams[stream] = state
        self._last = stream, state
        return state

    def _let_go(self) -> None:
        """Forget half of the streams, but none with rows that are not on disk: those cannot be read."""
        for stream in list(self._streams)[: STREAMS // 2]:
            if not self._store.is_pending(self._streams[stream].batch):
                del self._streams[stream]

    def _read(self, stream: bytes) -> _Stream:
        state = _Stream()
        rows = self._commits.scan(Table.ITEMS, *items_of(stream))
        packed = self._commits.get(Table.ITEMS, head_key(stream))
        try:
            head = Head.unpack(packed)
        except ValueError:
            log.exception("the head of stream %s is damaged", stream.hex())
            head = Head()
        if rows:
            head = head.after(*place_of(rows[-1][0]), max(lines_behind(row) for _, row in rows))
        state.dropped, state.item, state.mark, state.lines, state.dropped_lines = head
        for key, row in rows:
            if is_item(key):
                state.bytes += len(row)
            else:
                state.marks += 1
        return state
