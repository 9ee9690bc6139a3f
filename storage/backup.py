"""Copies of a store: an online backup, and an offline compaction that frees space."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path

from ..actors.errors import HomeError
from .environment import Environment, write_copy
from .file.disk import make_folder, sync_folder
from .file.header import inspect
from .file.lmdb_errors import translated
from .file.names import store_file
from .shared_view import release, view_of


def backup(home: Path, dest: Path) -> int:
    """Write a consistent, compacted copy of the current store to the new folder `dest`; returns its bytes.

    Any process may call this while a supervisor works. `dest` can be used as a home. It appears only when the
    copy is whole and on disk. Raises HomeError if `dest` exists or there is no store; StoreFull; StoreError.
    """
    home, dest = Path(home), Path(os.path.abspath(dest))
    if os.path.lexists(dest):
        raise HomeError(
            f"{dest} exists; a backup never overwrites a folder, so name a new one", home=str(home)
        )
    draft = dest.with_name(f".{dest.name}.{os.urandom(4).hex()}.draft")
    view = view_of(home)
    try:
        with view.read() as snapshot:
            if snapshot.env is None:
                raise HomeError(f"{home} holds no store, so there is nothing to back up", home=str(home))
            with translated("write the backup", dest):
                make_folder(draft.parent)
                draft.mkdir(mode=0o700)
                size = write_copy(snapshot.env, store_file(draft))
                sync_folder(draft)
                draft.rename(dest)
                sync_folder(dest.parent)
    finally:
        release(view)
        shutil.rmtree(draft, ignore_errors=True)
    return size


def compact_offline(home: Path) -> tuple[int, int]:
    """Give the space of deleted rows back to the file system; returns the file's bytes before and after.

    The caller holds the home's lock, so that no supervisor runs. Raises HomeError if there is no store, the
    errors of opening a store, and StoreFull if there is no room for the copy. The store is unchanged then.
    """
    home = Path(home)
    path = store_file(home)
    if inspect(path) is None:
        raise HomeError(f"{home} holds no store, so there is nothing to compact", home=str(home))
    before = path.stat().st_size
    with closing(Environment(home)) as environment:
        environment.compact()
    return before, path.stat().st_size
