"""Chores: what the supervisor does again and again while it serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

log = logging.getLogger("understudy")

#: Seconds between two rounds of pruning.
PRUNE_EVERY: Final = 60.0


async def repeat(name: str, every: float, job: Callable[[], Awaitable[object]]) -> NoReturn:
    """Do a job every `every` seconds until cancelled. An error of any kind is logged and does not end it."""
    while True:
        try:
            await job()
        except Exception:
            log.exception("%s failed; it is tried again in %g s", name, every)
        await asyncio.sleep(every)
