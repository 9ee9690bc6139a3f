"""Subscriptions: every change once it is on disk, for whom it is meant, and at no cost without one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from room import room
from understudy.actors.ids import new_id
from understudy.actors.state import State
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table
from understudy.supervisor.wire.messages import Answer, Ask
from wire import Wire, connect, listening


def events(wire: Wire) -> list[tuple[bytes, str, str]]:
    return [(row[0], row[1], row[2]) for frame in wire.frames if frame[0] == Answer.EVENT for row in frame[2]]


async def until_events(wire: Wire, count: int) -> list[tuple[bytes, str, str]]:
    while len(events(wire)) < count:
        assert await wire.read()
    return events(wire)


def test_what_happens_after_the_answer_is_told_in_order(home: Path):
    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            wire = await connect(path)
            before = it.add()
            await it.settle()
            assert await wire.ask(Ask.SUBSCRIBE, None, None, False, request=7) is None
            id = it.add()
            await it.settle()
            for assignment in it.workers[0].begin():
                it.workers[0].done(assignment.id)
            told = await until_events(wire, 4)
            assert [state for one, _, state in told if one == id] == ["queued", "running", "completed"]
            assert [state for one, _, state in told if one == before] == ["completed"]
            assert {frame[1] for frame in wire.frames if frame[0] == Answer.EVENT} == {7}

    asyncio.run(story())


def test_an_end_is_told_when_it_is_on_disk_and_not_before(home: Path):
    async def story() -> None:
        async with room(home, slots=64) as it, listening(it) as path:
            wire = await connect(path)
            await wire.ask(Ask.SUBSCRIBE, None, None, False)
            (client,) = it.service._clients
            told: list[bytes] = []
            early: list[bytes] = []
            event = client.event

            def looked_at(rows: list[tuple[bytes, str, State]]) -> None:
                for id, _, state, *_ in rows:
                    if state == State.COMPLETED:
                        row = it.commits.store._environment.get(Table.TASKS, id)
                        told.append(id)
                        # Noted, not asserted: what an acknowledgement raises is logged and goes no further.
                        if row is None or Record.unpack(id, row).state is not State.COMPLETED:
                            early.append(id)
                event(rows)

            client.event = looked_at  # type: ignore[method-assign]
            ids = []
            for _ in range(200):
                ids.append(it.add())
                it.turn()
                await asyncio.sleep(0)
                for assignment in it.workers[0].begin():
                    it.workers[0].done(assignment.id)
            for _ in range(3):
                await it.settle()
                for assignment in it.workers[0].begin():
                    it.workers[0].done(assignment.id)
            await it.settle()
            assert early == []
            assert sorted(told) == sorted(ids)

    asyncio.run(story())


def test_only_one_task_or_one_stream(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it, listening(it) as path:
            all_, by_task, by_stream = await connect(path), await connect(path), await connect(path)
            stream = new_id()
            await all_.ask(Ask.SUBSCRIBE, None, None, False)
            await by_task.ask(Ask.SUBSCRIBE, "async", None, False)
            await by_stream.ask(Ask.SUBSCRIBE, None, stream, False)
            quick, other = it.add("quick"), it.add("async")
            mine = new_id()
            it.table.add([(Record(mine, "quick", 1.0, stream), None)])
            assert {id for id, _, _ in await until_events(all_, 3)} == {quick, other, mine}
            assert [id for id, _, _ in await until_events(by_task, 1)] == [other]
            assert [id for id, _, _ in await until_events(by_stream, 1)] == [mine]

    asyncio.run(story())


def test_without_a_subscriber_nothing_is_gathered(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it, listening(it) as path:
            assert it.table.on_change is None
            one, two = await connect(path), await connect(path)
            await one.ask(Ask.SUBSCRIBE, None, None, False)
            await two.ask(Ask.SUBSCRIBE, None, None, False)
            assert it.table.on_change is not None
            await one.close()
            await it.until(lambda: len(it.service._clients) == 1)
            assert it.table.on_change is not None
            it.add()
            await two.close()
            await it.until(lambda: not it.service._clients)
            assert it.table.on_change is None
            await it.settle()

    asyncio.run(story())


def test_more_changes_than_fit_into_one_frame(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it, listening(it) as path:
            wire = await connect(path)
            await wire.ask(Ask.SUBSCRIBE, None, None, False)
            ids = [it.add() for _ in range(21_000)]
            assert [id for id, _, _ in await until_events(wire, 21_000)] == ids

    asyncio.run(story())
