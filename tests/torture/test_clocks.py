"""The wall clock is set while a supervisor works: forwards and back, by hand, by NTP or by a change of zones.

Times that must survive a restart follow the wall clock (`delay`, `at`, `keep`). The others follow the
monotonic clock (`timeout`, `grace`, `sleep`). See docs/inside.md, Clocks.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import clock_tasks
import limit_tasks
from money import Bell
from puppets import end, program, said
from shim import Shim, shim
from theatre import PATIENCE, cookie, parked, processes_of, ready, running, serving
from understudy import Runtime, State
from understudy.storage.check import check
from understudy.storage.reader import Reader
from understudy.supervisor.rules.due import SUPERSEDED
from understudy.supervisor.rules.pauses import PAUSE
from understudy.testing import kill_supervisor
from waiting import until

HOUR = 3600
#: Seconds of the clocks that run during the freeze: more than the time to get there.
LITTLE = 3.0


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Shim]:
    with shim(tmp_path) as it:
        yield it


def started(rt: Runtime) -> dict[str, Any]:
    """Tasks in every state of waiting, all with a timeout shorter than any jump."""
    timed = {"timeout": 600, "grace": 60}
    return {
        "receiving": rt.start(clock_tasks.total.options(**timed)),
        "sleeping": rt.start(clock_tasks.naps.options(**timed), 0.3),
        "async": rt.start(clock_tasks.naps_async.options(**timed), 0.3),
        "retried": rt.start(clock_tasks.fails_once.options(retry=1, **timed)),
        "delayed": rt.start(clock_tasks.add.options(delay=2 * HOUR, **timed), 1, 2),
    }


def test_a_jump_times_nothing_out_and_leaves_nothing_stuck(home: Path, clock: Shim):
    jumps = (
        6,
        -6,
        1,
        2,
        1,
    )  # forwards and back by hand, then as by summer time on a machine whose clock is in local time
    with Runtime(home, app="clock_tasks", workers=2, drain=1.0) as rt:
        ready(rt, 2)
        every = [started(rt)]
        parked([every[0]["receiving"]], rt)
        for jump in jumps:
            clock.set_clock(jump * HOUR)
            every.append(started(rt))
            assert rt.run(clock_tasks.add.options(timeout=PATIENCE), 1, 2, timeout=PATIENCE) == 3
        for tasks in every:
            rt.send(tasks["receiving"].id, 5)
            tasks["receiving"].close()
            assert tasks["receiving"].result(PATIENCE) == 5
            assert tasks["sleeping"].result(PATIENCE) >= 0.3
            assert tasks["async"].result(PATIENCE) >= 0.3
        # Only tasks that are due by the wall clock run; a clock set back makes them late.
        clock.set_clock(20 * HOUR)
        assert rt.run(clock_tasks.add, 2, 2, timeout=PATIENCE) == 4
        for tasks in every:
            assert tasks["delayed"].result(PATIENCE) == 3
            assert tasks["retried"].result(PATIENCE) == "at last"
        clock.set_clock(0)
        records = rt.list(limit=100)
        assert {record.state for record in records} == {State.COMPLETED}
        assert all(record.interruptions == 0 for record in records)
        assert {record.attempt for record in records} <= {1, 2}
    assert check(home).problems == []


def test_delays_follow_the_wall_clock(home: Path, clock: Shim):
    with Runtime(home, app="clock_tasks", workers=1, drain=1.0) as rt:
        info = rt.start(clock_tasks.add.options(delay=HOUR), 1, 2)
        at = rt.start(clock_tasks.add.options(at=time.time() + HOUR), 3, 4)
        clock.set_clock(HOUR - 60)
        assert rt.run(clock_tasks.add, 2, 2, timeout=PATIENCE) == 4
        assert info.status().state is State.QUEUED
        clock.set_clock(HOUR + 1)
        # The supervisor notices at the next event, or within seconds.
        assert rt.run(clock_tasks.add, 2, 2, timeout=PATIENCE) == 4
        assert (info.result(PATIENCE), at.result(PATIENCE)) == (3, 7)


def test_reminders_follow_the_wall_clock_through_a_drain(home: Path, clock: Shim):
    def ring(rt: Runtime) -> list[str]:
        bell = rt.actor(Bell, "bell")
        # The supervisor notices a set clock at the next event, or within seconds.
        return sorted(bell.call(Bell.heard))

    with Runtime(home, app="money", workers=1, drain=1.0) as rt:
        bell = rt.actor(Bell, "bell")
        bell.call(Bell.plan, "once", HOUR, None)
        bell.call(Bell.plan, "hourly", HOUR, HOUR)
        clock.set_clock(-HOUR)
        assert ring(rt) == []
        clock.set_clock(HOUR - 60)
        assert ring(rt) == []
        clock.set_clock(HOUR + 1)
        until(lambda: ring(rt) == ["hourly", "once"], PATIENCE)
    # Missed periods arrive once.
    clock.set_clock(5 * HOUR + 2)
    with Runtime(home, app="money", workers=1, drain=1.0) as rt:
        until(lambda: ring(rt) == ["hourly", "hourly", "once"], PATIENCE)


def test_limits_hold_while_the_clock_is_set_and_supervisors_die(home: Path, tmp_path: Path, clock: Shim):
    folder = str(tmp_path)
    with Runtime(home, app="limit_tasks", workers=2, drain=1.0, restarts=50) as rt:
        rated = rt.start_many(limit_tasks.five, [(folder,)] * 22)
        placed = rt.start_many(limit_tasks.placed, [(folder, f"k{number % 10}") for number in range(500)])
        placed += rt.start_many(
            limit_tasks.placed_async, [(folder, f"k{number % 10}") for number in range(100)]
        )
        for number, hours in enumerate((5, -5, 3, 0), 1):
            until(lambda n=number: len(limit_tasks.begins(limit_tasks.lines(tmp_path))) >= 5 * n, PATIENCE)
            clock.set_clock(hours * HOUR)
            if number % 2:
                kill_supervisor(rt)
            else:
                os.kill(rt.tree()["workers"][0]["pid"], signal.SIGKILL)
        for info in (*rated, *placed):
            assert info.wait(PATIENCE).state is State.COMPLETED
        assert {(info.used, info.waiting) for info in rt.limits()} == {(0, 0)}
    notes = limit_tasks.lines(tmp_path)
    assert [line for line in notes if line[0] == "!"] == [], "one too many at once"
    begins = limit_tasks.begins(notes)
    for first, at in enumerate(begins):
        assert sum(1 for other in begins[first:] if other < at + 1) <= 5
    clock.set_clock(0)
    assert check(home).problems == []


@pytest.mark.parametrize("hours", [5, -5])
def test_a_window_is_as_long_as_it_says_though_the_clock_is_set_between_two_supervisors(
    home: Path, tmp_path: Path, clock: Shim, hours: int
):
    folder = str(tmp_path)
    with Runtime(home, app="limit_tasks", workers=1, drain=1.0) as rt:
        begun = time.monotonic()
        for info in rt.start_many(limit_tasks.seldom, [(folder,)] * 2):
            info.wait(PATIENCE)
    clock.set_clock(hours * HOUR)
    with Runtime(home, app="limit_tasks", workers=1, drain=1.0) as rt:
        third = rt.start(limit_tasks.seldom, folder)
        assert rt.run(limit_tasks.free, 7, timeout=PATIENCE) == 7
        limit = rt.limit_of(third)
        assert limit is not None
        assert limit.opens is not None
        # The first two have begun since `begun`, and nothing of their window was lost or added.
        assert 600 - (time.monotonic() - begun) - 1 <= limit.opens <= 601
        assert third.status().waits_for == "limit"
        third.cancel()
    assert len(limit_tasks.begins(limit_tasks.lines(tmp_path))) == 2
    clock.set_clock(0)
    assert check(home).problems == []


def test_a_timeout_follows_the_monotonic_clock(home: Path, clock: Shim):
    with Runtime(home, app="clock_tasks", workers=1, drain=1.0) as rt:
        info = rt.start(clock_tasks.total.options(timeout=0.5, grace=5))
        until(lambda: info.status().state is State.RUNNING, PATIENCE)
        clock.set_clock(-5 * HOUR)
        begin = time.monotonic()
        assert info.wait(PATIENCE).state is State.TIMED_OUT
        assert time.monotonic() - begin < 5


def test_ended_tasks_are_kept_by_the_wall_clock_and_ids_stay_unique(home: Path, clock: Shim):
    with Runtime(home, app="clock_tasks", workers=1, drain=1.0) as rt:
        kept = rt.start(clock_tasks.add.options(keep=2 * HOUR), 1, 2)
        assert kept.result(PATIENCE) == 3
        clock.set_clock(-HOUR)
        older = [rt.start(clock_tasks.add.options(keep=HOUR / 2), n, 0) for n in range(20)]
        assert [info.result(PATIENCE) for info in older] == list(range(20))
        assert len({info.id for info in older}) == 20
        assert rt.prune() == 0
        clock.set_clock(HOUR)
        assert rt.prune() == 20
        assert kept.status().state is State.COMPLETED
        clock.set_clock(3 * HOUR)
        assert rt.prune() >= 1


#: A client that waits, and is frozen with all other processes.
WAITS = """
import json
from understudy import Runtime

