"""Feed: the newest entries of one task or stream, for all of its readers. No clock, no thread, no disk.

It is begun when the first reader has reached the end of what there is. From then on every entry is read from the store
once. Readers that are further behind than what is kept here read the store by themselves.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from ....storage.item_reader import Place
from ...client.watch_source import Order, SourcePage, WatchSource
from .batch import Batch, SharedEntry

if TYPE_CHECKING:
    from .reader import LiveReader

#: Entries that a feed keeps for readers that are a little behind, and bytes of their values.
KEPT: Final = 256
KEPT_BYTES: Final = 64 * 1024
#: Batches whose joined bytes it remembers.
MOST_BATCHES: Final = 8


class Feed:
    """Guarantees: what is kept has no gap; nothing that is kept was dropped from its middle."""

    def __init__(self, source: WatchSource) -> None:
        self.source = source
        self.readers: set[LiveReader] = set()
        #: Up to where the store was read for all; None: not begun.
        self.place: Place | None = None
        #: Whether nothing will follow.
        self.is_over = False
        #: What the store had of it at the last look; something else means that there is news.
        self.mark: object = None
        self._kept: list[SharedEntry] = []
        #: The number of the first one that is kept. They are numbered from 0.
        self._first = 0
        #: The place behind which everything is kept.
        self._floor: Order | None = None
        self._batches: dict[tuple[int, int], Batch] = {}

    def begin(self, place: Place, *, is_over: bool) -> None:
        """A reader has seen all up to this place, and there was no more."""
        if self.place is None:
            self.place = place
            self.is_over = is_over
            self._floor = self.source.order(place)

    def extend(self, page: SourcePage) -> None:
        """Add what was read. It is all kept until `trim`."""
        self._kept += shared(self.source, page)
        self.place, self.is_over = page.place, page.is_over

    def trim(self) -> None:
        """Drop the oldest entries of those that are too many."""
        keep, size = 0, 0
        for entry in reversed(self._kept):
            size += entry.size
            if keep == KEPT or (keep and size > KEPT_BYTES):
                break
            keep += 1
        if drop := len(self._kept) - keep:
            self._floor = self._kept[drop - 1].order
            del self._kept[:drop]
            self._first += drop
        self._batches.clear()

    def number_behind(self, order: Order) -> int | None:
        """The number of the first entry behind a place; None if what follows that place is no longer kept."""
        if self._floor is None or order < self._floor:
            return None
        return self._first + bisect_right(self._kept, order, key=lambda entry: entry.order)

    def batch(self, number: int, most_bytes: int) -> Batch | None:
        """The entries from this number on, at least one and about so many bytes; None if there is none.

        They must be kept: see `keeps`.
        """
        start = stop = number - self._first
        size = 0
        while stop < len(self._kept) and (stop == start or size + self._kept[stop].size <= most_bytes):
            size += self._kept[stop].size
            stop += 1
        if start == stop:
            return None
        # Nearly all readers ask for the same, and get the same bytes.
        key = start + self._first, stop + self._first
        batch = self._batches.get(key)
        if batch is None:
            if len(self._batches) >= MOST_BATCHES:
                self._batches.clear()
            batch = self._batches[key] = Batch(self._kept[start:stop])
        return batch

    def keeps(self, number: int) -> bool:
        """Whether the entry of this number is kept, or will be."""
        return number >= self._first


def shared(source: WatchSource, page: SourcePage) -> list[SharedEntry]:
    """The entries of a page."""
    return [
        SharedEntry(entry, place, source.order(place))
        for entry, place in zip(page.entries, page.places, strict=True)
    ]
