"""TieCheck: the part of the check of a store that looks at links, monitors and maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .shared_view import Snapshot
from .tables.link_rows import link_in, link_key
from .tables.map_rows import OVER, UNDER_WAY, kept_in, map_in, map_key
from .tables.monitor_rows import monitor_in
from .tables.record import Record
from .tables.schema import Table


class TieCheck:
    """The rules of their rows."""

    def __init__(self, snapshot: Snapshot, record: Callable[[bytes], Record | None]) -> None:
        self._snapshot = snapshot
        self._record = record

    def child(self, record: Record) -> Iterator[str]:
        """What is wrong with a linked task that has not ended."""
        parent = record.origin
        if parent is None or self._snapshot.get(Table.ACTORS, link_key(parent, record.id)) is None:
            yield f"task {record.id.hex()} is linked to the one that has started it, and has no link"

    def link(self, key: bytes) -> Iterator[str]:
        """What is wrong with the row of a link. ValueError if it is malformed."""
        parent, child = link_in(key)
        record = self._record(child)
        if record is None or record.terminal:
            yield f"the link of {parent.hex()} leads to task {child.hex()}, which has ended"
        elif not record.linked or record.origin != parent:
            yield f"the link of {parent.hex()} leads to task {child.hex()}, which is not linked to it"
        above = self._record(parent)
        if above is not None and not above.terminal and not above.links:
            yield f"task {parent.hex()} has the linked child {child.hex()} and does not know it"

    def monitor(self, key: bytes) -> Iterator[str]:
        """What is wrong with the row of a monitor. ValueError if it is malformed."""
        for id in monitor_in(key):
            record = self._record(id)
            if record is None or record.terminal:
                yield f"monitor {key.hex()} is one of task {id.hex()}, which has ended"

    def map(self, key: bytes, row: bytes) -> Iterator[str]:
        """What is wrong with the row of a map. ValueError if it is malformed."""
        parent, _ = map_in(key)
        if row not in (UNDER_WAY, OVER):
            raise ValueError("neither under way nor over")
        above = self._record(parent)
        if above is not None and not above.terminal and not above.maps:
            yield f"task {parent.hex()} has the map {key.hex()} and does not know it"

    def kept(self, key: bytes, row: bytes) -> Iterator[str]:
        """What is wrong with the row of children that are kept for a map. ValueError if it is malformed."""
        parent, base, children = kept_in(key, row)
        if self._snapshot.get(Table.ACTORS, map_key(parent, base)) is None:
            yield f"row {key.hex()} keeps children of a map that is not there: they are never removed"
        for child in children:
            record = self._record(child)
            if record is None or not record.terminal:
                yield f"row {key.hex()} keeps task {child.hex()}, which has not ended or is not there"
