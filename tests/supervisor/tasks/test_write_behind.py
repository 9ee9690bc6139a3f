"""What is written and when: once for each commit, and nothing is told before it is on disk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from room import consistent, end_all, room, small_windows
from understudy.actors.attempt.host import Ending
from understudy.actors.state import State
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane, Table
from understudy.supervisor.tasks.live_task import LiveTask
from understudy.supervisor.wire.messages import Report


def test_a_task_that_starts_and_ends_between_two_commits_is_written_once(home: Path, monkeypatch: Any):
    async def story() -> None:
        async with room(home) as it:
            await it.settle()
            puts: list[tuple[Table, bytes]] = []
            put = it.commits.put
            monkeypatch.setattr(
                it.commits,
                "put",
                lambda table, key, value: (puts.append((table, key)), put(table, key, value)),
            )
            # A batch is on its way for as long as its commit has not been told.
            it.commits.store.put(Table.META, b"other", b"")
            it.commits.store.seal()
            assert it.commits.store.busy
            committed = it.commits._committed
            held: list[Any] = []
            monkeypatch.setattr(it.commits, "_committed", held.append)
            id = it.add(args=b"args")
            it.dispatcher.dispatch()
            it.workers[0].channel.flush()
            (assignment,) = it.workers[0].begin()
            it.workers[0].done(assignment.id, value=b"value")
            it.commits.seal()
            assert [table for table, key in puts if key == id] == [Table.ARGS, Table.RESULTS]
            monkeypatch.undo()
            await it.until(lambda: held or not it.commits.store.busy)
            for batch in held:
                committed(batch)
            monkeypatch.setattr(
                it.commits,
                "put",
                lambda table, key, value: (puts.append((table, key)), put(table, key, value)),
            )
            await it.settle()
            assert [table for table, key in puts if key == id].count(Table.TASKS) <= 1
            assert it.state(id) is State.COMPLETED
            assert it.rows(Table.LIVE) == []

    asyncio.run(story())


def test_an_end_is_told_when_it_is_on_disk_and_not_before(home: Path):
    async def story() -> None:
        async with room(home) as it:
            told: list[bytes] = []
            early: list[bytes] = []

            def on_ended(entries: list[LiveTask]) -> None:
                for entry in entries:
                    row = it.commits.store._environment.get(Table.TASKS, entry.id)
                    assert row is not None
                    told.append(entry.id)
                    # Noted, not asserted: what an acknowledgement raises is logged and goes no further.
                    if Record.unpack(entry.id, row).state is not State.COMPLETED:
                        early.append(entry.id)

            it.table.writes.on_ended = on_ended
            ids = []
            for _ in range(300):
                ids.append(it.add())
                it.turn()
                await asyncio.sleep(0)
                end_all(it)
            await it.settle()
            end_all(it)
            await it.settle()
            assert early == []
            assert sorted(told) == sorted(ids)

    asyncio.run(story())


def test_settled_does_not_make_a_change_look_written(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            small_windows(it, 4)
            ids = [it.add() for _ in range(5)]
            waits = []
            for _ in range(40):
                it.turn()
                ids += [it.add() for _ in range(3)]
                waits.append(asyncio.ensure_future(it.commits.settled()))
                await asyncio.sleep(0)
            await asyncio.gather(*waits)
            await it.settle()
            got = []
            while entries := it.table.queues.take(Lane.SYNC, 3):
                got += [entry.id for entry in entries]
            assert got == ids

    asyncio.run(story())


def test_what_was_only_looked_at_does_not_stay(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            small_windows(it, 4)
            ids = [it.add() for _ in range(100)]
            await it.settle()
            assert len(it.table.tasks) <= 16
            for id in ids:
                assert it.table.find(id) is not None
            assert len(it.table.tasks) == 100
            await it.settle()
            assert len(it.table.tasks) <= 16
            # A message that is refused leaves nothing behind, either.
            for id in ids:
                entry = it.entry(id)
                it.mailboxes.close(entry)
            await it.settle()
            assert len(it.table.tasks) <= 16

    asyncio.run(story())


def test_nobody_reads_that_a_task_runs_which_may_still_be_taken_back(home: Path):
    async def story() -> None:
        async with room(home, slots=2) as it:
            one, two = it.add(), it.add()
            await it.settle()
            worker = it.workers[0]
            assert set(worker.seat.tasks) == {one, two}

            def on_disk() -> list[tuple[State, int, int | None]]:
                rows = [Record.unpack(id, row) for id, row in it.rows(Table.TASKS)]
                return [(record.state, record.interruptions, record.pid) for record in rows]

            assert on_disk() == [(State.QUEUED, 0, None)] * 2
            consistent(it)
            # One begins; a drain takes back what has not, and interrupts what has.
            assert [assignment.id for assignment in worker.begin(1)] == [one]
            it.dispatcher.stop()
            it.attempts.take_back(worker.seat, Lane.SYNC)
            await it.settle()
            assert on_disk() == [(State.RUNNING, 0, worker.seat.pid), (State.QUEUED, 0, None)]
            consistent(it)
            worker.done(one, Ending.INTERRUPTED)
            await it.settle()
            assert on_disk() == [(State.QUEUED, 1, None), (State.QUEUED, 0, None)]
            consistent(it)

    asyncio.run(story())


def test_what_a_task_reports_shows_that_it_runs(home: Path):
    async def story() -> None:
        async with room(home) as it:
            id = it.add()
            await it.settle()
            (assignment,) = it.workers[0].begin()
            it.workers[0].report(Report.CHECKPOINT, 1, assignment.id, b"state", 0, [])
            await it.settle()
            ((_, row),) = it.rows(Table.TASKS)
            assert Record.unpack(id, row).state is State.RUNNING
            consistent(it)

    asyncio.run(story())
