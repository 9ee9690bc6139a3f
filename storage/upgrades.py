"""Upgrades of a store's schema, in place: numbered steps, each from one version to the next.

The process that writes the store runs them when it opens it. Each step is a transaction that also sets the version:
after a crash the store has the old version whole or the new one, and the next opening goes on from there. Until then
readers of this release read the old version, without the tables that it lacks. A step that would be too long for one
transaction takes several and sets the version with the last one. What the others write, nobody reads before.

A step reads nothing of the present schema that a later version may change: it runs in all later releases.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import lmdb

from .reindex import index_part
from .tables.schema import SCHEMA_ROW, Table

Step = Callable[[lmdb.Environment, "lmdb.Transaction[bytes]"], bool]
"""Returns whether it is done; otherwise it is called again after the commit of this transaction."""


def _make_tables(env: lmdb.Environment, transaction: lmdb.Transaction[bytes]) -> bool:
    """From 2 to 3: the table of class actors. Early releases made stores of version 2 that lack others, too."""
    for name in (
        "tasks",
        "args",
        "live",
        "mail",
        "checkpoints",
        "results",
        "logs",
        "keys",
        "expiry",
        "schedules",
    ):
        env.open_db(name.encode(), txn=transaction)
    env.open_db(b"actors", txn=transaction)
    return True


def _make_index(env: lmdb.Environment, transaction: lmdb.Transaction[bytes]) -> bool:
    """From 3 to 4: the index, the counters and the failures of all tasks, and tables that begin empty.

    The rows come from the tasks' records, and have the form of this release. A later version that changes their form
    has to make them anew from the records.
    """
    for name in ("index", "counts", "events", "items", "attempts", "failures", "stats"):
        env.open_db(name.encode(), txn=transaction)
    return index_part(env, transaction)


def _allow_lanes(_env: lmdb.Environment, _transaction: lmdb.Transaction[bytes]) -> bool:
    """From 4 to 5: nothing changes but the number. Programs of version 4 do not know the lanes from 8 on, so they would
    leave tasks there where they are; from now on they refuse the store instead."""
    return True


STEPS: Final[dict[int, Step]] = {2: _make_tables, 3: _make_index, 4: _allow_lanes}
"""By the version from which a step leads to the next one."""


def upgrade(env: lmdb.Environment, transaction: lmdb.Transaction[bytes]) -> None:
    """Run the step from the store's version to the next one, or a part of it. The caller commits the transaction."""
    meta = env.open_db(Table.META.encode(), txn=transaction, create=False)
    found = int(transaction.get(SCHEMA_ROW, b"0", meta))
    if found in STEPS and STEPS[found](env, transaction):
        transaction.put(SCHEMA_ROW, b"%d" % (found + 1), db=meta)


def present_tables(env: lmdb.Environment) -> dict[Table, lmdb._Database]:
    """The tables that a store has. If its version is an older one, it may lack some."""
    found = {}
    for table in Table:
        try:
            found[table] = env.open_db(table.encode(), create=False)
        except lmdb.NotFoundError:
            continue
    return found
