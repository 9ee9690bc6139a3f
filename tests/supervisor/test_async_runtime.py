"""`Runtime` for asyncio: opening and closing. Its calls, one by one, are in tests/scenarios/test_async_runtime.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from call_tasks import add, refuse
from understudy import AsyncRuntime, NoRuntime, NotRunning, TaskFailed
from understudy.actors import ambient


def test_it_opens_and_closes(home: Path):
    async def story() -> None:
        rt = AsyncRuntime(home, app="call_tasks", workers=1, durability="os", drain=1.0)
        with pytest.raises(RuntimeError, match="not connected"):
            await rt.start(add, 1)
        await rt.close()
        rt = AsyncRuntime(home, app="call_tasks", workers=1, durability="os", drain=1.0)
        async with rt as same:
            assert same is rt
            assert ambient.runtime() is rt.sync
            assert await rt.run(add, 1, timeout=20) == 2
            with pytest.raises(TaskFailed):
                await rt.run(refuse, timeout=20)
            async with AsyncRuntime.connect(home) as second:
                assert await second.run(add, 2, timeout=20) == 3
        with pytest.raises(NoRuntime):
            ambient.runtime()
        with pytest.raises(RuntimeError, match="not connected"):
            await rt.start(add, 1)
        with pytest.raises(NotRunning):
            await AsyncRuntime.connect(home).open()

    asyncio.run(story())
