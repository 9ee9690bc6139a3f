"""Watch: all that a task or a stream does, read from the store, from any cursor on.

It costs the supervisor nothing. Between two commits it looks at the number of the newest commit alone, and no read
transaction outlives a page.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, Self

from ...actors.clock import SYSTEM, Clock
from ...actors.events.entry import WatchEntry
from ...actors.task.handles import IdLike
from ...actors.timeouts import check_timeout, deadline_of, left_of
from ...storage.reader import Reader
from .watch_source import WatchSource

if TYPE_CHECKING:
    from .start_rows import StreamLike

#: Seconds between two looks at the number of the newest commit: at first, and at most. Each one makes it longer.
FIRST_LOOK: Final = 0.001
LAST_LOOK: Final = 0.01
#: Seconds after which the store is read although that number is the same: another file may have taken its place.
READ_EVERY: Final = 0.25


class Watch:
    """Iterate over it, and close it or leave its `with` block when done; iteration then ends.

    First comes a snapshot. Then comes everything that has happened since `after`, or from the beginning, in order and
    each entry once, and what happens from now on. The watch of a task ends with the task.

    It goes on while no supervisor runs, and when the next one has started.
    """

    def __init__(
        self,
        reader: Reader,
        stream: StreamLike | None,
        task: IdLike | None,
        after: str | None,
        clock: Clock = SYSTEM,
        pause: Callable[[float | None], None] | None = None,
    ) -> None:
        """Raises InvalidOption, TaskNotFound, EventNotFound.

        `pause` lets time pass, at most so many seconds, until there may be something new.
        """
        self._source = WatchSource(reader, stream, task, clock)
        self._clock = clock
        self._place = self._source.place_of(after)
        self._pause = pause or self._wait_for_commit
        self._never: Future[None] = Future()
        self._closing = threading.Event()
        #: Held while entries are read or taken: several threads may iterate.
        self._lock = threading.Lock()
        self._commit = -1
        self._ready: deque[WatchEntry] = deque()
        self._ready.append(self._source.snapshot(self._place))
        self._over = self._source.is_end(self._place)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> WatchEntry:
        entry = self.next()
        if entry is None:
            raise StopIteration
        return entry

    def next(self, timeout: float | None = None) -> WatchEntry | None:
        """The next entry; None at the end of the task, or if closed. TimeoutError after `timeout` seconds."""
        seconds = check_timeout(timeout)
        deadline = deadline_of(seconds, self._clock)
        with self._lock:
            while not self._has_news():
                left = left_of(deadline, self._clock)
                if left is not None and left <= 0:
                    raise TimeoutError(f"nothing has happened within {seconds:g} s")
                self._pause(left)
            return self._take()

    def close(self) -> None:
        """End the watch; a wait in another thread ends, too. May be called twice."""
        self._closing.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _has_news(self) -> bool:
        """Whether `_take` has something to give, or the end. It reads a page if it has to."""
        if not self._ready and not self._over and not self._closing.is_set():
            self._read()
        return bool(self._ready) or self._over or self._closing.is_set()

    def _take(self) -> WatchEntry | None:
        if self._closing.is_set() or not self._ready:
            return None
        return self._ready.popleft()

    def _read(self) -> None:
        self._commit = self._source.newest()  # before the page: what comes meanwhile is new
        page = self._source.page(self._place)
        self._place, self._over = page.place, page.is_over
        self._ready.extend(page.entries)

    # --- waiting ---

    def _wait_for_commit(self, seconds: float | None) -> None:
        """Return when there is a newer commit, when the watch is closed, or after some time."""
        end = self._clock.monotonic() + (READ_EVERY if seconds is None else min(seconds, READ_EVERY))
        delay = FIRST_LOOK
        while self._source.newest() == self._commit and (left := end - self._clock.monotonic()) > 0:
            if self._clock is not SYSTEM:
                self._clock.wait(self._never, min(delay, left))
            elif self._closing.wait(min(delay, left)):
                return
            delay = min(delay * 1.5, LAST_LOOK)

    async def _wait_async(self) -> None:
        """As `_wait_for_commit`, on an event loop."""
        end = time.monotonic() + READ_EVERY
        delay = FIRST_LOOK
        while self._source.newest() == self._commit and time.monotonic() < end and not self._closing.is_set():
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, LAST_LOOK)


class AsyncWatch:
    """A `Watch` for `async with` and `async for`. It reads the disk in a thread, and waits on the event loop."""

    def __init__(self, call: Callable[..., Any], make: Callable[[], Watch]) -> None:
        """`call` makes a call in a thread."""
        self._call = call
        self._make = make
        self._watch: Watch | None = None

    async def __aenter__(self) -> Self:
        if self._watch is None:
            self._watch = await self._call(self._make)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchEntry:
        entry = await self.next()
        if entry is None:
            raise StopAsyncIteration
        return entry

    async def next(self) -> WatchEntry | None:
        """The next entry; None at the end of the task, or if closed."""
        await self.__aenter__()
        watch = self._watch
        assert watch is not None
        while not watch._ready and not await self._call(watch._has_news):
            await watch._wait_async()
        return watch._take()

    def close(self) -> None:
        """End the watch. May be called twice."""
        if self._watch is not None:
            self._watch.close()
