"""TieReader: the part of `Reader` that reads links and monitors."""

from __future__ import annotations

from itertools import islice
from typing import Final, NamedTuple

from .snapshot_reader import SnapshotReader
from .tables.link_rows import link_in, links_of
from .tables.monitor_rows import all_monitors, monitor_in, monitors_of
from .tables.schema import Table

#: Tasks of each kind that are listed, and monitors that are looked at for those of one task.
LISTED: Final = 1_000
LOOKED_AT: Final = 100_000


class Ties(NamedTuple):
    """The links and monitors of a task, by ids; at most LISTED of each kind."""

    #: Those that are cancelled when it has ended.
    children: list[bytes]
    #: Those of whose ends it is told.
    monitors: list[bytes]
    #: Those that are told of its end.
    watchers: list[bytes]


class TieReader(SnapshotReader):
    """Reads links and monitors."""

    def ties(self, id: bytes) -> Ties:
        """The links and monitors of a task. One that has ended has none but the children that are still to cancel."""
        with self._read() as snapshot:
            children = snapshot.rows(Table.ACTORS, *links_of(id))
            monitors = snapshot.rows(Table.ACTORS, *monitors_of(id))
            looked_at = islice(snapshot.rows(Table.ACTORS, *all_monitors()), LOOKED_AT)
            watchers = (key for key, _ in looked_at if key.endswith(id))
            return Ties(
                [link_in(key)[1] for key, _ in islice(children, LISTED)],
                [monitor_in(key)[1] for key, _ in islice(monitors, LISTED)],
                [monitor_in(key)[0] for key in islice(watchers, LISTED)],
            )
