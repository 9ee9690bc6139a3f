"""Containers from `async def` tasks: `await aio.box.run(BoxConf(image="alpine"))`."""

from __future__ import annotations

from typing import Any

from ..inside import aio
from ..task.handles import TaskInfo
from ..task.options import GRACE_DEFAULT
from .api import Size, call, sizes
from .conf import BoxConf

__all__ = ["BoxConf", "Size", "call", "run", "sizes", "start"]


async def start(conf: BoxConf, *, grace: float = GRACE_DEFAULT, **options: Any) -> TaskInfo[dict[str, Any]]:
    """Start a container on this task's supervisor; see `understudy.box.start`."""
    task, args = call(conf, grace=grace, **options)
    return await aio.start(task, *args)


async def run(
    conf: BoxConf, *, timeout: float | None = None, grace: float = GRACE_DEFAULT, **options: Any
) -> dict[str, Any]:
    """Start a container, wait for its end and return its map; see `understudy.box.run`."""
    ended: dict[str, Any] = await aio.result(await start(conf, grace=grace, **options), timeout)
    return ended
