"""Follower: tells every open page that the store has changed.

It looks at the number of the newest commit, at most twice a second and only while a page is open. It asks the
supervisor for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from ...client.async_runtime import AsyncRuntime
from ...client.store_look import StoreLook

EVERY: Final = 0.5
"""Seconds between two looks."""

BEAT: Final = 30
"""Looks without news after which pages read all the same: another file may have taken the place of the store's, and
a connection that is gone is noticed."""


class Follower:
    """One for all pages of a web process."""

    def __init__(self, runtime: AsyncRuntime) -> None:
        self._runtime = runtime
        self._pages = 0
        self._number = 0
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def lines(self, closing: asyncio.Event) -> AsyncIterator[str]:
        """An event stream: one event for each look at which there was something new. It ends when `closing` is set."""
        self._pages += 1
        if self._task is None:
            self._task = asyncio.create_task(self._look())
        try:
            yield "retry: 1000\n\n"
            while not closing.is_set():
                waits = [asyncio.ensure_future(event.wait()) for event in (self._moved, closing)]
                try:
                    await asyncio.wait(waits, timeout=EVERY * BEAT, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for wait in waits:
                        wait.cancel()
                yield f"event: moved\ndata: {self._number}\n\n"
        finally:
            self._pages -= 1
            if not self._pages and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _look(self) -> None:
        look = StoreLook(self._runtime.sync)
        self._number = look.newest()
        while True:
            await asyncio.sleep(EVERY)
            number = look.newest()
            if number != self._number:
                self._number = number
                moved, self._moved = self._moved, asyncio.Event()
                moved.set()
