"""Upgrades of a store's schema, in place: numbered steps, each from one version to the next.

The process that writes the store runs them when it opens it. Each step is one transaction that also sets the version:
after a crash the store has the old version whole or the new one, and the next opening goes on from there. Until then
readers of this release read the old version, without the tables that it lacks.

A step reads nothing of the present schema that a later version may change: it runs in all later releases.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import lmdb

from .tables.schema import SCHEMA_ROW, Table

Step = Callable[[lmdb.Environment, "lmdb.Transaction[bytes]"], None]


def _make_tables(env: lmdb.Environment, transaction: lmdb.Transaction[bytes]) -> None:
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


STEPS: Final[dict[int, Step]] = {2: _make_tables}
"""By the version from which a step leads to the next one."""


def upgrade(env: lmdb.Environment, transaction: lmdb.Transaction[bytes]) -> None:
    """Run the step from the store's version to the next one, if there is one. The caller commits the transaction."""
    meta = env.open_db(Table.META.encode(), txn=transaction, create=False)
    found = int(transaction.get(SCHEMA_ROW, b"0", meta))
    if found in STEPS:
        STEPS[found](env, transaction)
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
