"""StoredEnds: the ends of tasks that a client finds in the store, without asking the supervisor."""

from __future__ import annotations

import threading
from typing import Final

from ...actors.errors import StoreError
from ...storage.reader import End, Reader

#: Tasks that one read looks at, at most.
READ_AHEAD: Final = 512
#: Bytes of values and errors that are read ahead and kept, for each thread.
READ_AHEAD_BYTES: Final = 1024 * 1024


class StoredEnds:
    """Finds ends in the store, and reads ahead for callers that ask in the order in which tasks were started.

    Each thread reads ahead for itself. A read looks at twice as many tasks as the one before if at least half of the
    ends that were read ahead were asked for; otherwise it looks at one. A final state never changes, so what was read
    ahead is never out of date, unless the tasks were removed: `forget`.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._ahead = _ReadAhead()

    @property
    def is_open(self) -> bool:
        """Whether the store's files are open; the first read opens them, which may take long."""
        return self._reader.is_open

    def find(self, key: bytes) -> End | None:
        """The end of a task; None if it is not in the store. Raises the errors of `Reader`."""
        ahead = self._ahead
        end = ahead.ends.pop(key, None)
        if end is not None:
            return end
        try:
            ends = self._reader.ends(key, ahead.rows, READ_AHEAD_BYTES)
        except StoreError:
            # A damaged page may be that of another task.
            ends = self._reader.ends(key)
        if not ends:
            return None
        asked_for = ahead.read - len(ahead.ends)
        ahead.rows = min(2 * ahead.rows, READ_AHEAD) if 2 * asked_for >= ahead.read else 1
        ahead.read = len(ends) - 1
        ahead.ends = {end[0]: end for end in ends}
        return ahead.ends.pop(key)

    def forget(self) -> None:
        """Forget what any thread has read ahead, because tasks may have been removed from the store."""
        self._ahead = _ReadAhead()


class _ReadAhead(threading.local):
    """What one thread has read ahead."""

    def __init__(self) -> None:
        #: Ends that were not asked for yet, and their number when they were read.
        self.ends: dict[bytes, End] = {}
        self.read = 0
        #: Tasks that the next read looks at.
        self.rows = 1
