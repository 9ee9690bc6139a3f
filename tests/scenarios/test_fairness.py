"""Waiting holds no slot, and no task waits behind another task's work while a slot is free."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import stage_tasks as stage
from theatre import PATIENCE, ended, ready, runtime, seen
from waiting import until

#: Seconds that a queued task may wait while a slot is free, plus the difference of two processes' clocks.
PROMISE = 0.1
SLACK = 0.15


@pytest.mark.parametrize("waiting", [stage.total, stage.total_async], ids=["sync", "async"])
def test_thousands_that_wait_leave_the_slots_to_those_that_work(home: Path, waiting: object) -> None:
    with runtime(home, workers=2, slots=8, durability="os") as rt:
        infos = rt.start_many(waiting, [()] * 2000)  # type: ignore[arg-type]
        until(lambda: sum(worker["parked"] for worker in rt.tree()["workers"]) == 2000, 40)
        begun = time.monotonic()
        short = rt.start_many(stage.add, [(n, 1) for n in range(1000)])
        assert list(rt.results(short, PATIENCE)) == list(range(1, 1001))
        assert time.monotonic() - begun < 10
        assert sum(worker["parked"] for worker in rt.tree()["workers"]) == 2000
        rt.send_many((info.id, 3) for info in infos)
        for info in infos[::100]:
            info.close()
            assert info.result(PATIENCE) == 3
        assert infos[1].cancel()


@pytest.mark.parametrize("blocker", ["holds_the_gil", "blocks_in_c"])
def test_nobody_waits_behind_a_busy_worker(home: Path, tmp_path: Path, blocker: str) -> None:
    with runtime(home, workers=2, slots=2, durability="os") as rt:
        ready(rt, 2)
        # They are known to be quick: from now on they are handed out ahead.
        ended(rt.start_many(stage.add, [(n, 1) for n in range(500)]))
        free = [stage.working.start(str(tmp_path), "one")]
        seen(tmp_path, "one")
        block = getattr(stage, blocker).options(timeout=None).start(str(tmp_path))
        seen(tmp_path, "begun")
        worst = 0.0
        for _ in range(30):
            info = stage.add.start(1, 1)
            record = info.wait(PATIENCE)
            assert record.started is not None
            worst = max(worst, record.started - record.created)
        infos = rt.start_many(stage.add, [(n, 1) for n in range(300)])
        begun = time.monotonic()
        assert list(rt.results(infos, PATIENCE)) == list(range(1, 301))
        assert time.monotonic() - begun < 5
        assert not block.status().ended_already
        assert worst < PROMISE + SLACK
        (tmp_path / "go").touch()
        ended(free)
        block.cancel()
        assert block.wait(PATIENCE).state == "cancelled"


def test_async_tasks_do_not_wait_behind_a_blocked_event_loop(home: Path, tmp_path: Path) -> None:
    with runtime(home, workers=2, durability="os") as rt:
        ready(rt, 2)
        block = stage.blocks_the_loop.start(str(tmp_path))
        seen(tmp_path, "begun")
        for _ in range(3):
            infos = rt.start_many(stage.add_async, [(n, 1) for n in range(20)])
            assert list(rt.results(infos, PATIENCE)) == list(range(1, 21))
        waits = [record.started - record.created for record in ended(infos) if record.started is not None]
        assert max(waits) < PROMISE + SLACK
        assert rt.run(stage.add, 1, 1, timeout=PATIENCE) == 2
        block.cancel()
        assert block.wait(PATIENCE).state == "cancelled"


def test_a_task_that_is_cancelled_beside_a_blocked_one_does_not_run(home: Path, tmp_path: Path) -> None:
    """Handed out ahead and not begun: it can be taken back although the worker is stuck."""
    with runtime(home, workers=1, slots=1) as rt:
        ready(rt, 1)
        ended(rt.start_many(stage.brief, [(str(tmp_path), f"warm-{n}") for n in range(100)]))
        block = stage.holds_the_gil.start(str(tmp_path))
        seen(tmp_path, "begun")
        infos = rt.start_many(stage.brief, [(str(tmp_path), f"not-{n}") for n in range(20)])
        assert all(info.cancel() for info in infos[::2])
        assert {info.status().state for info in infos[::2]} == {"cancelled"}
        block.cancel()
        assert {record.state for record in ended(infos[1::2])} == {"completed"}
        assert {int(path.name[4:]) % 2 for path in tmp_path.glob("not-*")} == {1}


def test_parents_that_wait_for_children(home: Path) -> None:
    with runtime(home, workers=2, slots=2, durability="os") as rt:
        ready(rt, 2)
        parents = rt.start_many(stage.parent, [(3,)] * 20)
        deep = stage.parent.start(2, 4)
        assert list(rt.results(parents, PATIENCE)) == [6] * 20
        assert deep.result(PATIENCE) == 2**4 * 2
    assert deep.origin_run is None


def test_async_parents_that_wait_for_children(home: Path) -> None:
    with runtime(home, workers=1, async_slots=2, durability="os") as rt:
        ready(rt, 1)
        parents = rt.start_many(stage.parent_async, [(3,)] * 20)
        assert list(rt.results(parents, PATIENCE)) == [6] * 20


def test_priority_before_age(home: Path, tmp_path: Path) -> None:
    with runtime(home, workers=1, slots=1) as rt:
        ready(rt, 1)
        stage.working.start(str(tmp_path), "busy")
        seen(tmp_path, "busy")
        infos = {
            priority: [stage.add.options(priority=priority).start(n, 0) for n in range(3)]
            for priority in (0, -100, 5, 100)
        }
        (tmp_path / "go").touch()
        started = {
            priority: [record.started or 0.0 for record in ended(group)] for priority, group in infos.items()
        }
        order = [started[priority] for priority in (100, 5, 0, -100)]
        assert [sorted(group) for group in order] == order, "equal ones by age"
        in_turn = [moment for group in order for moment in group]
        assert in_turn == sorted(in_turn)
