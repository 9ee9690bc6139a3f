"""Attempts: handed out, timed, signalled, killed, judged; with workers of paper and a real store."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from room import Puppet, Room, declared, room
from understudy.actors import values
from understudy.actors.attempt.host import Ending
from understudy.actors.box.conf import BOX
from understudy.actors.errors import TaskNotFound
from understudy.actors.ids import new_id
from understudy.actors.state import State
from understudy.actors.task.retry import lineage
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane, Table
from understudy.supervisor.linux.processes import ExitStatus
from understudy.supervisor.rules.pace import UNKNOWN
from understudy.supervisor.wire.messages import Order, Report

ERROR = ("ValueError", "wrong", "Traceback …", [lineage(ValueError)])


async def begun(it: Room, *names: str) -> list[bytes]:
    """Start these tasks and have them begin, known to the supervisor."""
    ids = [it.add(name) for name in names]
    await it.settle()
    for worker in it.workers:
        worker.begin()
        worker.begin(lane=Lane.ASYNC)
    await it.until(lambda: all(it.attempt(id).begun for id in ids))
    return ids


def signals(worker: Puppet) -> list[tuple[Any, ...]]:
    return [frame[1:] for frame in worker.told(Order.SIGNAL)]


def test_a_value_completes(home: Path):
    async def story() -> None:
        async with room(home) as it:
            (id,) = await begun(it, "quick")
            it.workers[0].done(id, value=b"value", seconds=2.0)
            await it.settle()
            record = it.record(id)
            assert (record.state, record.attempt, record.pid) == (State.COMPLETED, 1, None)
            assert record.started is not None
            assert record.ended is not None
            assert record.ended - record.started == pytest.approx(2.0, abs=0.5)
            assert it.rows(Table.RESULTS) == [(id, b"value")]

    asyncio.run(story())


def test_a_task_that_was_seen_and_then_logs_is_written_as_running(home: Path):
    async def story() -> None:
        async with room(home) as it:
            (id,) = await begun(it, "quick")
            it.dispatcher.stop()  # no look at it any more
            it.attempt(id).seen = True
            it.workers[0].report(Report.LOG, id, [(time.time(), "info", "text")])
            await it.settle()
            ((_, row),) = it.rows(Table.TASKS)
            assert Record.unpack(id, row).state is State.RUNNING

    asyncio.run(story())


def test_retries_until_none_are_left(home: Path):
    tasks = {"retried": declared(retry=2)}
    tasks["retried"]["retry"][1] = 0.0  # no delay

    async def story() -> None:
        async with room(home, tasks=tasks) as it:
            id = it.add("retried")
            for attempt in (1, 2, 3):
                await it.settle()
                (assignment,) = it.workers[0].begin()
                assert (assignment.id, assignment.attempt) == (id, attempt)
                it.workers[0].done(id, Ending.ERROR, error=ERROR)
            await it.settle()
            record = it.record(id)
            assert (record.state, record.attempt, record.error) == (State.FAILED, 3, (*ERROR[:3], {}))

    asyncio.run(story())


def test_a_retry_waits_its_delay_and_an_interruption_costs_no_attempt(home: Path):
    async def story() -> None:
        async with room(home) as it:
            (id,) = await begun(it, "retried")
            it.workers[0].done(id, Ending.INTERRUPTED)
            await it.settle()
            (assignment,) = it.workers[0].begin()
            assert (assignment.attempt, assignment.interruptions) == (1, 1)
            it.workers[0].done(id, Ending.RETRY_LATER, error=ERROR, delay=0.05)
            asked = time.time()
            await it.settle()
            record = it.record(id)
            assert record.due is not None
            assert it.workers[0].begin() == []
            again: list[Any] = []
            await it.until(lambda: again.extend(it.workers[0].begin()) or again)
            assert again[0].attempt == 2
            assert time.time() >= asked + 0.04
            assert it.record(id).due is None

    asyncio.run(story())


def test_cancel_of_what_has_not_begun_is_at_once(home: Path):
    async def story() -> None:
        async with room(home, slots=3) as it:
            queued = it.add(due=time.time() + 3600)
            handed = [it.add() for _ in range(3)]
            await it.settle()
            assert len(it.workers[0].seat.tasks) == 3
            assert it.attempts.cancel(queued)
            assert it.attempts.cancel(handed[1])
            assert it.state(queued) is it.state(handed[1]) is State.CANCELLED
            await it.settle()
            # Nothing goes to that worker before it has confirmed the drop; then all but the cancelled one do.
            it.workers[0].read()
            await it.settle()
            assert [a.id for a in it.workers[0].begin()] == [handed[0], handed[2]]
            assert not it.attempts.cancel(queued)
            with pytest.raises(TaskNotFound):
                it.attempts.cancel(new_id())

    asyncio.run(story())


def test_cancel_of_what_runs_signals_and_then_kills(home: Path):
    async def story() -> None:
        async with room(home, tasks={"short": declared(grace=0.01)}) as it:
            one, two = await begun(it, "short", "short")
            assert it.attempts.cancel(one)
            assert it.attempts.cancel(one), "it has not ended yet"
            worker = it.workers[0]
            assert signals(worker) == [(one, "cancel")]
            assert it.state(one) is State.RUNNING
            await it.until(lambda: it.killed)
            assert it.killed == [worker.seat.pid]
            assert not worker.seat.takes(Lane.SYNC)
            assert it.die(worker)
            await it.settle()
            assert it.state(one) is State.CANCELLED
            record = it.record(two)
            assert (record.state, record.interruptions, record.crashes) == (State.QUEUED, 1, 0)

    asyncio.run(story())


@pytest.mark.parametrize("value", [b"value", None])
def test_a_cancelled_task_is_cancelled_whatever_it_returns(home: Path, value: bytes | None):
    async def story() -> None:
        async with room(home) as it:
            (id,) = await begun(it, "quick")
            it.attempts.cancel(id)
            it.workers[0].done(id, value=value)
            await it.settle()
            assert it.state(id) is State.CANCELLED
            assert it.commits.get(Table.RESULTS, id) == value
            assert it.killed == []

    asyncio.run(story())


@pytest.mark.parametrize("by_tree", [False, True])
def test_the_kill_of_a_worker_is_logged_once_with_its_reason(
    home: Path, caplog: pytest.LogCaptureFixture, by_tree: bool
):
    async def story() -> None:
        async with room(home, tasks={"short": declared(grace=0.02)}) as it:
            ids = [it.add("short") for _ in range(2)]
            await it.settle()
            (worker,) = it.workers
            worker.begin()
            it.dispatcher.note_begun()
            for id in ids:
                if by_tree:
                    it.attempts.stop(it.entry(id), 0.03, ends=True)
                else:
                    it.attempts.cancel(id)
            await it.until(lambda: set(worker.seat.condemned) == set(ids))
            (line,) = [record.message for record in caplog.records if "killing worker" in record.message]
            why = (
                "the 0.03 s that its supervision tree gave it"
                if by_tree
                else "its grace of 0.02 s after its cancel"
            )
            assert f"did not stop within {why}: killing worker {worker.seat.pid}" in line

    asyncio.run(story())


def test_a_deadline_signals_and_then_kills_and_counts_as_timed_out(home: Path):
    async def story() -> None:
        async with room(home) as it:
            (id,) = await begun(it, "short")
            worker = it.workers[0]
            await it.until(lambda: signals(worker))
            assert signals(worker) == [(id, "timeout")]
            await it.until(lambda: it.killed)
            it.die(worker)
            await it.settle()
            record = it.record(id)
            assert record.state is State.TIMED_OUT
            assert record.error is not None
            assert record.error[0] == "Timeout"

    asyncio.run(story())


def test_a_value_that_comes_after_the_deadline_acknowledges_no_message(home: Path):
    async def story() -> None:
        async with room(home) as it:
            (id,) = await begun(it, "short")
            it.mailboxes.send([(id, values.pack("precious"))])
            await it.settle()
            await it.until(lambda: signals(it.workers[0]))
            it.workers[0].done(id, value=values.pack("late"), acked=1)
            await it.settle()
            assert it.state(id) is State.TIMED_OUT
            assert len(list(it.rows(Table.MAIL))) == 1

    asyncio.run(story())


def test_a_cancel_during_the_grace_of_a_timeout_wins(home: Path):
    async def story() -> None:
        async with room(home, tasks={"short": declared(timeout=0.01, grace=0.1)}) as it:
            (id,) = await begun(it, "short")
            worker = it.workers[0]
            await it.until(lambda: signals(worker))
            it.attempts.cancel(id)
            assert signals(worker) == [(id, "timeout"), (id, "cancel")]
            await it.until(lambda: it.killed)
            it.die(worker)
            assert it.state(id) is State.CANCELLED

    asyncio.run(story())


def test_a_timeout_that_passes_unseen_is_still_one(home: Path):
    """The code returned after its deadline and before its kill."""

    async def story() -> None:
        async with room(home, tasks={"short": declared(timeout=0.01)}) as it:
            (id,) = await begun(it, "short")
            await it.until(lambda: signals(it.workers[0]))
            it.workers[0].done(id, value=b"late")
            await it.settle()
            assert it.state(id) is State.TIMED_OUT
            assert it.commits.get(Table.RESULTS, id) is None

    asyncio.run(story())


def test_the_clocks_of_an_attempt_end_with_it(home: Path):
    """Or the grace of one attempt would kill the worker of the next."""

    async def story() -> None:
        async with room(home, tasks={"short": declared(timeout=0.01, grace=30.0, retry=3)}) as it:
            (id,) = await begun(it, "short")
            await it.until(lambda: signals(it.workers[0]))
            attempt = it.attempt(id)
            clocks = [attempt.kill, attempt.deadline]
            it.workers[0].done(id, value=b"late")
            assert it.entry(id).queued
            for clock in clocks:
                assert clock is not None
                assert clock.cancelled() or clock.when() <= it.loop.time()
            assert it.record(id).attempt == 2

    asyncio.run(story())


def jump(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the loop find that it is hours later."""
    before = loop.time
    monkeypatch.setattr(loop, "time", lambda: before() + 3 * 3600)


