"""HomeWatch: keeps the files of a served home in place, whatever cleans the folder that they lie in.

Cleaners of temporary files remove what was not touched for days. The store is written, but nobody touches the lock file
and the socket. Without its socket, no client would reach the supervisor.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Final

from ...actors.errors import HomeError
from ...storage.file.names import store_file
from ..home import Home

log = logging.getLogger("understudy")

#: Seconds between two looks at the files of the home.
HOME_LOOK: Final = 1.0
#: Seconds after which they are touched, so that they do not look old.
TOUCH_EVERY: Final = 3600.0


class HomeWatch:
    """Looks after the home of one supervisor, which holds its lock."""

    def __init__(
        self,
        home: Home,
        listen: Callable[[], Awaitable[None]],
        restore_store: Callable[[], Awaitable[None]],
        on_removed: Callable[[HomeError], None],
    ) -> None:
        """`listen` makes the socket anew, `restore_store` the data file; `on_removed` is told if the folder is gone."""
        self._home = home
        self._listen = listen
        self._restore_store = restore_store
        self._on_removed = on_removed
        self._touched = time.monotonic()
        self._removed = False
        #: What was missing at the last look. The next look makes it anew, if the folder still exists then.
        self._missed: set[Callable[[], Awaitable[None]]] = set()

    def warn(self) -> None:
        """Say so if the home is in a place that is swept."""
        if (folder := self._home.swept) is not None:
            log.warning(
                "home %s is below %s, which is emptied at boot or of old files: keep it elsewhere if tasks are to last",
                self._home.path, folder,
            )  # fmt: skip

    async def look(self) -> None:
        """Make anew what is missing, and touch everything now and then."""
        if self._removed:
            return
        if self._home.removed:
            self._removed = True
            path = self._home.path
            self._on_removed(
                HomeError(f"home {path} was removed while it was served; its tasks are lost", str(path))
            )
            return
        missing = set(self._missing())
        for restore in missing & self._missed:
            await restore()
        self._missed = missing
        if time.monotonic() - self._touched >= TOUCH_EVERY:
            self._touched = time.monotonic()
            self._touch()

    def _missing(self) -> Iterator[Callable[[], Awaitable[None]]]:
        """The steps that make anew what is missing."""
        if not self._home.has_lock_file:
            yield self._restore_lock
        if not self._home.listens:
            yield self._restore_socket
        if not store_file(self._home.path).exists():
            yield self._restore_data

    async def _restore_lock(self) -> None:
        self._home.restore_lock()
        log.warning("the lock file of %s was removed; it is there again", self._home.path)

    async def _restore_socket(self) -> None:
        await self._listen()
        log.warning("the socket of %s was removed; it is there again", self._home.path)

    async def _restore_data(self) -> None:
        await self._restore_store()
        log.error("the store of %s was removed; it is there again, from the open file", self._home.path)

    def _touch(self) -> None:
        for path in (self._home.path, *self._home.path.iterdir()):
            with suppress(OSError):  # it is gone, or belongs to another member of the group
                os.utime(path, follow_symlinks=False)
