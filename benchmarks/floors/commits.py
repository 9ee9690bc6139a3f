"""Group commit for LMDB with fsync: writes that arrive during a commit go into the next one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import lmdb

Rows = dict[bytes, bytes | None]

#: Address space; the file takes only the space in use.
MAP_SIZE = 8 << 30


def opened(folder: Path) -> lmdb.Environment:
    """An environment in which every commit is on disk when it returns."""
    folder.mkdir(parents=True, exist_ok=True)
    return lmdb.open(os.fspath(folder), map_size=MAP_SIZE)


def commit(environment: lmdb.Environment, rows: Rows) -> None:
    """Write all these rows in one transaction; None deletes a row."""
    with environment.begin(write=True) as transaction:
        for key, value in rows.items():
            if value is None:
                transaction.delete(key)
            else:
                transaction.put(key, value)


class Commits:
    """One thread that writes. After each commit it calls back, in that thread."""

    def __init__(self, environment: lmdb.Environment, committed: Callable[[], None]) -> None:
        self.rows: Rows = {}
        """Dirty rows; the loop adds to them."""
        self.busy = False
        self._environment = environment
        self._committed = committed
        self._work: Rows | None = {}
        self._wake = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def kick(self) -> bool:
        """Let the dirty rows be written, unless there are none or a commit is under way; returns whether it began."""
        if self.busy or not self.rows:
            return False
        self.busy = True
        self._work, self.rows = self.rows, {}
        self._wake.release()
        return True

    def close(self) -> None:
        """Wait for the last commit."""
        self._work = None
        self._wake.release()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            if self._work is None:
                return
            commit(self._environment, self._work)
            self._committed()