home, ids = json.loads(sys.argv[1])
with Runtime.connect(home) as rt:
    print(["waits"], flush=True)
    print([*rt.results(ids)], flush=True)
"""


def _state(pid: int) -> str:
    return (
        Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    )


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    """None of these processes runs inside the block."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        until(lambda: {_state(pid) for pid in pids} == {"T"}, PATIENCE)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def waiting(rt: Runtime, folder: Path) -> dict[str, Any]:
    """Tasks that wait for a time, for a message or for the test."""
    tasks = {
        "retried": rt.start(clock_tasks.fails_once.options(retry=1), HOUR),
        "delayed": rt.start(clock_tasks.add.options(delay=HOUR), 1, 2),
        # It has its own worker, which is checked ten times a second.
        "measured": rt.start(clock_tasks.total.options(memory_limit=1 << 30, timeout=600)),
        "cancelled": rt.start(clock_tasks.winds_up.options(grace=LITTLE), str(folder / "go")),
    }
    until(lambda: tasks["retried"].status().error, PATIENCE)
    parked([tasks["measured"]], rt)
    running([tasks["cancelled"]], rt)
    return tasks


def with_little_time(rt: Runtime) -> dict[str, Any]:
    """Tasks whose clocks run and have `LITTLE` left."""
    little = {"timeout": LITTLE, "grace": 60}
    tasks = {
        "receiving": rt.start(clock_tasks.total.options(**little)),
        "async": rt.start(clock_tasks.total_async.options(**little)),
        "listening": rt.start(clock_tasks.listens, LITTLE),
        "sleeping": rt.start(clock_tasks.naps, 1.0),
    }
    until(lambda: all(tasks[n].status().state is State.RUNNING for n in ("receiving", "async")), PATIENCE)
    parked([tasks["receiving"], tasks["async"], tasks["listening"]], rt)
    return tasks


