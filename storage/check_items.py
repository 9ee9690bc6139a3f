"""The check of what tasks have published: each row parses, and belongs to a task or to a stream that has tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .shared_view import Snapshot
from .tables.index_rows import Facet, facet_of_id
from .tables.item_rows import KEY_BYTES, Head, head_key, place_of, stream_of, unpack_row
from .tables.schema import Table, after_prefix


class ItemCheck:
    """Give it the rows in the order of their keys."""

    def __init__(self, snapshot: Snapshot, exists: Callable[[bytes], bool]) -> None:
        self._snapshot = snapshot
        self._exists = exists
        #: The stream of the last row, its head, and whether it has a task.
        self._stream = b""
        self._head = Head()
        self._has_tasks = False

    def problems(self, key: bytes, row: bytes) -> Iterator[str]:
        """One line for each problem of a row."""
        if len(key) != KEY_BYTES:
            yield f"row {key.hex()} of items is malformed"
            return
        stream = stream_of(key)
        if stream != self._stream:
            self._begin(stream)
        if key == head_key(stream):
            try:
                self._head = Head.unpack(row)
            except ValueError as error:
                yield f"item {key.hex()}: {error}"
            if not self._has_tasks:
                yield f"item {key.hex()} is the head of a stream without tasks"
            return
        try:
            _, task, *_ = unpack_row(key, row)
        except ValueError as error:
            yield f"item {key.hex()}: {error}"
            return
        item, mark = place_of(key)
        if mark == 0 and item <= self._head.dropped:
            yield f"item {key.hex()} was dropped and is there"
        if not (self._has_tasks or self._exists(task)):
            yield f"item {key.hex()} has neither a task nor a stream with tasks"

    def _begin(self, stream: bytes) -> None:
        self._stream, self._head = stream, Head()
        facet = facet_of_id(Facet.STREAM, stream)
        more = next(self._snapshot.rows(Table.INDEX, facet, after_prefix(facet)), None)
        self._has_tasks = more is not None or self._exists(stream)
