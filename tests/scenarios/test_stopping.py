"""Cancel always works, timeouts always end, a kill always works: with any code and any other tasks."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stage_tasks as stage
from theatre import PATIENCE, ended, for_many_tests, gone, parked, ready, running, runtime, seen
from understudy import Runtime, TaskCancelled, TaskTimedOut
from understudy.supervisor.linux.processes import has_ended
from waiting import until

#: Seconds after its grace within which everything must have ended.
MARGIN = 1.0
STUBBORN = [
    "spins",
    "holds_the_gil",
    "blocks_in_c",
    "swallows_all",
    "breeds",
    "blocks_the_loop",
    "swallows_cancelled",
]


@pytest.fixture(scope="module")
def rt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with for_many_tests(runtime(tmp_path_factory.mktemp("h") / "home", restarts=1_000)) as made:
        yield made


@pytest.mark.parametrize("name", STUBBORN)
@pytest.mark.parametrize("way", ["cancel", "timeout"])
def test_what_does_not_stop_is_killed(rt: Runtime, tmp_path: Path, name: str, way: str) -> None:
    task = getattr(stage, name)
    (worker,) = ready(rt, 1)
    beside = [stage.neighbour.start(), stage.neighbour.start()]
    waiting = stage.total.start()
    running([*beside, waiting], rt)
    timeout = 0.3 if way == "timeout" else None
    info = task.options(timeout=timeout).start(str(tmp_path))
    seen(tmp_path, "begun")
    begun = time.time()
    if way == "cancel":
        assert info.cancel()
        assert info.cancel(), "asked twice: it has not ended"
    record = info.wait(PATIENCE)
    assert record.state == ("cancelled" if way == "cancel" else "timed_out")
    assert record.attempt == 1
    assert record.ended is not None
    assert record.ended - begun < (timeout or 0) + task.options_in_force.grace + MARGIN
    assert not info.cancel()
    with pytest.raises(TaskCancelled if way == "cancel" else TaskTimedOut):
        info.result(PATIENCE)
    # The other tasks on that worker were interrupted for a reason unrelated to them.
    assert [other.result(PATIENCE) for other in beside] == [[1, 1], [1, 1]]
    waiting.send(5)
    waiting.close()
    assert waiting.result(PATIENCE) == 5
    assert (waiting.status().attempt, waiting.status().interruptions) == (1, 1)
    assert has_ended(worker)
    if name == "breeds":
        gone(int(seen(tmp_path, who)) for who in ("child", "daemon"))


def test_a_cancel_finds_a_task_wherever_it_is(home: Path, tmp_path: Path) -> None:
    with runtime(home, slots=2) as rt:
        ready(rt, 1)
        busy = [stage.working.start(str(tmp_path), f"busy-{n}") for n in range(2)]
        for n in range(2):
            seen(tmp_path, f"busy-{n}")
        child = stage.parked.start()
        cases: dict[str, Any] = {
            "queued": stage.add.start(1, 1),
            "delayed": stage.add.options(delay=3600).start(1, 1),
        }
        for name, info in cases.items():
            assert info.cancel(), name
            assert info.status().state == "cancelled", name
            assert info.status().started is None, name
        (tmp_path / "go").touch()
        ended(busy)
        cases = {
            "receive": stage.total.start(),
            "sleep": stage.parked.start(),
            "result": stage.waits_for.start(child.id),
            "async result": stage.waits_for_async.start(child.id),
            "async receive": stage.total_async.start(),
            "isolated": stage.parked.options(isolate=True).start(),
        }
        parked([*cases.values()], rt)
        before = time.time()
        assert all(info.cancel() for info in cases.values())
        for name, info in cases.items():
            record = info.wait(PATIENCE)
            assert record.state == "cancelled", name
            assert record.ended is not None
            assert record.ended - before < MARGIN, f"{name} was not woken"
        retried = stage.fails.options(retry=5).start("value", 9)
        until(lambda: retried.status().next_attempt, PATIENCE)
        assert retried.cancel()
        assert retried.status().state == "cancelled"
        done = stage.add.start(1, 2)
        assert done.result(PATIENCE) == 3
        assert not done.cancel()
        assert done.status().state == "completed"
        child.cancel()


def test_what_a_cancelled_task_returns_is_kept(rt: Runtime, tmp_path: Path) -> None:
    infos = [stage.obedient.start(), stage.cleans_up_async.start()]
    running(infos, rt)
    thrown = stage.sleeps_async.start(str(tmp_path))
    seen(tmp_path, "begun")
    for info in [*infos, thrown]:
        assert info.cancel()
        with pytest.raises(TaskCancelled):
            info.result(PATIENCE)
    seen(tmp_path, "thrown")
    kept = [rt._reader.result(bytes.fromhex(info.id.replace("-", ""))) for info in infos]
    assert kept == [b"\xa7stopped", b"\xaacleaned up"]


def test_a_cancel_that_races_the_end_agrees_with_its_answer(home: Path) -> None:
    """1,000 times: the result of `cancel`, the final state and the result agree."""
    chance = random.Random(7)
    with runtime(home, workers=2, durability="os") as rt:
        ready(rt, 2)
        for _ in range(10):
            infos = rt.start_many(stage.add, [(n, 1) for n in range(100)])
            order = list(range(100))
            chance.shuffle(order)
            answers = {n: infos[n].cancel() for n in order}
            for n, info in enumerate(infos):
                record = info.wait(PATIENCE)
                assert record.state == ("cancelled" if answers[n] else "completed")
                if answers[n]:
                    with pytest.raises(TaskCancelled):
                        info.result(PATIENCE)
                else:
                    assert info.result(PATIENCE) == n + 1
                assert info.status().state == record.state


def test_a_timeout_that_is_heeded_needs_no_kill(rt: Runtime) -> None:
    (worker,) = ready(rt, 1)
    infos = [
        stage.total.options(timeout=0.2).start(),
        stage.obedient.options(timeout=0.2).start(),
        stage.parked.options(timeout=0.2).start(),
        stage.cleans_up_async.options(timeout=0.2).start(),
        stage.total_async.options(timeout=0.2).start(),
    ]
    for info in infos:
        record = info.wait(PATIENCE)
        assert record.state == "timed_out"
        assert record.error is not None
        assert record.error.type == "Timeout"
        assert record.started is not None
        assert record.ended is not None
        assert 0.15 < record.ended - record.started < 0.2 + MARGIN
    assert rt.run(stage.pid, timeout=PATIENCE) == worker
