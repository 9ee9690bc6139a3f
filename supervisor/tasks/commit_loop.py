"""The store in the supervisor's event loop: all changes of one turn of the loop are committed together.

A turn has a fixed order: handle everything that was read from the sockets, hand out work, seal the changes. So a task
that starts and ends between two commits is written once, as ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ...actors.clock import SYSTEM, Clock
from ...actors.errors import StoreError, StoreFull, UnderstudyError
from ...storage.batch import Batch
from ...storage.store import Store
from ..settings import MIB, Settings

log = logging.getLogger("understudy")

#: Rows, and bytes of them, that the loop commits itself: handing these to a thread takes half as long as the commit.
#: An event and its run are eleven rows.
FEW_ROWS: Final = 12
FEW_BYTES: Final = 16 * 1024
#: Seconds after which a commit that was waited for was a slow one, and how long none is waited for after that.
SLOW: Final = 0.005
WARY: Final = 1.0

#: Bytes not yet on disk above which nothing more is read from the sockets.
BACKLOG_HIGH: Final = 64 * MIB
#: Bytes below which reading goes on.
BACKLOG_LOW: Final = 16 * MIB


class CommitLoop:
    """Owns the store. Everything here is called in the loop's thread, unless it says otherwise."""

    def __init__(
        self,
        home: Path,
        settings: Settings,
        clock: Clock = SYSTEM,
        open_store: Callable[..., Store] = Store.open,
    ) -> None:
        """`clock` is that of all parts of the supervisor; `open_store` takes the arguments of `Store.open`."""
        self.clock = clock
        self._loop = asyncio.get_running_loop()
        #: Runs before every seal and writes what is dirty into the open batch.
        self.before_seal: Callable[[], None] = lambda: None
        #: Told when writing falls behind (True) and when it has caught up (False).
        self.on_backlog: Callable[[bool], None] = lambda _: None
        #: Told of an error after which nothing can be written any more.
        self.on_fatal: Callable[[StoreError], None] = lambda _: None
        self._behind = False
        self._closed = False
        self._wary_until = 0.0
        self.store = open_store(
            home,
            map_size=settings.map_size,
            durability=settings.durability,
            on_commit=lambda batch: self._tell(self._committed, batch),
            on_trouble=lambda error: self._tell(self._trouble, error),
            on_recovered=lambda: self._tell(self._recovered),
            on_fatal=lambda error: self._tell(self._fatal, error),
        )
        self.put = self.store.put
        self.get = self.store.get
        self.get_many = self.store.get_many
        self.delete = self.store.delete
        self.after_commit = self.store.after_commit
        self.scan = self.store.scan

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        """From the writer's thread to the loop's."""
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            # The loop is closed: the supervisor has stopped and waits for nobody's news.
            log.debug("the writer reported after the loop had closed")

    def refuse_when_full(self) -> None:
        """StoreFull if new work must be refused."""
        if self.store.full:
            raise StoreFull(
                "the disk of the home folder is full: new work is refused, running tasks continue. "
                "Free some space, or run `understudy prune` to remove ended tasks"
            )

    def seal(self) -> None:
        """Send off what is dirty, if the commit before is done; else it goes with the next one."""
        if self.store.busy:
            if not self._behind and self.store.pending_bytes > BACKLOG_HIGH:
                self._behind = True
                self.on_backlog(True)
            return
        self.before_seal()
        batch = self.store.batch
        if batch.size <= FEW_BYTES and len(batch) <= FEW_ROWS:
            self._commit()
        else:
            self.store.seal()

    def _commit(self) -> None:
        """Write the little there is while the loop waits, unless the disk has been slow: then it must not wait."""
        began = self.clock.monotonic()
        if began < self._wary_until:
            self.store.seal()
            return
        batch = self.store.commit()
        ended = self.clock.monotonic()
        if ended - began > SLOW:
            self._wary_until = ended + WARY
        if batch is not None:
            self._committed(batch)

    def _committed(self, batch: Batch) -> None:
        if self._closed:
            # The last batch of all, of which nobody is left to be told.
            return
        self.store.committed(batch)
        # What has waited meanwhile goes to the disk while the answers for this batch go out.
        self.before_seal()
        self.store.seal()
        for ack in batch.acks:
            try:
                ack()
            except Exception:
                log.exception("an acknowledgement failed")
        if self._behind and self.store.pending_bytes < BACKLOG_LOW:
            self._behind = False
            self.on_backlog(False)

    def _trouble(self, error: StoreFull) -> None:
        log.error("%s", error)
        if self._behind:
            # Clients are heard again: what they add now is refused, and they may ask for what makes room.
            self.on_backlog(True)

    def _recovered(self) -> None:
        log.warning("the disk has room again; writing continues")
        if self._behind:
            self.on_backlog(True)

    def _fatal(self, error: StoreError) -> None:
        log.critical("%s", error)
        self.on_fatal(error)

    async def settled(self) -> None:
        """Wait until everything that is dirty now is on disk."""
        done = self._loop.create_future()
        self.after_commit(lambda: None if done.done() else done.set_result(None))
        self.seal()
        await done

    async def compact(self) -> None:
        """Compact the store between two batches; raises what went wrong."""
        done: asyncio.Future[None] = self._loop.create_future()

        def finish(error: UnderstudyError | None) -> None:
            if done.done():
                # Nobody waits any more.
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        self.store.compact(lambda error: self._tell(finish, error))
        await done

    def close(self, timeout: float = 10.0) -> StoreError | None:
        """Write what is left and close; what could not be written is returned as an error."""
        self.before_seal()
        self._closed = True
        return self.store.close(timeout)
