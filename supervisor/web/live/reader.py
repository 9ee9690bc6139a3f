"""LiveReader: the place of one reader in a feed. It takes entries when it has room for them; none are queued for it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ....storage.item_reader import Place
from ...client.watch_source import SourcePage
from .batch import Batch

if TYPE_CHECKING:
    from .feed import Feed

#: Bytes of values in a batch. A larger value is a batch of its own.
BATCH_BYTES: Final = 64 * 1024


class Ending(StrEnum):
    """Why a reader gets no more."""

    END = "the task has ended"
    GONE = "the task or stream was removed"
    CLOSING = "the server stops"
    EXPIRED = "the token has expired or was removed"
    UNREADABLE = "the store cannot be read"


class LiveReader:
    """Guarantee: it takes every entry behind its place once, in order, however far behind it is."""

    def __init__(
        self, feed: Feed, place: Place, snapshot: Batch, ask: Callable[[LiveReader, Place], None]
    ) -> None:
        """`ask` has the next page read from the store, and gives it to `got`."""
        self.feed = feed
        self._place = place
        self._order = feed.source.order(place)
        self._next: Batch | None = snapshot
        self._ask = ask
        self._asked = False
        self._number: int | None = None
        self._is_over = feed.source.is_end(place)
        #: Called when there may be something to take, or an ending.
        self.on_news: Callable[[], None] = _nothing
        #: Called now and then if the reader may still read.
        self.on_beat: Callable[[], None] = _nothing
        #: When its token expires, in seconds since the epoch; None: never.
        self.expires: float | None = None
        #: Whether the reader may still read.
        self.may_read: Callable[[], bool] = _always
        self.ending: Ending | None = None

    @property
    def is_at_end(self) -> bool:
        """Whether there is nothing behind its first place."""
        return self._is_over

    def take(self) -> Batch | None:
        """The next entries; None if there are none now, or none any more: see `ending`."""
        if self._next is not None:
            batch, self._next = self._next, None
            return batch
        if self._is_over:
            self.ending = self.ending or Ending.END
        if self.ending is not None:
            return None
        return self._take_shared()

    def _take_shared(self) -> Batch | None:
        feed = self.feed
        if self._number is None or not feed.keeps(self._number):
            self._number = None if self._asked else feed.number_behind(self._order)
            if self._number is None:
                if not self._asked:
                    self._asked = True
                    self._ask(self, self._place)
                return None
        batch = feed.batch(self._number, BATCH_BYTES)
        if batch is None:
            if feed.is_over:
                self._is_over, self.ending = True, Ending.END
            return None
        self._number += len(batch.entries)
        last = batch.entries[-1]
        if batch.entries[0].order <= self._order:
            # It was ahead of the feed when it joined.
            batch = Batch([entry for entry in batch.entries if entry.order > self._order])
        if last.order > self._order:
            self._order, self._place = last.order, last.place
        return batch

    def got(self, batch: Batch, page: SourcePage) -> None:
        """The page that it has asked for."""
        self._asked = False
        self._place, self._order = page.place, self.feed.source.order(page.place)
        self._next = batch if batch.entries else None
        self._is_over = page.is_over
        if page.at_tip:
            self.feed.begin(page.place, is_over=page.is_over)
        self.on_news()

    def end(self, why: Ending) -> None:
        """There is nothing more for this reader."""
        if self.ending is None:
            self.ending = why
            self.on_news()


def _nothing() -> None:
    pass


def _always() -> bool:
    return True
