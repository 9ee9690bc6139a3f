"""The index and the counters of the tasks that a store has, made in parts of bounded size, each one commit.

Between the parts the store says how far it has come, so that the next opening goes on from there. The rows are those
that `tables.moves` makes of new tasks.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

import lmdb

from .tables import counts
from .tables.failure_rows import FAILED
from .tables.moves import Moves
from .tables.record import Record, outline_of
from .tables.rows import apply, walk
from .tables.schema import UPGRADE_ROW, Table

PART: Final = 100_000
"""Tasks of one commit. Their rows take a few MB."""


class _Rows:
    """The tables of numbers in a transaction, as changes of them need it."""

    def __init__(self, env: lmdb.Environment, transaction: lmdb.Transaction[bytes]) -> None:
        self._transaction = transaction
        self._tables = {
            table: env.open_db(table.encode(), txn=transaction, create=False)
            for table in (Table.COUNTS, Table.FAILURES)
        }

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self._transaction.get(key, None, self._tables[table])

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self._transaction.put(key, value, db=self._tables[table])

    def delete(self, table: Table, key: bytes) -> None:
        self._transaction.delete(key, db=self._tables[table])


def index_part(env: lmdb.Environment, transaction: lmdb.Transaction[bytes]) -> bool:
    """Add the next tasks to the index and the counters. Whether these were the last ones."""
    tasks, index, meta = (
        env.open_db(table.encode(), txn=transaction, create=False)
        for table in (Table.TASKS, Table.INDEX, Table.META)
    )
    done = transaction.get(UPGRADE_ROW, b"", meta)
    moves = Moves()
    enter = moves.enter
    last = b""
    read = 0
    for last, row in islice(walk(transaction, tasks, done + b"\0" if done else b""), PART):
        read += 1
        try:
            name, code, error, stands_alone = outline_of(row)
            if stands_alone and code not in FAILED:
                enter(last, (name, code, error))
            else:
                record = Record.unpack(last, row)
                moves.take_in(record)
        except ValueError:
            continue  # damaged; `check` finds it
    apply(transaction, index, moves.rows())
    rows = _Rows(env, transaction)
    counts.change(rows, moves.counted())
    moves.failures.write(rows)
    if read == PART:
        transaction.put(UPGRADE_ROW, last, db=meta)
        return False
    transaction.delete(UPGRADE_ROW, db=meta)
    return True
