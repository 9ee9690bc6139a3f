"""Searches and counts of a home that works, is killed and pruned: they always say what the records say."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import stage_tasks as stage
from theatre import PATIENCE, kill, runtime
from understudy import AsyncRuntime, Runtime, State, task
from understudy.storage.check import check
from understudy.supervisor.web.dashboard.errors import query_of
from understudy.testing import InlineRuntime
from waiting import until


def counted(rt: Runtime) -> dict[str, dict[State, int]]:
    """What the records say, by a look at each."""
    numbers = Counter((record.task, record.state) for record in rt.list(limit=100_000))
    found: dict[str, dict[State, int]] = {}
    for (name, state), number in numbers.items():
        found.setdefault(name, {})[state] = number
    return found


def found(rt: Runtime, query: str, limit: int = 100) -> list[str]:
    """The ids of all pages. A page may stop early on a slow machine."""
    ids: list[str] = []
    page = rt.search(query, limit=limit)
    while True:
        assert len(page) <= limit
        ids += [record.id for record in page]
        if page.cursor is None:
            return ids
        page = rt.search(query, limit=limit, after=page.cursor)


def test_a_home_that_works_is_found_and_counted(home: Path):
    with runtime(home) as rt:
        infos = rt.start_many(stage.add, [(at, 1) for at in range(300)])
        wrong = rt.start_many(stage.add, [("a", 1)] * 5)
        children = rt.start(stage.parent, 3)
        later = rt.start(stage.add.options(key="later/1", delay=3600), 1, 2)
        waiting = rt.start(stage.parked)
        for info in (*infos, *wrong, children):
            rt.wait(info.id, PATIENCE)
        until(lambda: rt.status(waiting.id).state is State.RUNNING, PATIENCE)
        assert found(rt, "state:failed error:TypeError") == [info.id for info in reversed(wrong)]
        assert found(rt, "key:later/1 state:queued") == [later.id]
        assert found(rt, "state:running") == [waiting.id]
        assert len(found(rt, f"origin:{children.id}")) == len(found(rt, f"stream:{children.id}")) - 1 == 3
        assert found(rt, "args.a:17") == [infos[17].id]
        assert found(rt, "task:add state:completed -key:* error:* ") == []
        added = found(rt, "task:add state:completed")
        assert len(set(added)) == len(added) >= 300
        assert added == found(rt, "task:add state:completed", limit=7)
        assert rt.counts() == counted(rt)
        rt.cancel(later.id)
        assert found(rt, "state:cancelled") == [later.id]
        kill(rt.supervisor_pid)
        until(lambda: rt.counts() == counted(rt), PATIENCE)
        rt.cancel(waiting.id)
        rt.wait(waiting.id, PATIENCE)
        assert rt.counts() == counted(rt)
        assert check(home).problems == []
        removed = rt.prune(all=True)
        assert removed > 300
        assert rt.counts() == {}
        assert found(rt, "") == []
    assert check(home).problems == []


def test_an_asyncio_program_searches_and_counts(home: Path):
    async def story() -> None:
        async with AsyncRuntime(home, app="stage_tasks", workers=1) as rt:
            info = await rt.start(stage.add, 1, 2)
            await rt.wait(info.id, PATIENCE)
            page = await rt.search("task:add")
            assert [record.id for record in page] == [info.id]
            assert (await rt.counts())[info.task] == {State.COMPLETED: 1}

    asyncio.run(story())


@task(name="causes:breaks")
def breaks(message: str) -> None:
    raise ValueError(message)


@task(name="causes:breaks_too")
def breaks_too(message: str) -> None:
    raise ValueError(message)


def test_the_tasks_of_one_cause_are_found_and_retried_alone():
    with InlineRuntime() as rt:
        rows = {rt.start(breaks, f"row {number} has no header").id for number in range(3)}
        rt.start(breaks, "another message")
        rt.start(breaks_too, "row 4 has no header")
        rt.settle()
        (cause,) = [group for group in rt.errors() if group.count == 3]
        query = query_of(cause, "1d")
        assert {record.id for record in rt.search(query)} == rows
        assert rt.retry_where(query) == 3
        rt.settle()
        assert {record.retry_of for record in rt.search(query) if record.retry_of} == rows
        rt.clock.advance(2 * 86_400)
        assert len(rt.search(query)) == 0
        assert len(rt.search(f"cause:{cause.fingerprint}")) == 6