@contextmanager
def client_of(home: Path, *infos: Any) -> Iterator[Any]:
    """A client that waits for these, in a process of its own."""
    client = program(WAITS, json.dumps([str(home), [info.id for info in infos]]))
    try:
        assert said(client) == ["waits"]
        yield client
    finally:
        end(client)


@pytest.mark.parametrize("clock_stands_still", [True, False], ids=["suspended", "paused"])
def test_nobody_is_blamed_for_time_in_which_everything_was_frozen(
    home: Path, tmp_path: Path, clock: Shim, clock_stands_still: bool
):
    """Suspended: the machine slept and its monotonic clock stood still. Paused: that clock went on.

    The wall clock is hours ahead afterwards.
    """
    with ExitStack() as stack:
        supervisor = stack.enter_context(serving(home, "clock_tasks", workers=2))
        assert said(supervisor) == ["ready"]
        rt = stack.enter_context(Runtime.connect(home))
        workers = ready(rt, 2)
        tasks = waiting(rt, tmp_path)
        with client_of(home, tasks["measured"], tasks["delayed"]) as client:
            everybody = [supervisor.pid, client.pid, *processes_of(cookie(rt))]
            assert {*workers} < {*everybody}
            tasks |= with_little_time(rt)
            assert tasks["cancelled"].cancel()
            until((tmp_path / "go.cancelled").exists, PATIENCE)
            begin = time.monotonic()
            with frozen(everybody):
                clock.set_clock(2 * HOUR)
                # Later than every one of these clocks, by more than the delay of a busy machine.
                until(lambda: time.monotonic() > begin + LITTLE + PAUSE + 0.2, 2 * LITTLE + PATIENCE)
                if clock_stands_still:
                    clock.hold_back(time.monotonic() - begin)
            rt.send_many((tasks[name].id, 5) for name in ("receiving", "async", "measured"))
            if clock_stands_still:
                rt.send(tasks["listening"].id, 5)
            (tmp_path / "go").touch()
            for name in ("receiving", "async", "measured"):
                tasks[name].close()
                assert tasks[name].result(PATIENCE) == 5, name
            assert tasks["cancelled"].wait(PATIENCE).state is State.CANCELLED
            assert tasks["listening"].result(PATIENCE) == ("5" if clock_stands_still else "nothing")
            assert tasks["sleeping"].result(PATIENCE) >= 1.0
            # Due by the wall clock.
            assert tasks["delayed"].result(PATIENCE) == 3
            assert tasks["retried"].result(PATIENCE) == "at last"
            assert said(client) == [5, 3]
        assert ready(rt, 2) == workers
        records = {record.id: record for record in rt.list(limit=100)}
        assert {records[info.id].interruptions for info in tasks.values()} == {0}
        assert {name for name, info in tasks.items() if records[info.id].attempt > 1} == {"retried"}
    assert check(home).problems == []


