"""As many schedules as a home may have: the supervisor stays small and idle, and what is due first runs first.

make schedules        # the long form: 100,000 of them, and a minute of idling
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import clock_tasks
from theatre import PATIENCE, ready
from theatre import runtime as stage_runtime
from understudy import InvalidOption, Runtime
from understudy.actors.schedules.definition import Definition
from understudy.storage.check import check
from understudy.storage.store import Store
from understudy.storage.tables import schedule_rows
from understudy.storage.tables.schedule_rows import ScheduleRow
from understudy.storage.tables.schema import Table
from waiting import until

MANY = int(os.environ.get("UNDERSTUDY_SCHEDULES", "10000"))
#: Seconds for which the supervisor is watched as it idles; the long form gives a minute.
SECONDS = float(os.environ.get("UNDERSTUDY_IDLE", "1"))
#: Processor time of one look at the clock at the most, in seconds: what /proc counts in steps of 10 ms.
STEP = 0.02
#: Seconds without work after which the start is over.
QUIET = 0.3
#: The part of a processor that an idle supervisor may take, and bytes that the schedules may.
IDLE = 0.002
MORE = 10 << 20 if MANY == 10_000 else 80 << 20


def fill(home: Path, count: int) -> None:
    """Write so many schedules of a distant time, as `Runtime.schedule` stores them."""
    home.mkdir(mode=0o700)

    def nothing(*_: Any) -> None:
        pass

    store = Store.open(
        home, durability="os", on_commit=nothing, on_trouble=nothing, on_recovered=nothing, on_fatal=nothing
    )
    now = time.time()
    definition = Definition.of(cron="0 0 1 1 *")
    due = definition.first(now)
    assert due is not None
    for number in range(count):
        row = ScheduleRow(f"key-{number:06d}", clock_tasks.add.name, definition.pack(), now, now, due, due)
        store.put(Table.SCHEDULES, schedule_rows.row_key(row.key), row.pack())
        store.put(Table.SCHEDULES, schedule_rows.due_key(due, row.key), b"")
    store.put(Table.SCHEDULES, schedule_rows.COUNT, b"%d" % count)
    assert store.close(60) is None


def runtime(home: Path) -> Runtime:
    return stage_runtime(home, app="clock_tasks", durability="os", schedules=MANY)


def idled(rt: Runtime) -> tuple[int, float]:
    """The memory of the supervisor, and the processor time that it takes as it idles."""
    supervisor = psutil.Process(rt.supervisor_pid)

    def spent() -> float:
        times = supervisor.cpu_times()
        return float(times.user + times.system)

    # The start is over when it has taken no time for a while.
    seen = [-1.0, 0.0]

    def rests() -> bool:
        if (now := spent()) != seen[0]:
            seen[:] = [now, time.monotonic()]
        return time.monotonic() > seen[1] + QUIET

    until(rests, PATIENCE)
    began, end = spent(), time.monotonic() + SECONDS
    until(lambda: time.monotonic() > end, SECONDS + PATIENCE)
    return int(supervisor.memory_info().rss), spent() - began


@pytest.mark.timeout(90 + 2 * SECONDS)
def test_the_most_schedules_of_a_home_cost_little(home: Path, tmp_path: Path) -> None:
    with runtime(tmp_path / "bare") as rt:
        ready(rt, 1)
        rt.run(clock_tasks.add, 1, 2, timeout=PATIENCE)
        bare = psutil.Process(rt.supervisor_pid).memory_info().rss
    fill(home, MANY)
    with runtime(home) as rt:
        ready(rt, 1)
        assert rt.run(clock_tasks.add, 1, 2, timeout=PATIENCE) == 3
        with pytest.raises(InvalidOption, match=f"the limit of this supervisor is {MANY:,}"):
            rt.schedule(clock_tasks.add, 1, 2, after=0)
        memory, spent = idled(rt)
        assert memory - bare <= MORE
        assert spent <= IDLE * SECONDS + STEP
        # One of them is over, so that there is room, and what is due first runs first.
        assert rt.cancel_schedule("key-005000")
        made = rt.schedule(clock_tasks.add, 1, 2, after=0.2)
        until(lambda: rt.schedule_info(made).state == "ended", PATIENCE)
        (run,) = rt.schedule_history(made)
        assert rt.result(run.run_id or "", PATIENCE) == 3
        assert [each.key for each in rt.schedules(limit=2, after="k")] == ["key-000000", "key-000001"]
        assert rt.schedule_info(f"key-{MANY - 1:06d}").state == "active"
    assert check(home).problems == []
