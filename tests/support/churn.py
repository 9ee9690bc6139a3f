"""A writer that constantly changes, grows and compacts a store, so that an inconsistent read shows."""

from __future__ import annotations

from understudy.storage.shared_view import SharedView
from understudy.storage.tables.schema import Table

#: Writes the same number to 40 rows of two tables with each batch; sometimes grows the map and compacts.
WRITER = """
import os, sys
from pathlib import Path
from desk import Desk
from understudy.storage.tables.schema import Table
from understudy.storage.store import Store

desk = Desk(Store, Path(sys.argv[1]), map_size=1 << 20, durability="os")
number = 0
while os.getppid() == int(sys.argv[2]):
    number += 1
    for row in range(40):
        desk.store.put(Table.TASKS, b"%016d" % row, b"%d" % number)
        desk.store.put(Table.ARGS, b"%016d" % row, b"%d" % number)
    if number < 300:
        desk.store.put(Table.RESULTS, b"%016d" % number, os.urandom(30_000))
    else:
        desk.store.delete(Table.RESULTS, b"%016d" % (number - 300))
    desk.flush()
    if number % 20 == 0:
        assert desk.compact() is None
        print(number)
"""


def consistent(view: SharedView) -> int:
    """The number that all rows have."""
    with view.read() as snapshot:
        values = {value for table in (Table.TASKS, Table.ARGS) for _, value in snapshot.rows(table)}
        if not values:
            return 0
        assert len(values) == 1, values
        assert snapshot.count(Table.TASKS) == snapshot.count(Table.ARGS) == 40
        assert snapshot.get(Table.TASKS, b"%016d" % 7) in values
        for _, value in snapshot.rows(Table.RESULTS, reverse=True):
            assert len(value) == 30_000
            break
        return int(values.pop())
