"""Watching under kills: from whatever cursor a watcher goes on, it sees the same sequence, and each entry once."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import pytest

from disks import fill_up, mounted
from item_tasks import on_demand, steps, tokens
from theatre import PATIENCE, kill
from theatre import runtime as stage_runtime
from understudy import Runtime, State, WatchEntry
from understudy.storage.check import check
from understudy.storage.reader import Reader
from understudy.storage.tables.schema import Table
from understudy.supervisor.client.watch import Watch
from understudy.supervisor.testing.crash_points import VARIABLE
from waiting import until

STEPS = 40


def runtime(home: Path, **settings: object) -> Runtime:
    return stage_runtime(home, app="item_tasks", restarts=1000, **settings)


def whole(home: Path, id: str, after: str | None = None) -> list[WatchEntry]:
    """All entries of an ended task, read without a supervisor."""
    with Reader(home) as reader, Watch(reader, None, id, after) as watch:
        return list(watch)[1:]


def assert_exact(entries: list[WatchEntry], count: int) -> None:
    """What was published with checkpoints is there once and in order; the rest carries the number of its attempt."""
    items = [each for each in entries if each.kind == "item"]
    assert [each.number for each in items] == list(range(1, len(items) + 1))
    kept = [(each.name, each.value) for each in items if each.name != "try"]
    assert kept == [pair for n in range(1, count + 1) for pair in (("step", n), ("double", 2 * n))]
    tries = [((each.attempt, each.interruptions), each.value) for each in items if each.name == "try"]
    assert len(set(tries)) == len(tries), "an item came twice in one attempt"
    assert {value for _, value in tries} >= set(range(count - 1))
    assert [each.name for each in entries if each.kind == "end"] == ["completed"]
    assert entries[-1].kind == "end"
    attempts = [(each.attempt, each.interruptions) for each in entries if each.kind in ("attempt", "end")]
    assert [sum(attempt) for attempt in attempts] == list(range(1, len(attempts) + 1))


class Watcher(threading.Thread):
    """Watches a task, and begins anew behind a random entry of what it has seen, as after a crash."""

    def __init__(self, home: Path, id: str, seed: int) -> None:
        super().__init__()
        self._home = home
        self._id = id
        self._random = random.Random(seed)
        self.seen: list[WatchEntry] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not (self.seen and self.seen[-1].kind == "end"):
                self._watch(self._random.randint(1, 20))
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.error = error

    def _watch(self, count: int) -> None:
        # What comes after the cursor is to be seen again, and to be the same.
        keep = self._random.randint(0, len(self.seen))
        again, self.seen = self.seen[keep:], self.seen[:keep]
        after = self.seen[-1].cursor if self.seen else None
        with Reader(self._home) as reader, Watch(reader, None, self._id, after) as watch:
            assert watch.next() is not None  # the snapshot
            for _ in range(len(again) + count):
                entry = watch.next(timeout=PATIENCE)
                if entry is None:
                    break
                if again:
                    assert entry == again.pop(0)
                self.seen.append(entry)


def test_watchers_from_random_cursors_see_the_same_while_all_is_killed(home: Path) -> None:
    chance = random.Random(7)
    with runtime(home, workers=1) as rt:
        info = rt.start(steps, STEPS)
        watchers = [Watcher(home, info.id, seed) for seed in range(2)]
        for watcher in watchers:
            watcher.start()
        for at in (8, 16, 24):
            until(lambda at=at: (rt.restore(info.id) or 0) >= at, PATIENCE)  # type: ignore[misc]
            if at == 16:
                kill(rt.supervisor_pid)
            elif pids := [worker["pid"] for worker in rt.tree()["workers"]]:
                kill(chance.choice(pids))
        assert info.result(timeout=PATIENCE) == STEPS
    for watcher in watchers:
        watcher.join(PATIENCE)
        assert watcher.error is None
    entries = whole(home, info.id)
    assert_exact(entries, STEPS)
    assert all(watcher.seen == entries for watcher in watchers)
    for number in random.sample(range(len(entries)), 10):
        assert whole(home, info.id, entries[number].cursor) == entries[number + 1 :]
    assert check(home).problems == []


@pytest.mark.parametrize(
    "moment",
    [
        "commit.before:4",
        "commit.after:4",
        "checkpoint.before:2",
        "publish.before:2",
        "report.before:3",
        "end.before:1",
    ],
)
def test_items_and_their_checkpoint_are_one_commit(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    died = tmp_path / "died"
    monkeypatch.setenv(VARIABLE, f"{moment}@{died}")
    with runtime(home, workers=1) as rt:
        info = rt.start(steps, 4)
        assert info.result(timeout=PATIENCE) == 4
    assert died.exists()
    assert_exact(whole(home, info.id), 4)
    assert check(home).problems == []


def test_a_watch_goes_on_with_the_next_supervisor(home: Path) -> None:
    with runtime(home, workers=1) as rt:
        info = rt.start(on_demand)
        rt.send(info.id, 1)
        reader = Reader(home)
        watch = Watch(reader, None, info.id, None)
        first = _next_item(watch)
    # Nothing serves the home now.
    assert _rest_of(watch) in ([], ["attempt"])
    with runtime(home, workers=1) as rt:
        rt.send(info.id, 2)
        rt.close(info.id)
        assert rt.wait(info.id, PATIENCE).state is State.COMPLETED
        left = list(watch)
    assert (first.value, first.interruptions) == (1, 0)
    assert [each.value for each in left if each.kind == "item"] == [2]
    assert left[-1].kind == "end"
    watch.close()
    reader.close()


def _rest_of(watch: Watch) -> list[str]:
    """The kinds of what is there to be read."""
    kinds: list[str] = []
    try:
        while (entry := watch.next(timeout=0.3)) is not None:
            kinds.append(entry.kind)
    except TimeoutError:
        return kinds
    raise AssertionError("the watch has ended")


def _next_item(watch: Watch) -> WatchEntry:
    while True:
        entry = watch.next(timeout=PATIENCE)
        assert entry is not None
        if entry.kind == "item":
            return entry


def test_a_watcher_that_does_not_read_holds_nothing_up(home: Path) -> None:
    with runtime(home, workers=1, stream_items=100) as rt:
        info = rt.start(tokens, 5_000)
        with rt.watch(task=info) as watch:
            assert info.result(timeout=PATIENCE) is None
            left: list[Any] = list(watch)
    notices = [each for each in left if each.kind == "notice"]
    items = [each.value for each in left if each.kind == "item"]
    assert items[-100:] == list(range(4_900, 5_000))
    assert sum(each.items for each in notices) + len(items) == 5_000
    assert check(home).problems == []


def test_pruning_takes_the_items_with_the_task(home: Path) -> None:
    with runtime(home, workers=1) as rt:
        info = rt.start(tokens, 50)
        info.result(timeout=PATIENCE)
        rt.prune(all=True)
        with Reader(home) as reader:
            assert reader.count(Table.ITEMS) == 0
    assert check(home).problems == []


def test_a_full_disk_delays_what_is_published(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as disk, runtime(disk / "home", workers=1) as rt:
        info = rt.start(on_demand)
        rt.send(info.id, "before")
        watch = rt.watch(task=info)
        assert _next_item(watch).value == "before"
        ballast = disk / "ballast"
        rt.send_many([(info.id, n) for n in range(20)])
        fill_up(ballast)
        found = [_next_item(watch).value for _ in range(5)]
        ballast.unlink()
        found += [_next_item(watch).value for _ in range(15)]
        assert found == list(range(20))
        rt.close(info.id)
        assert info.result(timeout=PATIENCE) is None
        watch.close()
