"""`Runtime` for asyncio: opening and closing. Its calls, one by one, are in tests/scenarios/test_async_runtime.py."""

from __future__ import annotations

import ast
import asyncio
import inspect
import textwrap
from concurrent.futures import Future
from pathlib import Path

import pytest

from call_tasks import add, own_kind, refuse
from understudy import AsyncRuntime, NoRuntime, TaskFailed
from understudy.actors.task import current_runtime
from understudy.supervisor.client.steps import is_done_async


def test_it_opens_and_closes(home: Path):
    async def story() -> None:
        rt = AsyncRuntime(home, app="call_tasks", workers=1, durability="os", drain=1.0)
        with pytest.raises(RuntimeError, match="not connected"):
            await rt.start(add, 1)
        await rt.close()
        rt = AsyncRuntime(home, app="call_tasks", workers=1, durability="os", drain=1.0)
        async with rt as same:
            assert same is rt
            assert current_runtime.runtime() is rt.sync
            assert await rt.run(add, 1, timeout=20) == 2
            with pytest.raises(TaskFailed):
                await rt.run(refuse, timeout=20)
            async with AsyncRuntime.connect(home) as second:
                assert await second.run(add, 2, timeout=20) == 3
                assert (await second.run(own_kind, timeout=20))[0] == "call"
        with pytest.raises(NoRuntime):
            current_runtime.runtime()
        with pytest.raises(RuntimeError, match="not connected"):
            await rt.start(add, 1)

    asyncio.run(story())


def test_every_call_gives_its_coroutine_back():
    """A twin awaits what the method of `Runtime` returns; one that returns nothing would be no coroutine."""
    twins = {
        name: call.__wrapped__
        for name, call in vars(AsyncRuntime).items()
        if hasattr(call, "__wrapped__") and "_do" in call.__wrapped__.__code__.co_names
    }
    assert {"emit", "pause_schedule", "cancel_where", "prune"} <= twins.keys()
    for name, method in twins.items():
        (function,) = ast.parse(textwrap.dedent(inspect.getsource(method))).body
        assert isinstance(function, ast.FunctionDef)
        last = function.body[-1]
        assert isinstance(last, ast.Return), f"{name} returns nothing"
        assert last.value is not None, f"{name} returns nothing"


@pytest.mark.parametrize("seconds", [None, 5.0])
@pytest.mark.parametrize("turns", range(5))
def test_a_cancel_that_comes_with_the_end_is_not_lost(turns: int, seconds: float | None):
    async def story() -> None:
        future: Future[int] = Future()
        waiting = asyncio.create_task(is_done_async(future, seconds))
        await asyncio.sleep(0)
        future.set_result(1)
        for _ in range(turns):
            await asyncio.sleep(0)
        accepted = waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled() is accepted

    asyncio.run(story())
