"""The book on a real store: lines longer than memory, one write per commit, nothing told before it is on disk."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgpack
import pytest

from room import Room, declared, room
from understudy.actors.attempt.host import Ending
from understudy.actors.ids import new_id
from understudy.actors.state import Event, IllegalTransition, State
from understudy.storage.check import check
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane, Table, live_id, live_key, live_lane, log_key
from understudy.supervisor.tasks import task_table as book_module
from understudy.supervisor.tasks.live_task import LiveTask
from understudy.supervisor.wire.messages import Report


def small_windows(it: Room, window: int) -> None:
    for line in it.table.queues.values():
        line._window = window


def lanes(it: Room) -> Counter[Lane]:
    return Counter(live_lane(key) for key, _ in it.rows(Table.LIVE))


def consistent(it: Room) -> None:
    """Each live task has one live row, where its record says, and no other row is there."""
    rows = [key for key, _ in it.rows(Table.LIVE)]
    records = [Record.unpack(id, row) for id, row in it.rows(Table.TASKS)]
    assert sorted(rows) == sorted(live_key(*r.place, r.id) for r in records if r.place is not None)
    assert all((r.place is None) == r.terminal for r in records)


def end_all(it: Room) -> None:
    for puppet in it.workers:
        for assignment in puppet.begin():
            puppet.done(assignment.id)


def test_fifty_thousand_queued_tasks_stay_on_disk_and_run_in_order(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            small_windows(it, 1_000)
            ids = [it.add() for _ in range(50_000)]
            await it.settle()
            assert len(it.table.tasks) <= 2_100, "what is queued costs disk, not memory"
            assert it.commits.store.count(Table.LIVE) == 50_000
            first = it.hire()
            begun: list[bytes] = []
            for _ in range(400):
                await it.settle()
                for assignment in first.begin():
                    begun.append(assignment.id)
                    first.done(assignment.id)
                assert len(it.table.tasks) <= 4_000
            assert begun == ids[: len(begun)]
            assert len(begun) > 2_000
            consistent(it)

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
            puppet.done(again, Ending.ERROR, error=("E", "not yet", "", ["builtins:Exception"]))
            puppet.done(none, Ending.ERROR, error=("E", "no", "", ["builtins:Exception"]))
            puppet.report(Report.PROGRESS, [(long, 1.0, None, "")])
            await it.settle()
            stored = {id: Record.unpack(id, row) for id, row in it.rows(Table.TASKS)}
            assert [stored[id].tries for id in (good, bad, again, long, none)] == [1, 3, 3, 3, 1]
            assert [stored[id].attempt for id in (bad, again, long)] == [1, 2, 1]
            assert "tries" not in stored[good].__dict__, "the row of a quick task stays short"

    asyncio.run(story())


def test_every_spilled_task_runs_once_while_others_come_and_go(home: Path):
    async def story() -> None:
        async with room(home, workers=2, slots=4) as it:
            small_windows(it, 20)
            expected: set[bytes] = set()
            begun: list[bytes] = []
            cancelled: set[bytes] = set()
            for turn in range(60):
                new = [
                    it.add("retried" if n % 3 else "quick", options={"priority": n % 5}) for n in range(20)
                ]
                expected.update(new)
                if turn % 5 == 0:
                    victim = new[7]
                    assert it.attempts.cancel(victim)
                    cancelled.add(victim)
                await asyncio.sleep(0)
                for puppet in it.workers:
                    for assignment in puppet.begin(3):
                        begun.append(assignment.id)
                        puppet.done(assignment.id)
            while len(begun) < len(expected) - len(cancelled):
                await it.settle()
                before = len(begun)
                for puppet in it.workers:
                    for assignment in puppet.begin():
                        begun.append(assignment.id)
                        puppet.done(assignment.id)
                assert len(begun) > before, "tasks are lost in their line"
            await it.settle()
            assert len(begun) == len(set(begun))
            assert set(begun) == expected - cancelled
            assert it.table.tasks == {}
            consistent(it)

    asyncio.run(story())


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
            assert worker.letters(with_mail) == [(1, b"one"), (2, b"two")]
            await it.settle()
            assert it.rows(Table.MAIL) == []
            logs = [key for key, _ in it.rows(Table.LOGS)]
            assert sorted(logs) == sorted([log_key(with_log, 2), *(log_key(id, 1) for id in ids)])
            assert it.table.tasks == {}

    asyncio.run(story())


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

            it.table.on_ended = on_ended
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
            while entries := it.table.take(Lane.SYNC, 3):
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


def test_a_delayed_task_stands_apart_until_it_is_due(home: Path):
    async def story() -> None:
        async with room(home) as it:
            now = time.time()
            later, soon, at_once = it.add(due=now + 3600), it.add(due=now + 0.05), it.add()
            await it.settle()
            assert lanes(it)[Lane.DELAYED] == 2
            assert [a.id for a in it.workers[0].begin()] == [at_once]
            await it.until(lambda: [a.id for a in it.workers[0].begin()] == [soon])
            assert time.time() >= now + 0.05
            assert it.state(later) is State.QUEUED
            await it.settle()
            consistent(it)

    asyncio.run(story())


def test_many_that_become_due_at_once_are_released_in_steps(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            it.dispatcher.stop()
            due = time.time() + 3600
            ids = [it.add(due=due - 1) for _ in range(2_500)]
            assert it.table.release_due(due - 2, 1_000) == 0
            assert it.table.release_due(due, 1_000) == 1_000
            assert it.table.release_due(due, 1_000) == 1_000
            assert it.table.release_due(due, 1_000) == 500
            assert it.table.next_due() is None
            await it.settle()
            assert lanes(it) == {Lane.SYNC: 2_500}
            assert {live_id(key) for key, _ in it.rows(Table.LIVE)} == set(ids)

    asyncio.run(story())


def test_a_far_time_is_never_and_no_error(home: Path):
    async def story() -> None:
        async with room(home, tasks={"kept": declared(keep=1.7e308)}) as it:
            id = it.add("kept", due=1e300)
            await it.settle()
            assert it.table.next_due() is not None
            assert it.attempts.cancel(id)
            await it.settle()
            assert it.state(id) is State.CANCELLED
            assert await it.service.prune(time.time() + 1e9) == 0
            assert await it.service.prune(float("inf")) == 0  # its time is the last one there is

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
                "short": Lane.SYNC,
            }
            it.table.release_due(time.time(), 100)
            got: dict[Lane, list[bytes]] = {}
            for _ in range(3):  # a task that moves may move to a lane that was looked at already
                for lane in (Lane.SYNC, Lane.ASYNC, Lane.ALONE):
                    while entries := it.dispatcher._take(lane, 2):
                        got.setdefault(lane, []).extend(entry.id for entry in entries)
            for id in ids:
                assert id in got[lane_of[it.record(id).name]]
            assert sum(map(len, got.values())) == len(ids)
            for lane, found in got.items():
                for id in found:
                    it.table.put_back(lane, it.entry(id))
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


@pytest.mark.parametrize("with_record", [False, True])
def test_a_row_that_belongs_to_no_task_does_not_stop_the_line(home: Path, with_record: bool, caplog: Any):
    """Damage: live rows of a task that is not there, or that stands elsewhere."""

    async def before() -> bytes:
        async with room(home, workers=0) as it:
            id = it.add() if with_record else new_id()
            for lane in (Lane.SYNC, Lane.DELAYED, Lane.RUNNING):
                it.commits.put(Table.LIVE, live_key(lane, 1, id), b"")
            await it.settle()
            return id

    async def after(damaged: bytes) -> None:
        async with room(home) as it:
            assert it.attempts.recover() == 0
            id = it.add()
            await it.settle()
            begun = [a.id for a in it.workers[0].begin()]
            assert begun == ([damaged, id] if with_record else [id])
            for one in begun:
                it.workers[0].done(one)
            await it.settle()
            assert "belongs to no task" in caplog.text
            if not with_record:
                assert it.rows(Table.LIVE) == []

    asyncio.run(after(asyncio.run(before())))


def test_what_was_running_is_queued_again_by_the_next_supervisor(home: Path):
    async def before() -> tuple[bytes, bytes, bytes]:
        async with room(home, slots=4) as it:
            running, cancelled, waiting = it.add(), it.add(), it.add()
            await it.settle()
            it.workers[0].begin(2)
            await it.until(lambda: it.attempt(running).begun and it.attempt(cancelled).begun)
            it.attempts.cancel(cancelled)
            await it.settle()
            assert lanes(it)[Lane.RUNNING] >= 2
            return running, cancelled, waiting

    async def after(running: bytes, cancelled: bytes, waiting: bytes) -> None:
        async with room(home, workers=0) as it:
            it.attempts.recover()
            await it.settle()
            record = it.record(running)
            assert (record.state, record.interruptions, record.attempt, record.pid) == (
                State.QUEUED,
                1,
                1,
                None,
            )
            assert it.state(cancelled) is State.CANCELLED, "its cancel was accepted and stands"
            assert it.state(waiting) is State.QUEUED
            assert lanes(it) == {Lane.SYNC: 2}
            consistent(it)

    asyncio.run(after(*asyncio.run(before())))


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


def test_every_lane_is_a_line_or_runs():
    assert {*book_module.READY, Lane.DELAYED, Lane.RUNNING} == set(Lane)
