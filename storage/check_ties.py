"""TieCheck: the part of the check of a store that looks at links and monitors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .shared_view import Snapshot
from .tables.link_rows import link_in, link_key
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
