"""The disk: it is full, the map must grow, the store is pruned, compacted or copied while tasks run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import letter_tasks
from disks import fill_up, mounted
from letters import PATIENCE, assert_sound, runtime
from understudy import Runtime, State, StoreFull, TaskInfo
from understudy.storage.backup import backup
from waiting import until

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk") as folder:
        yield folder


def test_a_full_disk_refuses_what_is_new_and_loses_nothing(small_disk: Path):
    home = small_disk / "home"
    with runtime(home, map_size=MIB, durability="disk") as rt:
        reader = rt.start(letter_tasks.collect.options(ack="checkpoint"))
        kept: list[tuple[TaskInfo, int]] = []
        ballast = small_disk / "ballast"

        # New work until the disk is full, from several threads; every acknowledged task counts. Each one is
        # awaited: the rest of so small a disk lets only a few running tasks end.
        refusals: list[StoreFull] = []

        def start() -> None:
            try:
                while True:
                    info = rt.start(letter_tasks.length, "x" * 30_000)
                    kept.append((info, 30_000))
                    info.result(PATIENCE)
            except StoreFull as error:
                refusals.append(error)

        threads = [threading.Thread(target=start) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert len(refusals) == 3
        assert all("space" in str(error) for error in refusals)
        # Running tasks continue to their ends, and reads work.
        for info, size in kept:
            assert info.result(PATIENCE) == size
        assert len(rt.list(limit=100_000)) == len(kept) + 1
        fill_up(ballast)
        until(lambda: rt.tree()["disk_full"], PATIENCE)
        with pytest.raises(StoreFull):
            rt.send(reader.id, "no room")
        with pytest.raises(StoreFull):
            rt.start_many(letter_tasks.noop, [()] * 10)
        assert reader.status().state in (State.RUNNING, State.QUEUED)
        # There is room again, and work continues without help.
        ballast.unlink()
        assert rt.prune(all=True) == len(kept)
        until(lambda: not rt.tree()["disk_full"] or _compacted(rt), PATIENCE)
        until(lambda: _starts(rt), PATIENCE)
        rt.send(reader.id, "room")
        reader.close()
        assert reader.result(PATIENCE) == ["room"]
    assert_sound(home)


def _compacted(rt: Runtime) -> bool:
    try:
        rt.compact()
    except StoreFull:
        return False
    return not rt.tree()["disk_full"]


def _starts(rt: Runtime) -> bool:
    try:
        return rt.run(letter_tasks.add, 1, 2, timeout=PATIENCE) == 3
    except StoreFull:
        return False


def test_a_disk_that_fills_under_running_work_blocks_it_and_loses_nothing(small_disk: Path):
    home = small_disk / "home"
    with runtime(home, map_size=MIB, durability="disk") as rt:
        info = rt.start(letter_tasks.save_each)
        for number in range(5):
            rt.send(info.id, [number, 1000])
        until(lambda: rt.restore(info.id) == 4, PATIENCE)
        ballast = small_disk / "ballast"
        rt.send_many((info.id, [number, 100_000]) for number in range(5, 25))
        fill_up(ballast)
        refused = until(lambda: _refused(rt), PATIENCE)
        assert "space" in str(refused)
        ballast.unlink()
        until(lambda: rt.restore(info.id) == 24, PATIENCE)
        info.close()
        assert info.result(PATIENCE) == list(range(25))
    assert_sound(home)


def _refused(rt: Runtime) -> StoreFull | None:
    try:
        rt.start(letter_tasks.noop)
    except StoreFull as error:
        return error
    return None


def test_a_full_map_grows_and_nobody_notices(home: Path):
    with runtime(home, map_size=MIB // 4) as rt:
        infos = rt.start_many(letter_tasks.text_of, [50_000] * 200)
        reader = rt.start(letter_tasks.checksum, True)
        rt.send_many((reader.id, [n, "x" * 10_000]) for n in range(1_000))
        reader.close()
        assert {len(text) for text in rt.results(infos, PATIENCE)} == {50_000}
        assert reader.result(PATIENCE) == [1_000, sum(range(1_000)), 10_000_000]
        assert len(rt.list(limit=1_000)) == 201
    assert (home / "store.mdb").stat().st_size > 10 * MIB
    assert_sound(home)


@contextmanager
def at_work(rt: Runtime) -> Iterator[list[tuple[TaskInfo, int]]]:
    """Threads that start tasks and check their results, during the block."""
    stop = threading.Event()
    done: list[tuple[TaskInfo, int]] = []
    failures: list[BaseException] = []

    def work(first: int) -> None:
        number = first
        try:
            while not stop.is_set():
                info = rt.start(letter_tasks.add, number, 1)
                assert info.result(PATIENCE) == number + 1
                done.append((info, number + 1))
                number += 1
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(1_000_000 * n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []


def more(done: list[Any]) -> Callable[[], bool]:
    count = len(done)
    return lambda: len(done) > count + 20


def test_pruning_compacting_and_copying_a_store_at_work(home: Path, tmp_path: Path):
    with runtime(home, map_size=MIB) as rt:
        kept = rt.start(letter_tasks.collect)
        kept.send("kept")
        with at_work(rt) as done:
            for number in range(3):
                waste = rt.start_many(letter_tasks.text_of.options(keep=0.001), [100_000] * 200)
                for info in waste:
                    info.wait(PATIENCE)
                until(more(done), PATIENCE)
                assert until(rt.prune, PATIENCE) > 0
                assert kept.status().state is State.RUNNING
                until(more(done), PATIENCE)
                rt.compact()
                assert (home / "store.mdb").stat().st_size < 10 * MIB
                until(more(done), PATIENCE)
                sure = [info for info, _ in done[-10:]]
                backup(home, tmp_path / f"copy{number}")
                assert_sound(tmp_path / f"copy{number}")
                with runtime(tmp_path / f"copy{number}") as copied:
                    # It has the tasks that ended before the copy, and continues the others.
                    for info in sure:
                        assert copied.status(info.id).state is State.COMPLETED
                    copied.close(kept.id)
                    assert copied.result(kept.id, PATIENCE)[-1:] in ([], ["kept"])
                    assert copied.run(letter_tasks.add, 1, 1, timeout=PATIENCE) == 2
        assert rt.prune(all=True) >= len(done)
        assert [record.id for record in rt.list()] == [kept.id]
        kept.close()
        assert kept.result(PATIENCE) == ["kept"]
    assert_sound(home)
