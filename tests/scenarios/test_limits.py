"""Limits over the whole host, by what tasks saw themselves, under kills of workers and supervisors."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import clock_tasks
import limit_tasks as tasks
from theatre import PATIENCE, runtime
from understudy import Rate, Runtime, State
from understudy.storage.check import check
from understudy.testing import kill_supervisor, kill_worker
from waiting import until


def most_at_once(notes: list[list[str]]) -> Counter[str]:
    """The most attempts of each name that were under way at once."""
    alive: dict[str, Counter[str]] = {}
    most: Counter[str] = Counter()
    for what, name, *rest in notes:
        pids = alive.setdefault(name, Counter())
        pids[rest[0]] += 1 if what == "+" else -1
        most[name] = max(most[name], pids.total())
    return most


def test_a_thousand_keys(home: Path, tmp_path: Path):
    with runtime(home, app="limit_tasks", workers=2) as rt:
        keys = [f"k{n % 1000}" for n in range(3_000)]
        infos = rt.start_many(tasks.keyed, [(str(tmp_path), key) for key in keys])
        infos += rt.start_many(tasks.keyed_async, [(str(tmp_path), key) for key in keys])
        assert list(rt.results(infos, timeout=PATIENCE)) == keys * 2
        assert rt.limits()[0].used == 0
    most = most_at_once(tasks.lines(tmp_path))
    assert len(most) == 1000
    assert max(most.values()) <= 2


def test_no_place_is_lost_with_a_worker(home: Path, tmp_path: Path):
    with runtime(home, app="limit_tasks", workers=2) as rt:
        infos = [rt.start(tasks.one, str(tmp_path), n < 3) for n in range(6)]
        killed: list[float] = []
        for number in range(3):
            until(lambda n=number: len(tasks.begins(tasks.lines(tmp_path))) > n, PATIENCE)
            running = until(
                lambda: next((info for info in infos if info.status().worker_pid), None), PATIENCE
            )
            killed.append(time.monotonic())
            kill_worker(running)
            running.cancel()
        for info in infos[3:]:
            info.wait(timeout=PATIENCE)
    notes = tasks.lines(tmp_path)
    begins = tasks.begins(notes)
    assert all(at < begins[number + 1] for number, at in enumerate(killed))
    behind = next(number for number, line in enumerate(notes) if line[0] == "-")
    assert most_at_once(notes[behind - 1 :])["one"] == 1


def test_limits_hold_over_the_death_of_supervisors(home: Path, tmp_path: Path):
    with runtime(home, app="limit_tasks", workers=2) as rt:
        infos = rt.start_many(tasks.five, [(str(tmp_path),) for _ in range(18)])
        for begun in (2, 7, 12):
            until(lambda n=begun: len(tasks.begins(tasks.lines(tmp_path))) > n, PATIENCE)
            kill_supervisor(rt)
        for info in infos:
            info.wait(timeout=PATIENCE)
    begins = tasks.begins(tasks.lines(tmp_path))
    assert len(begins) >= 18
    rate = Rate(5, per=1)
    for first, at in enumerate(begins):
        assert sum(1 for other in begins[first:] if other < at + rate.per) <= rate.count


def test_a_rate_holds_over_a_restart_of_a_program_that_declares_its_task_late(home: Path, tmp_path: Path):
    folder = str(tmp_path)
    with Runtime(home, app="clock_tasks", workers=1, drain=1.0) as rt:
        for info in rt.start_many(tasks.seldom, [(folder,)] * 2):
            info.wait(timeout=PATIENCE)
    for _ in range(2):
        with Runtime(home, app="clock_tasks", workers=1, drain=1.0) as rt:
            # The gate has looked at everything before the limit is known.
            assert rt.run(clock_tasks.add, 1, 2, timeout=PATIENCE) == 3
            info = rt.start(tasks.seldom, folder)
            assert rt.run(clock_tasks.add, 1, 2, timeout=PATIENCE) == 3
            assert info.status().waits_for == "limit"
            opens = rt.limit_of(info).opens
            assert opens is not None
            assert 300 < opens <= 601
            info.cancel()
    assert len(tasks.begins(tasks.lines(tmp_path))) == 2


def test_a_drain_leaves_no_place_behind(home: Path, tmp_path: Path):
    with runtime(home, app="limit_tasks", workers=2, drain=0.5) as rt:
        infos = rt.start_many(tasks.two, [(str(tmp_path), 30.0) for _ in range(6)])
        until(lambda: len(tasks.begins(tasks.lines(tmp_path))) == 2, PATIENCE)
        (limit,) = [info for info in rt.limits() if info.name.endswith(":two")]
        assert (limit.used, limit.waiting) == (2, 4)
        rt.stop_supervisor()
        until(lambda: len(tasks.begins(tasks.lines(tmp_path))) == 4, PATIENCE)
        assert rt.run(tasks.free, 7, timeout=PATIENCE) == 7
        for info in infos:
            info.cancel()
            info.wait(timeout=PATIENCE)
        assert {info.used for info in rt.limits()} == {0}


def test_a_thousand_keys_under_kills(home: Path, tmp_path: Path):
    folder = str(tmp_path)
    with runtime(home, app="limit_tasks", workers=2, durability="os") as rt:
        calls = [(folder, f"k{number % 1000}") for number in range(3_000)]
        infos = rt.start_many(tasks.placed, calls)
        infos += rt.start_many(tasks.placed_async, calls)
        for number, kill in enumerate(("worker", "supervisor", "worker", "supervisor", "worker"), 1):
            until(
                lambda n=number: rt.counts().get(tasks.placed.name, {}).get(State.COMPLETED, 0) >= 300 * n,
                PATIENCE,
            )
            if kill == "supervisor":
                kill_supervisor(rt)
            else:
                os.kill(rt.tree()["workers"][0]["pid"], signal.SIGKILL)
        assert list(rt.results(infos, timeout=3 * PATIENCE)) == [key for _, key in calls] * 2
        assert {(info.used, info.waiting) for info in rt.limits()} == {(0, 0)}
    assert tasks.lines(tmp_path) == []
    assert check(home).problems == []
