"""Functions on the rows of one LMDB transaction: iterate over a range, take some rows, apply a batch's changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import lmdb

_CHUNK_ROWS: Final = 500  # rows put in one call, which holds the GIL for about 0.1 ms


def walk(
    transaction: lmdb.Transaction[bytes],
    table: lmdb._Database,
    start: bytes = b"",
    stop: bytes | None = None,
    reverse: bool = False,
) -> Iterator[tuple[bytes, bytes]]:
    """Rows with start <= key < stop, by key; from the last one down if `reverse`."""
    with transaction.cursor(table) as cursor:
        if reverse:
            # set_range finds the first key not below `stop`; the last wanted row is the one before it.
            if cursor.prev() if stop is not None and cursor.set_range(stop) else cursor.last():
                for row in cursor.iterprev():
                    if row[0] < start:
                        return
                    yield row
        elif cursor.set_range(start) if start else cursor.first():
            for row in cursor.iternext():
                if stop is not None and row[0] >= stop:
                    return
                yield row


def taken(rows: Iterable[tuple[bytes, bytes]], most_bytes: int | None) -> list[tuple[bytes, bytes]]:
    """The rows up to the one by which their values have so many bytes; all of them for None."""
    if most_bytes is None:
        return list(rows)
    found: list[tuple[bytes, bytes]] = []
    size = 0
    for row in rows:
        found.append(row)
        size += len(row[1])
        if size >= most_bytes:
            break
    return found


def apply(
    transaction: lmdb.Transaction[bytes], table: lmdb._Database, rows: dict[bytes, bytes | None]
) -> None:
    """Put these rows; delete those whose value is None, if they exist."""
    deletes = [key for key, value in rows.items() if value is None]
    puts: list[Any] = sorted((row for row in rows.items() if row[1] is not None) if deletes else rows.items())
    with transaction.cursor(table) as cursor:
        for key in sorted(deletes):
            # A delete leaves the cursor at the following row, which often is the next to be deleted.
            if cursor.key() == key or cursor.set_key(key):
                cursor.delete()
        for start in range(0, len(puts), _CHUNK_ROWS):
            chunk = puts[start : start + _CHUNK_ROWS]
            # Rows that all sort after the last row are appended without a search, and fill pages completely.
            behind = not cursor.last() or chunk[0][0] > cursor.key()
            cursor.putmulti(chunk, append=behind)
