"""Who waits for whom: told once, when it is on disk, and forgotten on disconnect."""

from __future__ import annotations

import asyncio
from pathlib import Path

from room import Room, room
from understudy.actors.ids import new_id
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table
from understudy.supervisor.wire.messages import Answer, Ask
from wire import Wire, connect, listening


def end(it: Room, *ids: bytes) -> None:
    for id in ids:
        it.attempts.cancel(id)
    it.turn()


async def waits(it: Room, wire: Wire, request: int, *ids: bytes) -> None:
    await wire.send((Ask.WAIT, request, list(ids)))
    await it.until(lambda: any(request in client.waits for client in it.service._clients))


def test_told_once_and_only_when_on_disk(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it, listening(it) as path:
            wire = await connect(path)
            ids = [it.add() for _ in range(5)]
            await waits(it, wire, 1, *ids)
            await waits(it, wire, 2, ids[0], ids[0])
            end(it, *ids[:2])
            ((_, _, rows),) = await wire.until(Answer.ENDED, 2)
            assert [(row[0], row[1]) for row in rows] == [(ids[0], "cancelled")]
            row = it.commits.store._environment.get(Table.TASKS, ids[0])
            assert row is not None
            assert Record.unpack(ids[0], row).terminal
            await wire.answer(2)
            assert not any(frame[0] == Answer.OK and frame[1] == 1 for frame in wire.frames)
            end(it, *ids[2:])
            await wire.answer(1)
            told = [row[0] for frame in wire.frames if frame[:2] == (Answer.ENDED, 1) for row in frame[2]]
            assert sorted(told) == sorted(ids)
            assert it.service._waiters._waiting == {}

    asyncio.run(story())


def test_those_that_have_ended_long_ago(home: Path):
    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            wire = await connect(path)
            one, two = it.add(), it.add()
            await it.settle()
            for assignment in it.workers[0].begin():
                it.workers[0].done(assignment.id, value=b"value " + assignment.id[:1])
            await it.settle()
            assert it.table.tasks == {}
            assert await wire.ask(Ask.WAIT, [one, two], request=3) is None
            (frame,) = await wire.until(Answer.ENDED, 3)
            assert [(row[1], row[2]) for row in frame[2]] == [
                ("completed", b"value " + id[:1]) for id in (one, two)
            ]
            assert await wire.ask(Ask.WAIT, [], request=4) is None

    asyncio.run(story())


def test_waits_are_forgotten_on_disconnect_and_when_told_to(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it, listening(it) as path:
            staying, going = await connect(path), await connect(path)
            ids = [it.add() for _ in range(3)]
            await waits(it, going, 1, *ids)
            await waits(it, going, 2, ids[0])
            await waits(it, staying, 3, ids[0])
            await staying.send((Ask.WAIT, 4, ids), (Ask.UNWAIT, 4), (Ask.UNWAIT, 99))
            await staying.ask(Ask.TREE, request=5)
            await going.close()
            await it.until(lambda: len(it.service._clients) == 1)
            (client,) = it.service._clients
            assert it.service._waiters._waiting == {ids[0]: ((client, 3),)}
            assert client.waits == {3: {ids[0]}}
            end(it, *ids)
            await staying.answer(3)
            assert [frame for frame in staying.frames if frame[1] == 4] == []

    asyncio.run(story())


def test_a_number_used_twice_forgets_the_first(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it, listening(it) as path:
            wire = await connect(path)
            one, two = it.add(), it.add()
            await waits(it, wire, 1, one)
            await wire.send((Ask.WAIT, 1, [two]))
            await it.until(lambda: list(it.service._waiters._waiting) == [two])
            assert (await wire.ask(Ask.WAIT, [two, new_id()], request=2))[0] == "TaskNotFound"
            assert list(it.service._waiters._waiting) == [two]

    asyncio.run(story())


def test_thousands_of_ends_in_one_commit(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it, listening(it) as path:
            wire = await connect(path)
            ids = [it.add() for _ in range(25_000)]
            for n in range(0, 25_000, 10_000):
                await wire.send((Ask.WAIT, n + 1, ids[n : n + 10_000]))
            await it.until(lambda: sum(len(client.waits) for client in it.service._clients) == 3)
            end(it, *ids)
            for n in range(0, 25_000, 10_000):
                await wire.answer(n + 1)
            told = [row[0] for frame in wire.frames if frame[0] == Answer.ENDED for row in frame[2]]
            assert sorted(told) == sorted(ids)

    asyncio.run(story())
