"""The table of live tasks on a real store: what is read back, and every change of a task."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgpack
import pytest

from actors_stage import CLASSES, letter
from room import consistent, declared, room, small_windows
from understudy.actors.attempt.host import Ending
from understudy.actors.ids import new_id
from understudy.actors.state import Event, IllegalTransition, State
from understudy.storage.check import check
from understudy.storage.tables.actor_rows import letter_key
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane, Table, actor_sort, log_key
from understudy.supervisor.tasks.live_actor import LiveActor
from understudy.supervisor.wire.messages import Report


def test_those_read_back_together_keep_their_mail_and_their_logs(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            small_windows(it, 20)
            ids = [it.add() for _ in range(300)]
            await it.settle()
            with_mail, with_log = ids[140], ids[150]
            it.mailboxes.send([(with_mail, b"one"), (with_mail, b"two")])
            it.commits.put(Table.LOGS, log_key(with_log, 1), msgpack.packb([(1.0, "stdout", "earlier")]))
            await it.settle()
            worker, begun = it.hire(), []
            for _ in range(300):
                await it.settle()
                for assignment in worker.begin():
                    begun.append(assignment.id)
                    worker.report(Report.LOG, assignment.id, [(2.0, "stdout", "now")])
                    worker.done(assignment.id)
            assert begun == ids
            assert worker.messages(with_mail) == [(1, b"one"), (2, b"two")]
            await it.settle()
            assert it.rows(Table.MAIL) == []
            logs = [key for key, _ in it.rows(Table.LOGS)]
            assert sorted(logs) == sorted([log_key(with_log, 2), *(log_key(id, 1) for id in ids)])
            assert it.table.tasks == {}

    asyncio.run(story())


def test_actors_that_are_read_together_are_as_those_read_alone(home: Path):
    async def story() -> None:
        async with room(home, tasks=CLASSES, workers=0) as it:
            ids = [new_id() for _ in range(6)]
            bare, with_letters, damaged, ended, _missing, last = ids
            for id in (bare, with_letters, ended, last):
                record = Record(id, "Account", 1.0, id)
                record.actor, record.state = "", State.IDLE
                record.place = int(Lane.IDLE), actor_sort("Account", volatile=False)
                if id == ended:
                    record.ended, record.state, record.place = 2.0, State.COMPLETED, None
                it.commits.put(Table.TASKS, id, record.pack())
            it.commits.put(Table.TASKS, damaged, b"no record")
            it.commits.put(Table.ARGS, bare, b"args")
            for number in (3, 4):
                it.commits.put(Table.ACTORS, letter_key(with_letters, number), letter())
            await it.settle()
            it.table.load_actors([*ids, bare])
            together = {id: it.table.tasks[id] for id in (bare, with_letters, last)}
            assert it.table.tasks == together
            it.table.tasks.clear()
            for id, task in together.items():
                alone = it.table.find(id)
                assert isinstance(task, LiveActor)
                assert isinstance(alone, LiveActor)
                assert (task.args, task.key, task.record.pack()) == (
                    alone.args,
                    alone.key,
                    alone.record.pack(),
                )
                assert (task.box.first, task.box.count, task.box.bytes) == (
                    alone.box.first, alone.box.count, alone.box.bytes,
                )  # fmt: skip
            assert together[with_letters].box.count == 2  # type: ignore[attr-defined]
            it.table.load_actors([])
            for id in (bare, last):
                it.table.tasks.pop(id)
            it.commits.delete(Table.ACTORS, letter_key(with_letters, 3))
            it.commits.delete(Table.ACTORS, letter_key(with_letters, 4))

    asyncio.run(story())


def test_other_options_than_the_last_supervisors(home: Path):
    """Tasks were sync and are async, or alone, or unknown now: each moves to where it belongs, and no row is left."""

    async def before() -> list[bytes]:
        async with room(home, workers=0) as it:
            ids = [
                it.add(name) for name in ("quick", "retried", "async", "alone", "short") for _ in range(10)
            ]
            ids.append(it.add("quick", due=time.time() + 0.01))
            await it.settle()
            return ids

    async def after(ids: list[bytes]) -> None:
        tasks = {
            "quick": declared(is_async=True),
            "retried": declared(isolate=True),
            "async": declared(),
            "alone": declared(priority=9),
        }
        async with room(home, tasks={}, workers=0) as it:
            await it.until(lambda: time.time() > it.record(ids[-1]).created + 0.02)
            for id in ids[::3]:
                it.entry(id)  # looked at before the app has said what it declares
            it.table.declare(tasks)
            lane_of = {
                "quick": Lane.ASYNC,
                "retried": Lane.ALONE,
                "async": Lane.SYNC,
                "alone": Lane.SYNC,
            }
            it.table.release_due(time.time(), 100)
            got: dict[Lane, list[bytes]] = {}
            for _ in range(3):  # a task that moves may move to a lane that was looked at already
                for lane in (Lane.SYNC, Lane.ASYNC, Lane.ALONE):
                    while entries := it.dispatcher._take(lane, 2):
                        got.setdefault(lane, []).extend(entry.id for entry in entries)
            absent = [id for id in ids if it.record(id).name == "short"]
            for id in set(ids) - set(absent):
                assert id in got[lane_of[it.record(id).name]]
            assert sum(map(len, got.values())) == len(ids) - len(absent)
            assert {it.entry(id).lane for id in absent} == {Lane.CODE}
            for found in got.values():
                for id in found:
                    it.table.queues.put_back(it.entry(id))
            await it.settle()
            consistent(it)
        assert check(home).problems == []

    asyncio.run(after(asyncio.run(before())))


def test_options_that_are_none_any_more_do_not_keep_a_task_from_running(home: Path):
    async def story() -> None:
        async with room(home) as it:
            id = it.add(options={"of_a_later_release": 1})
            await it.settle()
            assert it.entry(id).options == it.table.declared.tasks["quick"][0]
            assert [a.id for a in it.workers[0].begin()] == [id]

    asyncio.run(story())


def test_every_change_of_state_goes_by_the_table(home: Path):
    async def story() -> None:
        async with room(home) as it:
            id = it.add()
            entry = it.entry(id)
            with pytest.raises(IllegalTransition):
                it.table.requeue(entry, Event.INTERRUPT)
            assert it.state(id) is State.QUEUED
            it.table.end(entry, Event.CANCEL)
            with pytest.raises(IllegalTransition):
                it.table.end(entry, Event.COMPLETE)
            assert it.table.find(id) is None
            assert it.state(id) is State.CANCELLED

    asyncio.run(story())


def test_the_end_leaves_the_record_and_the_value_and_nothing_else(home: Path):
    async def story() -> None:
        async with room(home) as it:
            id = it.add(args=b"args")
            it.mailboxes.send([(id, b"one"), (id, b"two")])
            await it.settle()
            it.workers[0].begin()
            it.workers[0].done(id, value=b"value")
            await it.settle()
            assert it.rows(Table.MAIL) == it.rows(Table.LIVE) == []
            assert it.commits.get(Table.RESULTS, id) == b"value"
            assert len(it.rows(Table.EXPIRY)) == 1
            assert it.table.tasks == {}

    asyncio.run(story())


def test_the_tries_of_a_task_are_stored_once_they_say_something(home: Path):
    async def story() -> None:
        async with room(home, slots=5) as it:
            names = ("retried", "retried", "retried", "retried", "quick")
            good, bad, again, long, none = (it.add(name) for name in names)
            await it.settle()
            (puppet,) = it.workers
            assert len(puppet.begin()) == 5
            puppet.done(good)
            puppet.done(bad, Ending.FAIL, error=("Fail", "no", "", []))
            puppet.done(again, Ending.ERROR, error=("E", "not yet", "", [["builtins:Exception"]]))
            puppet.done(none, Ending.ERROR, error=("E", "no", "", [["builtins:Exception"]]))
            puppet.report(Report.PROGRESS, [(long, 1.0, None, "")])
            await it.settle()
            stored = {id: Record.unpack(id, row) for id, row in it.rows(Table.TASKS)}
            assert [stored[id].tries for id in (good, bad, again, long, none)] == [1, 3, 3, 3, 1]
            assert [stored[id].attempt for id in (bad, again, long)] == [1, 2, 1]
            assert "tries" not in stored[good].__dict__, "the row of a quick task stays short"

    asyncio.run(story())


# --- an error in one task's change ---


def test_a_fault_in_one_tasks_end_leaves_the_others_alone(home: Path):
    async def story() -> None:
        async with room(home, workers=0, slots=8) as it:
            ids = [it.add() for _ in range(5)]
            await it.settle()
            worker = it.hire()
            await it.settle()
            assert [assignment.id for assignment in worker.begin()] == ids
            odd = ids[2]
            it.entry(odd).record.state = State.CANCELLED  # from which there is no way on
            for id in ids:
                worker.done(id)
            await it.settle()
            assert [it.record(id).state for id in ids if id != odd] == [State.COMPLETED] * 4
            assert not worker.transport.closed
            assert not worker.seat.tasks

    asyncio.run(story())


def test_a_fault_in_one_tasks_row_leaves_the_others_written(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            ids = [it.add() for _ in range(3)]
            await it.settle()
            for id in ids:
                it.entry(id).record.interruptions = 7
                it.table.touch(it.entry(id))
            it.entry(ids[1]).record.progress = (object(), None, "")  # type: ignore[assignment]
            await it.settle()
            stored = {id: Record.unpack(id, row) for id, row in it.rows(Table.TASKS)}
            assert [stored[id].interruptions for id in ids] == [7, 0, 7]

    asyncio.run(story())
