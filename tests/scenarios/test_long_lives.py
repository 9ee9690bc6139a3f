"""What lasts long: services that crash now and then, parents that wait, messages that outlive their task."""

from __future__ import annotations

from pathlib import Path

import pytest

import long_tasks
from theatre import PATIENCE, running
from understudy import Runtime, State, TaskFailed
from waiting import until


def runtime(home: Path, **settings: object) -> Runtime:
    return Runtime(home, **{"app": "long_tasks", "workers": 1, "drain": 1.0, **settings})  # type: ignore[arg-type]


# --- crashes now and then ---


def test_deaths_long_ago_do_not_poison(home: Path):
    with runtime(home, crash_window=0.2, max_crashes=2) as rt:
        assert rt.run(long_tasks.dies_slowly, 5, 0.3, timeout=2 * PATIENCE) == 6


def test_deaths_within_the_window_poison(home: Path):
    with runtime(home, max_crashes=2) as rt, pytest.raises(TaskFailed, match="died 2 times"):
        rt.run(long_tasks.dies_slowly, 5, 0.0, timeout=PATIENCE)


# --- parents that wait ---


@pytest.mark.parametrize(
    "kind", ["isolated", "limited", "isolated_async", "isolated_in_threads", "isolated_async_in_threads"]
)
def test_parents_with_workers_of_their_own_wait_to_any_depth(home: Path, kind: str):
    with runtime(home, isolated=1, slots=1) as rt:
        assert rt.run(getattr(long_tasks, kind), 6, timeout=2 * PATIENCE) == 6


def test_a_parent_that_works_beside_its_waiting_thread_keeps_its_place(home: Path, tmp_path: Path):
    with runtime(home, isolated=1) as rt:
        parent = rt.start(long_tasks.works_beside_a_waiting_thread, str(tmp_path))
        until(lambda: rt.restore(parent.id), PATIENCE)
        child = rt.restore(parent.id)
        until(lambda: rt.status(child).waits_for == "worker", PATIENCE)
        assert [row["parked"] for row in running([parent], rt)] == [False]
        (tmp_path / "go").touch()
        worked, begun = parent.result(PATIENCE)
        assert begun >= worked


# --- messages that were not read ---


def test_messages_of_a_failed_task_go_to_its_retry(home: Path):
    with runtime(home) as rt:
        info = rt.start(long_tasks.adds_then_fails.options(key="sum"))
        for number in (1, 2, 4, 8):
            info.send(number)
        info.close()
        (Path(home) / "go").touch()
        assert info.wait(PATIENCE).state is State.FAILED
        assert info.status().mailbox_depth == 3
        (Path(home) / "whole").touch()
        again = rt.retry(info.id)
        assert again.result(PATIENCE) == 15, "from the checkpoint, with what came after it, until the close"
        assert rt.start(long_tasks.adds_then_fails.options(key="sum")) == again
        assert info.status().mailbox_depth == 3


def test_messages_of_a_task_cancelled_in_the_queue_stay_till_it_is_pruned(home: Path):
    with runtime(home) as rt:
        info = rt.start(long_tasks.adds_then_fails.options(delay=3600))
        info.send(5)
        assert info.cancel()
        assert info.status().mailbox_depth == 1
        for name in ("go", "whole"):
            (Path(home) / name).touch()
        again = rt.retry(info.id, from_scratch=True)
        again.close()
        assert again.result(PATIENCE) == 5
        rt.prune(all=True)
        assert rt.list() == []


def test_a_key_whose_task_has_ended_starts_anew_by_choice(home: Path):
    with runtime(home) as rt:
        keyed = long_tasks.fails.options(key="job")
        first = rt.start(keyed)
        with pytest.raises(TaskFailed):
            first.result(PATIENCE)
        assert rt.start(keyed) == first
        second = rt.start(long_tasks.fails.options(key="job", on_ended="start", delay=3600))
        assert second != first
        assert rt.start(long_tasks.fails.options(key="job", on_ended="start")) == second, "it has not ended"
        assert rt.start(keyed) == second
        assert second.cancel()
