"""A new store: empty tables, except for the schema version and the store's random id in `meta`."""

from __future__ import annotations

import os
from pathlib import Path

import lmdb

from ..tables.schema import HOME_ROW, ID_BYTES, SCHEMA_ROW, SCHEMA_VERSION, Table
from .disk import sync_folder
from .names import draft, store_file


def make_store(home: Path) -> None:
    """Make a new store in a home that has none. It appears under its name whole or not at all.

    Raises OSError and lmdb.Error.
    """
    with draft(home, "new") as path:
        env = lmdb.open(
            os.fspath(path), map_size=1 << 20, subdir=False, max_dbs=len(Table), lock=False, lib_version=0
        )
        try:
            with env.begin(write=True) as transaction:
                tables = {table: env.open_db(table.encode(), txn=transaction) for table in Table}
                transaction.put(SCHEMA_ROW, b"%d" % SCHEMA_VERSION, db=tables[Table.META])
                transaction.put(HOME_ROW, os.urandom(ID_BYTES), db=tables[Table.META])
        finally:
            env.close()
        path.replace(store_file(home))
    sync_folder(home)