def assert_once_each(home: Path, key: str, every: float) -> list[str | None]:
    """Each occurrence from the first to the last is told once, as a run that ends or as a skip; why it was skipped."""
    with Reader(home) as reader:
        entries = [entry for _, entry in reader.schedule_history(key, None)][::-1]
        times = [entry.scheduled_at for entry in entries]
        assert times == pytest.approx([times[0] + every * number for number in range(len(times))])
        runs = [entry.run for entry in entries if entry.run is not None]
        assert len(set(runs)) == len(runs)
        records = [record for record in reader.records(limit=None) if record.kind == "schedule"]
        mine = [record for record in records if (record.trigger or {}).get("schedule") == key]
        assert {record.id for record in mine} == set(runs)
        assert {record.state for record in mine} == {State.COMPLETED}
        return [entry.reason for entry in entries]


def test_schedules_follow_the_wall_clock_by_hours_both_ways(home: Path, clock: Shim):
    options: dict[str, Any] = {"overlap": "allow", "missed": "all"}
    with Runtime(home, app="clock_tasks", workers=1, drain=1.0) as rt:
        rt.schedule(clock_tasks.add, 1, 2, cron="0 * * * *", key="cron", **options)
        rt.schedule(clock_tasks.add, 1, 2, every=HOUR, key="every", **options)
        rt.schedule(clock_tasks.add, 1, 2, every=HOUR, key="last", overlap="allow")
        rt.schedule(clock_tasks.add, 1, 2, after=1000 * HOUR, key="far")
        now = time.time()
        for hours in (1, 5, 2, -3, 4, 6):
            clock.set_clock(hours * HOUR)
            # The supervisor notices at the next request about schedules, or within seconds.
            rt.resume_schedule("far")
            latest = now + max(hours, 0) * HOUR
            for key in ("cron", "every", "last"):
                until(lambda key=key, latest=latest: (rt.schedule_info(key).next or 0.0) > latest, PATIENCE)
        clock.set_clock(0)
        for key in ("cron", "every", "last"):
            for each in rt.schedule_history(key):
                assert each.run_id is None or rt.wait(each.run_id, PATIENCE).state is State.COMPLETED
    assert check(home).problems == []
    for key in ("cron", "every"):
        assert set(assert_once_each(home, key, HOUR)) == {None}
    assert set(assert_once_each(home, "last", HOUR)) == {None, SUPERSEDED}


def test_hourly_jobs_outlive_restarts_every_minute(home: Path, clock: Shim):
    """Two hours, of which the minutes around each full hour are lived: each has a supervisor of its own."""
    now = time.time()
    to_hour = HOUR - now % HOUR
    minutes = [hour * 60 + minute for hour in (0, 1) for minute in (-1, 0, 1)]
    with Runtime(home, app="clock_tasks", workers=1, drain=1.0) as rt:
        rt.schedule(clock_tasks.add, 1, 2, cron="@hourly", key="hourly")
        rt.schedule(clock_tasks.add, 1, 2, every=HOUR, start=now + to_hour, key="interval")
    for number, minute in enumerate(minutes):
        ahead = int(to_hour + 60 * minute) + 1
        clock.set_clock(ahead)
        dies = number % 2 == 0
        with Runtime(home, app="clock_tasks", workers=1, drain=1.0, restarts=10) as rt:
            rt.ping()
            if dies:
                pid = rt.supervisor_pid
                os.kill(pid, signal.SIGKILL)
                until(lambda rt=rt, pid=pid: rt.supervisor_pid != pid, PATIENCE)
            for key in ("hourly", "interval"):
                # This process has the clock that was not set.
                lived = now + ahead
                until(
                    lambda rt=rt, key=key, lived=lived: (rt.schedule_info(key).next or 0.0) > lived, PATIENCE
                )
                for each in rt.schedule_history(key):
                    assert rt.result(each.run_id or "", PATIENCE) == 3
    clock.set_clock(0)
    assert check(home).problems == []
    for key in ("hourly", "interval"):
        assert assert_once_each(home, key, HOUR) == [None, None]
