"""Hub: looks into the store for all who watch over HTTP, and tells the readers of a feed that there is news.

Between two commits it looks at the number of the newest one alone. After a commit one read in one thread finds the
feeds with news, and reads each of them once, however many readers it has. The supervisor is asked for nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

from ....actors.errors import StoreError, TaskNotFound
from ....actors.ids import id_text
from ....storage.item_reader import Place
from ....storage.reader import Reader
from ...client.watch_source import SourcePage, WatchSource
from .batch import Batch, SharedEntry
from .feed import Feed, shared
from .reader import BATCH_BYTES, Ending, LiveReader

log = logging.getLogger("understudy")

T = TypeVar("T")

#: Seconds between two looks at the number of the newest commit: at first, and at most. Each one makes it longer.
FIRST_LOOK: Final = 0.001
LAST_LOOK: Final = 0.01
#: Seconds after which the store is read although that number is the same: another file may have taken its place.
READ_EVERY: Final = 0.25
#: Seconds after which all feeds are read, whether they seem to have news or not.
READ_ALL_EVERY: Final = 5.0
#: Seconds until the store is read again after it could not be.
AGAIN: Final = 1.0
#: Threads that read the store.
THREADS: Final = 4
#: Seconds between two looks at clocks and tokens, and how many of them make a beat.
TICK: Final = 1.0
TICKS: Final = 15
#: Readers that are told before others get their turn.
TOLD_AT_ONCE: Final = 128


class TooManyReaders(Exception):
    """There are as many readers as there may be."""


class _News(NamedTuple):
    feed: Feed
    mark: object
    page: SourcePage | None
    ending: Ending | None = None


class Hub:
    """One for a web process. All of its methods are for the event loop."""

    def __init__(self, reader: Reader, closing: asyncio.Event, most: int) -> None:
        """It ends all readers when `closing` is set. `most`: how many readers there may be."""
        self._reader = reader
        self._closing = closing
        self._most = most
        self._count = 0
        self._feeds: dict[tuple[str, bytes], Feed] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="understudy-live")
        #: Reads under way. Readers that want the same share one.
        self._reads: dict[object, asyncio.Future[Any]] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._answers: set[asyncio.Task[None]] = set()
        self._number = -1

    @property
    def readers(self) -> int:
        """How many readers there are."""
        return self._count

    # --- readers ---

    async def open(
        self, *, task: bytes | None = None, stream: bytes | None = None, after: str | None = None
    ) -> LiveReader:
        """A reader of a task or stream, behind a cursor. It begins with a snapshot. `close` must follow.

        Raises TooManyReaders, TaskNotFound, EventNotFound, InvalidOption for a wrong cursor, and StoreError.
        """
        if self._count >= self._most:
            raise TooManyReaders
        self._count += 1
        try:
            return await self._open(task, stream, after)
        except BaseException:
            self._count -= 1
            raise

    async def _open(self, task: bytes | None, stream: bytes | None, after: str | None) -> LiveReader:
        key = ("stream", stream or b"") if task is None else ("task", task)
        feed = self._feeds.get(key)
        source: WatchSource
        if feed is None:
            source = await self._once(("source", key), lambda: _source(self._reader, task, stream))
        else:
            source = feed.source
        place = source.place_of(after)
        snapshot = await self._once(("snapshot", key, place), lambda: _snapshot(source, place))
        feed = self._feeds.setdefault(key, Feed(source))
        reader = LiveReader(feed, place, snapshot, self._ask)
        feed.readers.add(reader)
        if self._closing.is_set():
            reader.end(Ending.CLOSING)
        elif not self._loops:
            self._loops = [asyncio.create_task(self._kept_up(each)) for each in (self._follow, self._tick)]
        return reader

    def close(self, reader: LiveReader) -> None:
        """This reader reads no more. May be called twice."""
        feed = reader.feed
        if reader not in feed.readers:
            return
        self._count -= 1
        feed.readers.remove(reader)
        reader.on_news = reader.on_beat = _nothing
        if not feed.readers:
            self._feeds = {key: each for key, each in self._feeds.items() if each is not feed}
        if not self._feeds:
            for loop in self._loops:
                loop.cancel()
            self._loops = []

    def _ask(self, reader: LiveReader, place: Place) -> None:
        answer = asyncio.ensure_future(self._answer(reader, place))
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)

    async def _answer(self, reader: LiveReader, place: Place) -> None:
        source = reader.feed.source
        try:
            batch, page = await self._once(("page", reader.feed, place), lambda: _page(source, place))
        except TaskNotFound:
            reader.end(Ending.GONE)
        except StoreError as error:
            log.warning("a stream ends, because the store cannot be read: %s", error)
            reader.end(Ending.UNREADABLE)
        else:
            if page.at_tip:
                # What came meanwhile may have been looked for already.
                self._number = -1
            reader.got(batch, page)

    # --- the store ---

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def _once(self, key: object, call: Callable[[], T]) -> T:
        """What a call in a thread gives, which is made once for all who want it at the same time."""
        read = self._reads.get(key)
        if read is None:
            read = self._reads[key] = asyncio.ensure_future(self._in_thread(call))
            read.add_done_callback(lambda done: self._read(key, done))
        result: T = await asyncio.shield(read)
        return result

    def _read(self, key: object, done: asyncio.Future[Any]) -> None:
        del self._reads[key]
        if not done.cancelled():
            done.exception()  # those who wait get it

    async def _follow(self) -> None:
        delay = FIRST_LOOK
        looked = all_looked = 0.0
        while True:
            newest, now = self._reader.newest(), time.monotonic()
            if newest == self._number and now - looked < READ_EVERY:
                await asyncio.sleep(delay)
                delay = min(delay * 1.5, LAST_LOOK)
                continue
            all_of_them = now - all_looked >= READ_ALL_EVERY
            self._number, looked, delay = newest, now, FIRST_LOOK
            try:
                await self._look(all_of_them=all_of_them)
            except StoreError as error:
                log.warning("the store cannot be read, trying again: %s", error)
                await asyncio.sleep(AGAIN)
                continue
            if all_of_them:
                all_looked = now
            # Whatever there is to do, half of the time is for others.
            await asyncio.sleep(max(time.monotonic() - now, FIRST_LOOK))

    async def _look(self, *, all_of_them: bool) -> None:
        feeds = [feed for feed in self._feeds.values() if feed.place is not None and not feed.is_over]
        if not feeds:
            return
        for news in await self._in_thread(lambda: _news(self._reader, feeds, all_of_them)):
            feed = news.feed
            feed.mark = news.mark
            if news.ending is not None:
                for reader in list(feed.readers):
                    reader.end(news.ending)
            elif news.page is not None:
                if not news.page.at_tip:
                    feed.mark = None
                    self._number = -1
                feed.extend(news.page)
                if news.page.entries or feed.is_over:
                    await self._tell(feed)
                feed.trim()

    async def _tell(self, feed: Feed) -> None:
        for number, reader in enumerate(list(feed.readers), 1):
            reader.on_news()
            if number % TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)

    # --- time ---

    async def _tick(self) -> None:
        ticks = 0
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), TICK)
            ticks += 1
            for reader in [each for feed in self._feeds.values() for each in feed.readers]:
                if self._closing.is_set():
                    reader.end(Ending.CLOSING)
                elif reader.expires is not None and time.time() >= reader.expires:
                    reader.end(Ending.EXPIRED)
                elif ticks % TICKS == 0:
                    if reader.may_read():
                        reader.on_beat()
                    else:
                        reader.end(Ending.EXPIRED)
            if self._closing.is_set():
                return

    async def _kept_up(self, loop: Callable[[], Awaitable[None]]) -> None:
        """If one of the loops fails, readers are ended: they come back, and what failed is in the log."""
        try:
            await loop()
        except Exception:
            log.exception("the live streams have failed, and are begun again")
            self._loops = [each for each in self._loops if each is not asyncio.current_task()]
            for each in self._loops:
                each.cancel()
            self._loops = []
            for reader in [each for feed in self._feeds.values() for each in feed.readers]:
                reader.end(Ending.UNREADABLE)


def _source(reader: Reader, task: bytes | None, stream: bytes | None) -> WatchSource:
    return WatchSource(
        reader, None if stream is None else id_text(stream), None if task is None else id_text(task)
    )


def _snapshot(source: WatchSource, place: Place) -> Batch:
    return Batch([SharedEntry(source.snapshot(place), place, source.order(place))])


def _page(source: WatchSource, place: Place) -> tuple[Batch, SourcePage]:
    page = source.page(place, BATCH_BYTES)
    return Batch(shared(source, page)), page


def _news(reader: Reader, feeds: Sequence[Feed], all_of_them: bool) -> list[_News]:
    """The feeds with news, and what is new."""
    found: list[_News] = []
    marks = reader.marks([(feed.source.stream, feed.source.task) for feed in feeds])
    for feed, mark in zip(feeds, marks, strict=True):
        if mark == feed.mark and not all_of_them:
            continue
        assert feed.place is not None
        try:
            found.append(_News(feed, mark, feed.source.page(feed.place)))
        except TaskNotFound:
            found.append(_News(feed, mark, None, Ending.GONE))
        except StoreError as error:
            log.warning("a stream ends, because the store cannot be read: %s", error)
            found.append(_News(feed, mark, None, Ending.UNREADABLE))
    return found


def _nothing() -> None:
    pass
