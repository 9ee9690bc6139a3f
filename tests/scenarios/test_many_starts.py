"""Starts: by many threads at once, with keys, delayed, in order of priority; and finding started tasks."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import letter_tasks
from letters import PATIENCE, assert_sound, kill_supervisor, rows, runtime
from understudy import State, TaskInfo
from waiting import until

THREADS = 8
TASKS = 10_000


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """The results of `work(0)` to `work(count - 1)`, each called by its own thread, all begun together."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        barrier.wait()
        results[number] = work(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_ten_thousand_tasks_of_eight_threads_each_run_once(home: Path, tmp_path: Path):
    each = TASKS // THREADS
    with runtime(home) as rt:

        def start(thread: int) -> list[TaskInfo]:
            first = thread * each
            if thread % 2:
                return rt.start_many(letter_tasks.add, [(first + n, 1) for n in range(each)])
            alone = [rt.start(letter_tasks.add, first + n, 1) for n in range(each // 2)]
            return alone + rt.start_many(letter_tasks.add, [(first + n, 1) for n in range(each // 2, each)])

        infos = [info for part in at_once(THREADS, start) for info in part]
        assert list(rt.results(infos, PATIENCE)) == list(range(1, TASKS + 1))
        records = rt.list(limit=TASKS + 1)
        assert {record.id for record in records} == {info.id for info in infos}
        assert len(records) == len(set(infos)) == TASKS
        assert {(record.state, record.attempt) for record in records} == {(State.COMPLETED, 1)}
    counts = rows(home)
    assert (counts["tasks"], counts["results"], counts["live"]) == (TASKS, TASKS, 0)


def test_a_flood_survives_the_death_of_a_supervisor_that_acknowledges_late(home: Path):
    each = 12_000
    with runtime(home) as rt:
        # Now the supervisor knows that the task is quick.
        assert (
            sum(rt.results(rt.start_many(letter_tasks.add, [(n, 1) for n in range(500)]), PATIENCE))
            == 125_250
        )
        parts: list[list[TaskInfo]] = []
        threads = [
            threading.Thread(
                target=lambda first=first: parts.append(
                    rt.start_many(letter_tasks.add, ((first + n, 1) for n in range(each)))
                )
            )
            for first in (0, each)
        ]
        for thread in threads:
            thread.start()
        # Both calls are under way. Starts come faster than tasks end, so the queue is long or about to be.
        until(lambda: len(rt.list(limit=9_000)) == 9_000, PATIENCE)
        kill_supervisor(rt)
        for thread in threads:
            thread.join()
        infos = [info for part in parts for info in part]
        assert len({info.id for info in infos}) == 2 * each
        assert sorted(rt.results(infos, PATIENCE)) == list(range(1, 2 * each + 1))
    assert_sound(home)


def test_each_body_is_entered_once(home: Path, tmp_path: Path):
    with runtime(home) as rt:
        parts = at_once(
            4,
            lambda n: rt.start_many(letter_tasks.sign, [(str(tmp_path / "book"), n, m) for m in range(500)]),
        )
        list(rt.results([info for part in parts for info in part], PATIENCE))
    signed = Counter((tmp_path / "book").read_text(encoding="ascii").split())
    assert len(signed) == 2_000
    assert set(signed.values()) == {1}


def test_a_key_starts_one_task_however_often_and_wherever_it_is_used(home: Path):
    with runtime(home) as rt:
        task = letter_tasks.add.options(key="sum")
        infos = at_once(16, lambda n: rt.start(task, n, 0))
        assert len({info.id for info in infos}) == 1
        value = infos[0].result(PATIENCE)
        assert value in range(16)

        # Within one batch, and together with an existing task.
        batch = rt.start_many(letter_tasks.add.options(key="batch").call(n, 0) for n in range(5))
        assert len({info.id for info in batch}) == 1
        assert batch[0].result(PATIENCE) == 0
        assert rt.start(letter_tasks.add.options(key="batch"), 7, 7).id == batch[0].id

        # The existing task may be another one, in another stream: the handle shows this.
        other = rt.start(letter_tasks.noop.options(key="sum"))
        assert other == infos[0]
        assert other.task == letter_tasks.add.name

        kill_supervisor(rt)
        again = rt.start(task, 99, 0)
        assert (again.id, again.result(PATIENCE)) == (infos[0].id, value)
        assert rt.status(again.id).key == "sum"
        assert len(rt.list(limit=100)) == 2

        # When it is pruned, its key is free.
        assert rt.prune(all=True) == 2
        fresh = rt.start(task, 5, 5)
        assert fresh.id != infos[0].id
        assert fresh.result(PATIENCE) == 10

        long = "k" * 1024
        assert (
            rt.start(letter_tasks.noop.options(key=long)).id
            == rt.start(letter_tasks.noop.options(key=long)).id
        )
    assert_sound(home)


def test_delayed_tasks_are_released_in_order_and_survive_a_restart(home: Path, tmp_path: Path):
    with runtime(home, workers=1, slots=1) as rt:
        begun = time.time()
        far = rt.start(letter_tasks.noop.options(delay=3600))
        before, queued, after = begun + 3600, far.status(), time.time() + 3600
        assert queued.state is State.QUEUED
        assert queued.next_attempt is not None
        assert before <= queued.next_attempt <= after
        delays = [0.8, 0.2, 0.6, 0.4, 0.0]
        book = str(tmp_path / "book")
        infos = [
            rt.start(letter_tasks.sign.options(delay=delay), book, 0, number)
            for number, delay in enumerate(delays)
        ]
        infos.append(rt.start(letter_tasks.sign.options(at=begun + 0.5), book, 0, 5))
        kill_supervisor(rt)
        for info in infos:
            info.result(PATIENCE)
        for delay, info in zip([*delays, 0.5], infos, strict=True):
            at = info.status().started
            assert at is not None
            assert at >= begun + delay
        # On a slow machine some are due before the kill. Only one that it interrupted signs twice.
        signed = Counter((tmp_path / "book").read_text(encoding="ascii").split())
        assert set(signed) == {f"0.{number}" for number in range(6)}
        for number, info in enumerate(infos):
            assert 1 <= signed[f"0.{number}"] <= 1 + info.status().interruptions
        assert far.status().state is State.QUEUED
        assert rt.start(letter_tasks.echo.options(at=begun - 1000), "past").result(PATIENCE) == "past"
        assert far.cancel()
    assert_sound(home)


def test_delayed_tasks_become_ready_in_the_order_of_their_times(home: Path, tmp_path: Path):
    with runtime(home, workers=1, slots=1) as rt:
        rt.run(letter_tasks.noop, timeout=PATIENCE)
        begun = time.time() + 0.1
        book = str(tmp_path / "book")
        order = [7, 2, 9, 0, 4, 1, 8, 3, 6, 5]
        # In one commit: none begins before all of them are there, however long that takes.
        infos = rt.start_many(letter_tasks.sign.options(at=begun + 0.03 * n).call(book, 0, n) for n in order)
        for info in infos:
            info.result(PATIENCE)
    assert (tmp_path / "book").read_text(encoding="ascii").split() == [f"0.{n}" for n in range(10)]


def test_higher_priorities_first_and_equal_ones_by_age(home: Path, tmp_path: Path):
    with runtime(home, workers=1, slots=1) as rt:
        gate = rt.start(letter_tasks.hold_a_slot)
        until(lambda: gate.status().state is State.RUNNING, PATIENCE)
        book = str(tmp_path / "book")
        priorities = [0, -100, 5, 100, 0, 5, -1]
        infos = [
            rt.start(letter_tasks.sign.options(priority=p), book, p, n) for n, p in enumerate(priorities)
        ]
        gate.cancel()
        for info in infos:
            info.result(PATIENCE)
    signed = [
        tuple(map(int, line.split("."))) for line in (tmp_path / "book").read_text(encoding="ascii").split()
    ]
    assert signed == sorted(((p, n) for n, p in enumerate(priorities)), key=lambda row: (-row[0], row[1]))


def test_a_child_shares_the_stream_and_names_its_parent(home: Path):
    stream = "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d"
    with runtime(home) as rt:
        alone = rt.start(letter_tasks.noop)
        assert (alone.stream_id, alone.origin_run) == (alone.id, None)
        for parent in (letter_tasks.parent, letter_tasks.parent_async):
            info = rt.start(parent.options(stream_id=stream), 3)
            assert (info.stream_id, info.origin_run) == (stream, None)
            chain = info.result(PATIENCE)
            assert len(chain) == 3
            for above, (id, stream_id, origin) in zip(
                [info.id, *[row[0] for row in chain]], chain, strict=False
            ):
                assert (stream_id, origin) == (stream, above)
                assert (rt.status(id).stream_id, rt.status(id).origin_run) == (stream, above)
        in_stream = rt.list(stream=stream)
        assert len(in_stream) == 8
        other = rt.start(letter_tasks.noop.options(stream_id=stream))
        assert other.stream_id == stream


def test_list_filters_and_pages(home: Path):
    with runtime(home) as rt:
        done = rt.start_many(letter_tasks.add, [(n, n) for n in range(25)])
        failed = [rt.start(letter_tasks.fail_with, "no") for _ in range(3)]
        waiting = rt.start_many(letter_tasks.noop.options(delay=3600), [()] * 4)
        for info in [*done, *failed]:
            info.wait(PATIENCE)

        def ids(**filters: Any) -> list[str]:
            return [record.id for record in rt.list(**filters)]

        newest_first = [info.id for info in [*done, *failed, *waiting]][::-1]
        assert ids() == newest_first
        assert ids(limit=5) == newest_first[:5]
        pages, before = [], None
        while page := ids(limit=10, before=before):
            pages.append(page)
            before = page[-1]
        assert [len(page) for page in pages] == [10, 10, 10, 2]
        assert [id for page in pages for id in page] == newest_first
        assert ids(state="completed") == [info.id for info in done][::-1]
        assert ids(state=State.FAILED) == [info.id for info in failed][::-1]
        assert ids(state=["queued", State.FAILED]) == [info.id for info in [*failed, *waiting]][::-1]
        assert ids(state="running") == []
        assert ids(task=letter_tasks.noop.name) == [info.id for info in waiting][::-1]
        assert (
            ids(task=letter_tasks.noop.name, state="queued", limit=2)
            == [info.id for info in waiting][::-1][:2]
        )
        assert ids(stream=done[3].stream_id) == [done[3].id]
        assert ids(state="queued", before=waiting[2].id) == [waiting[1].id, waiting[0].id]
        assert ids(limit=0) == []
        record = rt.status(failed[0].id)
        assert record.error is not None
        assert (record.error.type, record.error.message) == ("ValueError", "no")
        for info in waiting:
            info.cancel()