def test_a_timeout_that_runs_out_while_everything_stands_still_starts_anew(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    async def story() -> None:
        async with room(home, tasks={"timed": declared(timeout=3600)}) as it:
            (id,) = await begun(it, "timed")
            before = it.attempt(id).deadline
            assert before is not None
            jump(it.loop, monkeypatch)
            await it.until(lambda: it.attempt(id).deadline is not before)
            after = it.attempt(id).deadline
            assert after is not None
            assert after.when() - it.loop.time() == pytest.approx(3600, abs=30)
            assert signals(it.workers[0]) == []
            # And it is a clock like any other.
            it.workers[0].done(id, value=b"in time")
            assert after.cancelled()
            assert it.state(id) is State.COMPLETED

    asyncio.run(story())


def test_a_timeout_starts_anew_once_only(home: Path, monkeypatch: pytest.MonkeyPatch):
    async def story() -> None:
        async with room(home, tasks={"timed": declared(timeout=3600)}) as it:
            (id,) = await begun(it, "timed")
            before = it.attempt(id).deadline
            jump(it.loop, monkeypatch)
            await it.until(lambda: it.attempt(id).deadline is not before)
            jump(it.loop, monkeypatch)
            await it.until(lambda: signals(it.workers[0]))
            assert signals(it.workers[0]) == [(id, "timeout")]

    asyncio.run(story())


def test_a_grace_that_runs_out_while_everything_stands_still_starts_anew(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    async def story() -> None:
        async with room(home, tasks={"slow": declared(grace=0.5)}) as it:
            (id,) = await begun(it, "slow")
            it.attempts.cancel(id)
            before = it.attempt(id).kill
            jump(it.loop, monkeypatch)
            await it.until(lambda: it.attempt(id).kill is not before)
            assert it.killed == []
            await it.until(lambda: it.killed)
            assert signals(it.workers[0]) == [(id, "cancel")]

    asyncio.run(story())


def test_one_without_a_timeout_has_no_clock(home: Path):
    async def story() -> None:
        async with room(home, tasks={"long": declared(timeout=None)}) as it:
            (id,) = await begun(it, "long")
            assert it.attempt(id).deadline is None

    asyncio.run(story())


def test_a_death_with_one_task_fails_it_with_what_is_known(home: Path):
    async def story() -> None:
        async with room(home, slots=1) as it:
            (id,) = await begun(it, "quick")
            waiting = it.add()
            await it.settle()
            assert it.die(it.workers[0], ExitStatus(code=3))
            await it.settle()
            error = it.record(id).error
            assert error is not None
            assert (it.state(id), error[0], error[3]["exit_code"]) == (State.FAILED, "WorkerDied", 3)
            assert it.state(waiting) is State.QUEUED
            assert it.record(waiting).interruptions == 0

    asyncio.run(story())


def test_suspects_run_alone_until_the_culprit_is_known(home: Path):
    async def story() -> None:
        async with room(home) as it:
            one, two = await begun(it, "quick", "quick")
            assert it.die(it.workers[0])
            await it.settle()
            for id in (one, two):
                record = it.record(id)
                assert (record.state, record.alone, record.crashes, record.interruptions) == (
                    State.QUEUED,
                    True,
                    1,
                    1,
                )
            assert it.pool.wanted
            alone = it.hire(alone=True)
            await it.settle()
            (assignment,) = alone.begin()
            assert assignment.id == one
            alone.done(one)
            assert it.state(one) is State.COMPLETED

    asyncio.run(story())


def test_one_that_kills_its_worker_again_and_again_is_poisoned(home: Path):
    tasks = {"t": declared(isolate=True, retry=9)}
    tasks["t"]["retry"][1] = 0.0

    async def story() -> None:
        async with room(home, tasks=tasks, workers=0, max_crashes=3) as it:
            id = it.add("t")
            for death in (1, 2, 3):
                alone = it.hire(alone=True)
                await it.settle()
                assert len(alone.begin()) == 1, death
                assert it.die(alone)
            await it.settle()
            record = it.record(id)
            assert record.error is not None
            assert (record.state, record.error[0], record.error[3]["crashes"]) == (
                State.FAILED,
                "Poisoned",
                3,
            )

    asyncio.run(story())


def test_the_one_that_works_is_to_blame_not_those_that_wait(home: Path):
    async def story() -> None:
        async with room(home, slots=4) as it:
            works, waits = await begun(it, "quick", "quick")
            it.workers[0].report(Report.PARKED, [waits], [])
            it.die(it.workers[0])
            assert it.state(works) is State.FAILED
            assert it.state(waits) is State.QUEUED
            assert it.record(waits).crashes == 0

    asyncio.run(story())


def test_those_that_all_wait_are_run_alone_only_after_several_deaths(home: Path):
    async def story() -> None:
        async with room(home, slots=4, max_crashes=2) as it:
            ids = await begun(it, "quick", "quick")
            for death in (1, 2):
                worker = it.workers[-1]
                worker.report(Report.PARKED, ids, [])
                it.die(worker)
                assert [it.record(id).crashes for id in ids] == [death, death]
                assert [it.record(id).alone for id in ids] == [death == 2] * 2
                it.hire()
                await it.settle()
                it.workers[-1].begin()

    asyncio.run(story())


def test_a_death_without_tasks_is_not_explained(home: Path):
    async def story() -> None:
        async with room(home) as it:
            await it.settle()
            assert not it.die(it.workers[0])

    asyncio.run(story())


def test_a_worker_that_the_supervisor_stops_interrupts_what_it_had(home: Path):
    async def story() -> None:
        async with room(home) as it:
            (id,) = await begun(it, "quick")
            it.workers[0].seat.retiring = it.workers[0].seat.blameless = True
            assert it.die(it.workers[0])
            record = it.record(id)
            assert (record.state, record.crashes, record.interruptions) == (State.QUEUED, 0, 1)

    asyncio.run(story())


def test_a_death_of_a_worker_that_is_replaced_is_blamed_as_any_other(home: Path):
    async def story() -> None:
        async with room(home) as it:
            (id,) = await begun(it, "quick")
            it.workers[0].seat.retiring = True
            it.die(it.workers[0])
            assert it.record(id).interruptions == 0
            assert it.state(id) is State.FAILED

    asyncio.run(story())


def test_too_much_memory(home: Path):
    limit = 64 << 20

    async def story() -> None:
        async with room(home, tasks={"fat": declared(memory_limit=limit)}, workers=0) as it:
            alone = it.hire(alone=True)
            id = it.add("fat")
            await it.settle()
            alone.begin()
            it.attempts.kill(alone.seat, it.entry(id), "memory")
            assert it.killed == [alone.seat.pid]
            it.die(alone)
            error = it.record(id).error
            assert error is not None
            assert (it.state(id), error[0], error[3]["limit"]) == (State.FAILED, "MemoryLimit", limit)

    asyncio.run(story())


def test_a_cancel_that_was_accepted_stands_when_the_worker_is_killed_for_its_memory(home: Path):
    async def story() -> None:
        async with room(home, tasks={"fat": declared(memory_limit=64 << 20, retry=3)}, workers=0) as it:
            alone = it.hire(alone=True)
            id = it.add("fat")
            await it.settle()
            alone.begin()
            await it.until(lambda: it.attempt(id).begun)
            assert it.attempts.cancel(id)
            it.attempts.kill(alone.seat, it.entry(id), "memory")
            it.die(alone)
            assert it.state(id) is State.CANCELLED

    asyncio.run(story())


def test_progress_logs_and_restore(home: Path):
    async def story() -> None:
        async with room(home) as it:
            (id,) = await begun(it, "quick")
            worker = it.workers[0]
            worker.report(Report.PROGRESS, [(id, 1.0, 2.0, "half"), (new_id(), 1.0, None, "")])
            worker.report(Report.LOG, id, [(1.0, "stdout", "line")])
            worker.report(Report.LOG, new_id(), [(1.0, "stdout", "of nobody")])
            worker.report(Report.RESTORE, 1, id)
            worker.report(Report.CHECKPOINT, 2, id, b"state", 0, [])
            worker.report(Report.RESTORE, 3, id)
            await it.settle()
            assert it.record(id).progress == (1.0, 2.0, "half")
            assert len(it.rows(Table.LOGS)) == 1
            answers = {frame[1]: frame[2] for frame in worker.told(Order.OK)}
            assert answers == {1: None, 2: None, 3: b"state"}
            checkpoint = it.record(id).checkpoint
            assert checkpoint is not None
            assert checkpoint[1] == 5

    asyncio.run(story())


def test_a_request_for_a_task_that_is_over_is_refused(home: Path):
    async def story() -> None:
        async with room(home) as it:
            (id,) = await begun(it, "quick")
            worker = it.workers[0]
            worker.done(id)
            worker.done(id)  # once more: nothing happens
            worker.report(Report.CHECKPOINT, 5, id, b"state", 0, [])
            await it.settle()
            assert [frame[1:3] for frame in worker.told(Order.ERROR)] == [(5, "TaskNotFound")]
            assert it.rows(Table.CHECKPOINTS) == []

    asyncio.run(story())


def test_what_is_told_of_an_attempt_that_went_on_elsewhere_changes_nothing(home: Path):
    """Whoever is given a task is the only one who is believed about it."""

    async def story() -> None:
        async with room(home, workers=2, slots=1) as it:
            (id,) = await begun(it, "retried")
            old, other = sorted(it.workers, key=lambda worker: id not in worker.seat.tasks)
            it.mailboxes.send([(id, b"message")])
            old.done(id, Ending.RETRY_LATER, error=ERROR, delay=0.0)
            # Busy, so that the next attempt goes to the other one.
            old.seat.retiring = True
            await it.settle()
            (assignment,) = other.begin()
            assert (assignment.id, assignment.attempt) == (id, 2)
            old.report(Report.PARKED, [id], [])
            old.report(Report.TAKEN, [(id, 1, 1)])
            old.report(Report.PROGRESS, [(id, 1.0, None, "old")])
            old.report(Report.LOG, id, [(1.0, "stdout", "old")])
            old.report(Report.CHECKPOINT, 7, id, b"old", 1, [[(id, b"letter")]])
            old.done(id, value=b"old", acked=1)
            await it.settle()
            assert [frame[1:3] for frame in old.told(Order.ERROR)] == [(7, "TaskNotFound")]
            assert it.rows(Table.CHECKPOINTS) == it.rows(Table.LOGS) == it.rows(Table.RESULTS) == []
            assert [value for _, value in it.rows(Table.MAIL)] == [b"message"]
            record, entry = it.record(id), it.entry(id)
            assert (record.state, record.attempt, record.progress) == (State.RUNNING, 2, None)
            assert (entry.attempt.seat, entry.parked) == (other.seat, False)
            other.done(id, value=b"new", acked=1)
            await it.settle()
            assert it.rows(Table.RESULTS) == [(id, b"new")]

    asyncio.run(story())


def test_the_pace_follows_what_attempts_take(home: Path):
    async def story() -> None:
        async with room(home) as it:
            paces = [UNKNOWN]
            for seconds in [0.0001] * 40 + [-5.0, 3.0]:
                (id,) = await begun(it, "quick") if seconds > 1 else (it.add(),)
                await it.settle()
                it.workers[0].begin()
                it.workers[0].done(id, seconds=seconds)
                paces.append(it.attempts.paces.of("quick"))
            assert paces[:41] == sorted(paces[:41], reverse=True)
            assert paces[40] < 0.001
            assert paces[41] >= 0, "a clock that was set back makes nothing quicker than quick"
            assert paces[42] > 0.5

    asyncio.run(story())


def test_a_container_task_is_never_to_blame(home: Path):
    """Alone on its worker, beside one that waits, and beside one that works."""

    async def story() -> None:
        async with room(home, workers=0, slots=4) as it:
            left: list[int] = []
            it.attempts.on_left_behind = lambda: left.append(1)
            beside: bytes | None = None
            for name, waits in (("", False), ("quick", True), ("retried", False)):
                ids = [id for id in it.table.tasks if it.record(id).name == BOX] or [it.add(BOX)]
                beside = it.add(name) if name else None
                worker = it.hire()
                await it.settle()
                worker.begin()
                if beside is not None and waits:
                    worker.report(Report.PARKED, [beside], [])
                # Only with a task that may have done it is the death explained.
                assert it.die(worker) is (beside is not None)
                assert (it.state(ids[0]), it.record(ids[0]).crashes) == (State.QUEUED, 0)
                if beside is not None:
                    assert it.record(beside).crashes == 1
                    assert it.state(beside) is State.QUEUED
                    it.attempts.cancel(beside)
            assert it.record(ids[0]).attempt == 1
            assert it.record(ids[0]).interruptions == 3
            assert len(left) == 3
            assert it.attempts.cancel(ids[0])
            assert len(left) == 4, "it stood in line, and its container may go on"

    asyncio.run(story())
