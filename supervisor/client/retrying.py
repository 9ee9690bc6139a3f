"""Retries and messages that may be asked for again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...actors.task.handles import IdLike, TaskInfo
from .async_runtime import AsyncRuntime
from .steps import finish_async, finish_in_threads


async def retry_once(
    runtime: AsyncRuntime, id: IdLike, *, from_scratch: bool, timeout: float
) -> TaskInfo[Any]:
    """As `AsyncRuntime.retry`; the answer is the task that retries it already, if there is one."""
    sync = runtime.sync
    deadline = sync._deadline(timeout)
    steps = sync._calls.retry_once(sync, deadline, id, from_scratch)
    return await finish_in_threads(steps, deadline, sync._client.late, runtime._threads)


async def send_once(
    runtime: AsyncRuntime, id: IdLike, messages: Sequence[Any], key: str, *, timeout: float
) -> None:
    """Send messages to one task: all of them, or none if some were sent to it under this key within a day."""
    sync = runtime.sync
    deadline = sync._deadline(timeout)
    await finish_async(sync._calls.send_once(deadline, id, messages, key), deadline, sync._client.late)
