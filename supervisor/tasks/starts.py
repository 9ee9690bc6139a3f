"""`Starts`: notes when a supervisor has loaded the app, and with which code, so that charts can show deploys."""

from __future__ import annotations

import logging

from ...storage.tables.schema import Table
from ...storage.tables.start_rows import STARTS_ROW, Start, pack_starts, unpack_starts
from .commit_loop import CommitLoop

log = logging.getLogger("understudy")


class Starts:
    """Each supervisor notes its start once."""

    def __init__(self, commits: CommitLoop) -> None:
        self._commits = commits
        self._noted = False

    def note(self, code: str) -> None:
        """The app is loaded; `code` is the digest of its code. Another fork server that loads it is no start."""
        if self._noted:
            return
        self._noted = True
        try:
            row = self._commits.get(Table.META, STARTS_ROW)
            starts = [] if row is None else unpack_starts(row)
        except ValueError as error:
            log.warning("the starts so far are lost: %s", error)
            starts = []
        starts.append(Start(self._commits.clock.time(), code))
        self._commits.put(Table.META, STARTS_ROW, pack_starts(starts))
