"""The wall clock is set while a supervisor works: forwards, back, by hand, by NTP or at a change of zones.

Times that have to survive a restart follow the wall clock (`delay`, `at`, `keep`), the others the monotonic one
(`timeout`, `grace`, `sleep`): see docs/inside.md, Clocks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clock_tasks
from shim import Shim, shim
from theatre import PATIENCE, parked, ready
from understudy import Runtime, State
from understudy.storage.check import check
from waiting import until

HOUR = 3600


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Shim]:
    with shim(tmp_path) as it:
        yield it


def started(rt: Runtime) -> dict[str, Any]:
    """Tasks in every state of waiting, all of them with a timeout of less than any jump."""
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
    )  # on and back by hand, then as by summer time on a machine whose clock has the zone in it
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
        # What the wall clock says is due, is run, and nothing else is; a clock set back makes it late.
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
        # Noticed at the next thing that happens, or within a minute.
        assert rt.run(clock_tasks.add, 2, 2, timeout=PATIENCE) == 4
        assert (info.result(PATIENCE), at.result(PATIENCE)) == (3, 7)


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
