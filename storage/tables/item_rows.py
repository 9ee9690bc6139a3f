"""The rows of `items`: what the tasks of a stream have published, and marks for what else happened between.

=================== =======================================================================================
key                 value
=================== =======================================================================================
stream, 0, 0        the head: [items dropped, last item, last mark behind it, lines so far, lines dropped]
stream, item, 0     a published item: [ITEM, task, attempt, interruptions, time, name, value]
stream, item, mark  what came behind that item, as number `mark`; item 0 stands for the beginning:
                    [LOG, task, attempt, interruptions, time, chunk of `logs`, lines, lines of the stream before],
                    [TRY or END, task, attempt, interruptions, time, what became of it, error type, message]
=================== =======================================================================================

Numbers have 8 bytes. Items of a stream are numbered from 1 without gaps; a gap is what was dropped or pruned. There is
a head once something was dropped or pruned. It keeps numbers from being used again. Marks cost one row for each chunk
of log, attempt after the first, and end, so that all watchers see the same order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final, NamedTuple, Protocol

import msgpack

from .index_rows import Changes, Facet, facet_of_id
from .schema import ID_BYTES, Table, after_prefix

KEY_BYTES: Final = ID_BYTES + 16

#: What a row is: its first field.
ITEM, LOG, TRY, END = range(4)

#: The fields of a row.
_ITEM_FIELDS: Final = 7
_MARK_FIELDS: Final = 8
#: Where the id of the task stands in a row: behind the array's head, the kind and the head of the id.
_TASK: Final = slice(4, 4 + ID_BYTES)

_TEXTS: Final = (str, type(None))
_PLACE: Final = struct.Struct(">QQ")
_PACK: Final = msgpack.Packer(autoreset=True).pack


class Rows(Changes, Protocol):
    """The part of a store that pruning uses."""

    def get(self, table: Table, key: bytes) -> bytes | None: ...

    def scan(
        self, table: Table, start: bytes = ..., stop: bytes | None = ...
    ) -> list[tuple[bytes, bytes]]: ...


class Head(NamedTuple):
    """What is known of a stream beside its rows."""

    #: Items up to this number were dropped at the limit of the stream.
    dropped: int = 0
    #: The last numbers that were given out, also to rows that are gone.
    item: int = 0
    mark: int = 0
    #: Lines of log that the stream has had, and how many of the first of them have lost their marks.
    lines: int = 0
    dropped_lines: int = 0

    def after(self, item: int, mark: int, lines: int) -> Head:
        """The head once these numbers were given out, too."""
        item, mark = max((self.item, self.mark), (item, mark))
        return self._replace(item=item, mark=mark, lines=max(self.lines, lines))

    def pack(self) -> bytes:
        packed: bytes = _PACK(self)
        return packed

    @classmethod
    def unpack(cls, row: bytes | None) -> Head:
        """The head of a stream, which may have none; ValueError if the bytes are none."""
        if row is None:
            return cls()
        try:
            head = cls(*msgpack.unpackb(row))
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise ValueError(f"not the head of a stream: {error}") from error
        if not all(type(number) is int and number >= 0 for number in head):
            raise ValueError("a number of the wrong type in the head of a stream")
        return head


def item_key(stream: bytes, item: int, mark: int = 0) -> bytes:
    """The key of an item, or of a mark behind it."""
    return stream + _PLACE.pack(item, mark)


def head_key(stream: bytes) -> bytes:
    """The key of the head."""
    return item_key(stream, 0)


def stream_of(key: bytes) -> bytes:
    """The stream in a key."""
    return key[:ID_BYTES]


def place_of(key: bytes) -> tuple[int, int]:
    """(item, mark) of a key."""
    item, mark = _PLACE.unpack_from(key, ID_BYTES)
    return item, mark


def items_of(stream: bytes) -> tuple[bytes, bytes]:
    """The range of all rows of a stream but its head."""
    return item_key(stream, 0, 1), after_prefix(stream)


def row_head(task: bytes, attempt: int, interruptions: int) -> bytes:
    """The beginning of the rows of the items that an attempt publishes. The body of an item follows."""
    head: bytes = bytes((0x90 | _ITEM_FIELDS, ITEM)) + _PACK(task) + _PACK(attempt) + _PACK(interruptions)
    return head


def pack_mark(kind: int, task: bytes, attempt: int, interruptions: int, time: float, *rest: Any) -> bytes:
    """The row of a mark."""
    row: bytes = _PACK((kind, task, attempt, interruptions, time, *rest))
    return row


def task_of(row: bytes) -> bytes:
    """The task of a row, without a look at the rest."""
    return row[_TASK]


def is_item(key: bytes) -> bool:
    """Whether this is the key of an item: not of a mark, and not of the head."""
    item, mark = place_of(key)
    return item > 0 and mark == 0


def unpack_row(key: bytes, row: bytes) -> list[Any]:
    """The fields of a row other than the head; ValueError if the bytes are none."""
    try:
        fields: list[Any] = msgpack.unpackb(row)
        kind, task, attempt, interruptions, time, *rest = fields
        if not (
            is_item(key) == (kind == ITEM)
            and type(task) is bytes
            and len(task) == ID_BYTES
            and type(attempt) is type(interruptions) is int
            and type(time) in (float, int)
            and _fits(kind, *rest)
        ):
            raise ValueError("a field of the wrong type")
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"not an item of a stream: {error}") from error
    return fields


def _fits(kind: object, one: object, two: object, three: object = None) -> bool:
    """Whether these are the last fields of a row of this kind."""
    if kind == ITEM:
        return type(one) is str and type(two) is bytes
    if kind == LOG:
        return type(one) is type(two) is type(three) is int
    return kind in (TRY, END) and type(one) is str and type(two) in _TEXTS and type(three) in _TEXTS


def lines_behind(row: bytes) -> int:
    """The lines of the stream up to the end of this row; 0 if it is no mark of lines."""
    if row[:2] != bytes((0x90 | _MARK_FIELDS, LOG)):
        return 0
    try:
        *_, lines, before = msgpack.unpackb(row)
        return int(lines + before)
    except (ValueError, TypeError, msgpack.UnpackException):
        return 0


def prune_items(store: Rows, tasks: Iterable[tuple[bytes, bytes]]) -> None:
    """Delete what these (task, stream) have published, after their records. They have ended, so all of it is on disk.

    With the last task of a stream all of its rows go.
    """
    for stream, group in groupby(sorted((stream, task) for task, stream in tasks), lambda pair: pair[0]):
        rows = store.scan(Table.ITEMS, *items_of(stream))
        head = store.get(Table.ITEMS, head_key(stream))
        if not rows and head is None:
            continue
        gone = None if is_over(store, stream) else {task for _, task in group}
        item, mark, lines = 0, 0, 0
        for key, row in rows:
            if (gone is None or task_of(row) in gone) and store.get(Table.ITEMS, key) is not None:
                store.delete(Table.ITEMS, key)
                item, mark = place_of(key)
                lines = max(lines, lines_behind(row))
        if gone is None:
            store.delete(Table.ITEMS, head_key(stream))
        elif item or mark:
            # So that these numbers are not used again.
            store.put(Table.ITEMS, head_key(stream), _head(head).after(item, mark, lines).pack())


def is_over(store: Rows, stream: bytes) -> bool:
    """Whether no task of a stream has a record any more."""
    facet = facet_of_id(Facet.STREAM, stream)
    return store.get(Table.TASKS, stream) is None and not store.look(
        Table.INDEX, facet, after_prefix(facet), limit=1
    )


def _head(row: bytes | None) -> Head:
    try:
        return Head.unpack(row)
    except ValueError:
        return Head()  # damaged; `check` finds it
