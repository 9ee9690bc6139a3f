"""The client for asyncio programs: everything that Runtime can do, without blocking the event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import letter_tasks
from letters import APP, PATIENCE
from understudy import AsyncRuntime, NotRunning, Runtime, State, TaskCancelled, TaskFailed

#: Methods of Runtime that AsyncRuntime does not need: futures for threads, what only code of tasks calls, and what
#: references to actors use.
THREADS_ONLY = {
    "wait_for", "wait_for_all", "wait_for_end", "arrivals", "listen", "monitor", "demonitor", "post", "ask",
    "actor_status", "child_map",
}  # fmt: skip
#: Methods that only AsyncRuntime has.
ASYNC_ONLY = {"open", "sync"}


def public(kind: type) -> dict[str, Any]:
    return {name: inspect.getattr_static(kind, name) for name in dir(kind) if not name.startswith("_")}


def test_it_mirrors_runtime_name_by_name():
    there, here = public(Runtime), public(AsyncRuntime)
    assert set(there) - THREADS_ONLY == set(here) - ASYNC_ONLY
    for name in set(there) - THREADS_ONLY:
        one, other = inspect.getattr_static(Runtime, name), inspect.getattr_static(AsyncRuntime, name)
        assert type(one) is type(other), name
        if inspect.isfunction(one):
            assert list(inspect.signature(one).parameters.values()) == list(
                inspect.signature(other).parameters.values()
            ), name
            # `watch` makes what `async with` opens.
            is_async = inspect.iscoroutinefunction(other) or inspect.isasyncgenfunction(other)
            assert is_async or name == "watch", name
        assert getattr(other, "__doc__", None), name


def serving(home: Path) -> AsyncRuntime:
    return AsyncRuntime(home, app=APP, workers=2, durability="os")


def run(main: Callable[[AsyncRuntime], Awaitable[None]], home: Path) -> None:
    async def whole() -> None:
        async with serving(home) as rt, asyncio.timeout(PATIENCE):
            await main(rt)

    asyncio.run(whole())


async def until_async(condition: Callable[[], Awaitable[object]]) -> None:
    while not await condition():  # noqa: ASYNC110 - what is waited for happens on other threads
        await asyncio.sleep(0.005)


def test_five_hundred_runs_at_once(home: Path):
    async def main(rt: AsyncRuntime) -> None:
        tasks = [letter_tasks.add, letter_tasks.add_async]
        sums = await asyncio.gather(*(rt.run(tasks[n % 2], n, n, timeout=PATIENCE) for n in range(500)))
        assert sums == [2 * n for n in range(500)]
        # There are more waits than threads for calls, and other calls still work.
        held = await rt.start_many(letter_tasks.collect, [()] * 100)
        waits = [asyncio.ensure_future(rt.wait(info.id)) for info in held]
        results = [asyncio.ensure_future(anext(rt.results([info]))) for info in held[:40]]
        assert await rt.run(letter_tasks.echo, "still here", timeout=PATIENCE) == "still here"
        for info in held:
            await rt.close(info.id)
        assert {(await wait).state for wait in waits} == {State.COMPLETED}
        assert [await result for result in results] == [[]] * 40

    run(main, home)


def test_every_call_once(home: Path):
    async def main(rt: AsyncRuntime) -> None:
        assert rt.home == str(home)
        info = await rt.start(letter_tasks.collect)
        await rt.send(info.id, 1)
        await rt.send_many([(info.id, 2), (info.id, 3)])
        await rt.close_mailbox(info.id)
        assert await rt.result(info.id, PATIENCE) == [1, 2, 3]
        assert (await rt.status(info.id)).state is State.COMPLETED
        assert await rt.restore(info.id) is None
        assert [record.id for record in await rt.list(state="completed")] == [info.id]
        many = await rt.start_many(letter_tasks.add, [(1, 1), {"a": 2, "b": 2}])
        assert [value async for value in rt.results(many, PATIENCE)] == [2, 4]
        failed = await rt.start(letter_tasks.fail_with, "no")
        with pytest.raises(TaskFailed, match="no"):
            await rt.result(failed.id, PATIENCE)
        assert (await rt.wait(failed.id, PATIENCE)).state is State.FAILED
        again = await rt.retry(failed.id)
        with pytest.raises(TaskFailed, match="no"):
            await rt.result(again.id, PATIENCE)
        assert (await rt.tree())["pid"] == rt.supervisor_pid
        assert await rt.prune(all=True) == 5
        await rt.compact()
        # The current runtime of the block.
        assert (
            await asyncio.to_thread(lambda: letter_tasks.echo.start("ambient").result(PATIENCE)) == "ambient"
        )

    run(main, home)


def test_every_call_about_schedules_and_events_once(home: Path):
    async def main(rt: AsyncRuntime) -> None:
        made = await rt.schedule(letter_tasks.add, 1, 2, every=3600, key="hourly")
        await rt.pause_schedule(made)
        assert (await rt.schedule_info("hourly")).state == "paused"
        await rt.resume_schedule("hourly")
        run = await rt.run_schedule("hourly")
        assert await rt.result(run, PATIENCE) == 3
        assert await rt.backfill("hourly", made.created - 7200, made.created) == []
        assert [each.run_id for each in await rt.schedule_history("hourly")] == [run]
        assert [each.key for each in await rt.schedules()] == ["hourly"]
        assert await rt.next_times("hourly", 1) == [made.next]
        assert await rt.cancel_schedule("hourly") is True
        event = await rt.emit("order.paid", 7, id="paid/7")
        assert (await rt.emit_many([("order.paid", 7, "paid/7")]))[0] == event
        assert (await rt.event("paid/7")).data == 7
        assert [each.id for each in await rt.events(name="order.*", unmatched=True)] == ["paid/7"]
        assert (await rt.replay("paid/7")).runs == ()
        assert [root.kind for root in (await rt.stream(event.stream_id)).roots] == ["event"]
        assert await rt.cancel_where("state:queued") == 0
        async with rt.watch(task=run) as entries:
            assert [entry.kind async for entry in entries] == ["snapshot", "end"]
        assert (await rt.stats(60)).ended[State.COMPLETED] == 1
        assert list(await rt.errors(60)) == []

    run(main, home)


def test_timeouts_and_cancelled_callers_leave_nothing_waiting(home: Path):
    async def main(rt: AsyncRuntime) -> None:
        info = await rt.start(letter_tasks.collect)
        with pytest.raises(TimeoutError, match="within"):
            await rt.result(info.id, 0.01)
        with pytest.raises(TimeoutError, match="within"):
            await rt.wait(info.id, 0.01)
        with pytest.raises(TimeoutError):
            await rt.run(letter_tasks.collect, timeout=0.01)
        for call in (rt.result, rt.wait):
            caller = asyncio.ensure_future(call(info.id))

            async def waits() -> bool:
                return bool(rt.sync._client._waits)

            await until_async(waits)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            assert not rt.sync._client._waits
        connection = rt.sync._client.connection
        assert connection is not None
        assert not connection._requests
        assert (await rt.status(info.id)).state is not State.CANCELLED, "only the wait was cancelled"
        assert await rt.cancel(info.id)
        with pytest.raises(TaskCancelled):
            await rt.result(info.id, PATIENCE)
        for record in await rt.list(state="running"):
            await rt.cancel(record.id)

    run(main, home)


def test_events_until_one_has_seen_enough(home: Path):
    async def main(rt: AsyncRuntime) -> None:
        seen: list[tuple[str, State]] = []
        listening = asyncio.Event()

        async def listen() -> None:
            events = rt.subscribe(task=letter_tasks.add.name)
            first = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            listening.set()
            seen.append(((event := await first).id, event.state))
            async for event in events:
                seen.append((event.id, event.state))
                if sum(state is State.COMPLETED for _, state in seen) == 3:
                    break
            await events.aclose()

        listener = asyncio.ensure_future(listen())
        await listening.wait()
        ids = []
        while not listener.done():
            ids.append((await rt.start(letter_tasks.add, 1, 1)).id)
            await rt.run(letter_tasks.echo, 0, timeout=PATIENCE)
            await rt.result(ids[-1], PATIENCE)
        await listener
        assert {id for id, _ in seen} <= set(ids)

        # A caller is cancelled while it waits for the next event.
        async def for_ever() -> None:
            async for _ in rt.subscribe(task="nothing like that"):
                pass

        caller = asyncio.ensure_future(for_ever())
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller

    run(main, home)


def test_connecting_where_nobody_serves(home: Path):
    async def main() -> None:
        async with AsyncRuntime.connect(home) as other:
            with pytest.raises(NotRunning):
                await other.tree(timeout=0.01)
        rt = AsyncRuntime(home)
        with pytest.raises(RuntimeError, match="open"):
            await rt.status("0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d")
        async with serving(home), AsyncRuntime.connect(home) as other:
            assert await other.run(letter_tasks.add, 1, 2, timeout=PATIENCE) == 3

    asyncio.run(main())
