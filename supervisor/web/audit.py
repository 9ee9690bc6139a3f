"""Audit: sends entries to the supervisor, which keeps them. Many that come at once share a commit."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

from ...actors.access import AuditEntry
from ..client.async_runtime import AsyncRuntime

log = logging.getLogger("understudy")

#: Entries in one request, and those that wait while no supervisor is there; the oldest of these go first.
PART: Final = 500
MOST_WAITING: Final = 10_000
#: Seconds that an answer waits for its entry to be on disk.
PATIENCE: Final = 2.0


class Audit:
    """Guarantee: an entry is on disk when `record` returns, unless no supervisor takes it; then it follows later."""

    def __init__(self, runtime: AsyncRuntime) -> None:
        self._runtime = runtime
        self._waiting: deque[tuple[AuditEntry, asyncio.Event]] = deque(maxlen=MOST_WAITING)
        self._sender: asyncio.Task[None] | None = None

    async def record(self, entry: AuditEntry) -> None:
        """Keep an entry."""
        kept = asyncio.Event()
        self._waiting.append((entry, kept))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.get_running_loop().create_task(self._send())
        try:
            await asyncio.wait_for(kept.wait(), PATIENCE)
        except TimeoutError:
            log.warning("an entry of the audit waits for the supervisor: %s by %s", entry.action, entry.who)

    async def _send(self) -> None:
        while self._waiting:
            part = list(self._waiting)[:PART]
            try:
                await self._runtime.record_audit([entry for entry, _ in part])
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try may work
                log.warning("the audit cannot be written now, trying again: %s", error)
                await asyncio.sleep(1)
                continue
            for each in part:
                if self._waiting and self._waiting[0] is each:
                    self._waiting.popleft()
                each[1].set()
