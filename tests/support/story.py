"""A story that goes on: the source of a feed without a store, and all that a reader takes of it."""

from __future__ import annotations

from understudy.actors.events.entry import WatchEntry
from understudy.actors.values import pack
from understudy.storage.item_reader import Place
from understudy.supervisor.client.watch_source import Order, SourcePage
from understudy.supervisor.web.live.batch import Batch, SharedEntry
from understudy.supervisor.web.live.reader import LiveReader


class Story:
    """Numbered items. A page has at most `page_size` of them."""

    def __init__(self, page_size: int = 3, size: int = 1) -> None:
        self.told = 0
        self.is_over = False
        self.page_size = page_size
        self.packed = pack("x" * size)
        self.pages = 0

    def order(self, place: Place) -> Order:
        return place.item, 0, 0, 0, 0, place.ended != 0

    def is_end(self, place: Place) -> bool:
        return self.is_over and place.item == self.told

    def page(self, after: Place, most_bytes: int = 0) -> SourcePage:
        self.pages += 1
        last = min(self.told, after.item + self.page_size)
        places = [Place(number) for number in range(after.item + 1, last + 1)]
        place = places[-1] if places else after
        return SourcePage(list(map(self.entry, places)), places, place, last == self.told, self.is_end(place))

    def entry(self, place: Place) -> WatchEntry:
        return WatchEntry("item", str(place.item), 0.0, "s", number=place.item, name="n", packed=self.packed)

    def snapshot(self, place: Place) -> Batch:
        entry = WatchEntry("snapshot", str(place.item), 0.0, "s")
        return Batch([SharedEntry(entry, place, self.order(place))])


def taken(reader: LiveReader) -> list[int]:
    """The numbers of all that it takes now."""
    numbers: list[int] = []
    while (batch := reader.take()) is not None:
        numbers += [each.entry.number for each in batch if each.entry.kind == "item"]
    return numbers
