"""The items of a stream on disk: numbered, in order, limited, and read as they were told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.actors.attempt.item import item_body
from understudy.actors.ids import new_id
from understudy.actors.state import Event, State
from understudy.actors.task.options import Options
from understudy.storage.item_reader import Place, StreamPage
from understudy.storage.memory_store import MemoryRows, MemoryStore, MemoryView
from understudy.storage.reader import Reader
from understudy.storage.tables.item_rows import prune_items, row_head
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane, Table, log_key
from understudy.supervisor.settings import Settings
from understudy.supervisor.tasks import stream_items
from understudy.supervisor.tasks.commit_loop import CommitLoop
from understudy.supervisor.tasks.live_task import LiveTask
from understudy.supervisor.tasks.stream_items import StreamItems
from understudy.supervisor.tasks.task_log import TaskLog


class Home:
    """A store in memory, and the items of its streams."""

    def __init__(self, **settings: Any) -> None:
        self.rows = MemoryRows()
        self.settings = Settings(**settings)
        self.reader = Reader(Path("/nowhere"), MemoryView(self.rows))
        self.open()

    def open(self) -> None:
        """As another supervisor does it."""
        self.commits = CommitLoop(
            Path("/nowhere"),
            self.settings,
            open_store=lambda home, **all: MemoryStore.open(home, rows=self.rows, **all),
        )
        self.items = StreamItems(self.commits, self.settings)

    def task(self, stream: bytes | None = None) -> LiveTask:
        id = new_id()
        record = Record(id, "app:task", 1.0, stream or id, None)
        self.commits.put(Table.TASKS, id, record.pack())
        return LiveTask(record, Options(), Lane.SYNC, stored=False)

    def publish(self, task: LiveTask, *values: Any, name: str = "token") -> None:
        self.items.publish(
            task, task.record.stream, [item_body(name, value, 1.0, 1 << 20) for value in values]
        )

    def print(self, task: LiveTask, *lines: str) -> None:
        if task.log is None:
            task.log = TaskLog(self.commits, task.id, 1 << 20, stored=False)
        rows = [(1.0, "stdout", line) for line in lines]
        self.items.printed(task, task.log.append(rows), rows)

    async def read(self, stream: bytes, after: Place = Place(), task: bytes | None = None) -> StreamPage:  # noqa: B008
        await self.commits.settled()
        return self.reader.happened(stream, after, task)


def told(page: StreamPage) -> list[Any]:
    """The entries of a page in short."""
    short = {
        "item": lambda each: each.place.item,
        "log": lambda each: each.text,
        "attempt": lambda each: f"{each.name} {each.attempt}",
        "end": lambda each: each.name,
        "notice": lambda each: (each.items, each.lines),
    }
    return [short[each.kind](each) for each in page.entries]


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


def test_everything_comes_in_its_order_and_from_every_place():
    async def story() -> None:
        home = Home()
        task = home.task()
        home.print(task, "before")
        home.publish(task, "a", "b")
        home.print(task, "one", "two")
        home.items.over(task, Event.RETRY, ("OSError", "no", "", {}))
        task.record.attempt = 2
        home.publish(task, "c")
        task.record.state = State.COMPLETED
        home.items.over(task, None, None)
        page = await home.read(task.id)
        whole = ["before", 1, 2, "one", "two", "retry 1", 3, "completed"]
        assert told(page) == whole
        assert [each.attempt for each in page.entries] == [1] * 6 + [2] * 2
        assert page.at_tip
        assert (page.entries[5].error, page.entries[5].text) == ("OSError", "no")
        for number, entry in enumerate(page.entries, 1):
            assert told(await home.read(task.id, entry.place)) == whole[number:]
        assert not (await home.read(task.id, page.place)).entries

    run(story)


def test_a_task_that_has_told_nothing_has_no_rows():
    async def story() -> None:
        home = Home()
        task = home.task()
        home.items.over(task, None, None)
        assert not task.told
        assert told(await home.read(task.id)) == []
        home.items.over(task, Event.INTERRUPT, None)
        assert task.told
        assert told(await home.read(task.id)) == ["interrupted 1"]

    run(story)


def test_a_page_ends_before_it_is_large(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("understudy.storage.item_reader.PAGE_ENTRIES", 10)

    async def story() -> None:
        home = Home()
        task = home.task()
        home.publish(task, *range(25))
        place, numbers, pages = Place(), [], 0
        while True:
            page = await home.read(task.id, place)
            place, pages = page.place, pages + 1
            numbers += told(page)
            if page.at_tip:
                break
        assert numbers == list(range(1, 26))
        assert pages == 3

    run(story)


@pytest.mark.parametrize("count", [10, 11, 25])
def test_the_oldest_go_at_the_limit_and_a_notice_counts_them(count: int):
    async def story() -> None:
        home = Home(stream_items=10)
        task = home.task()
        for n in range(count):
            home.publish(task, n)
            if n % 7 == 3:
                await home.commits.settled()
        gone = count - 10
        kept = list(range(gone + 1, count + 1))
        assert told(await home.read(task.id)) == ([(gone, 0)] if gone else []) + kept
        # A watcher that has read some of them is told what it has missed itself.
        read = Place(item=5, items=5)
        missed = max(gone - 5, 0)
        assert told(await home.read(task.id, read)) == ([(missed, 0)] if missed else []) + [
            n for n in kept if n > 5
        ]
        assert told(await home.read(task.id, read, task.id)) == told(await home.read(task.id, read))

    run(story)


def test_all_at_once_is_the_same_as_one_by_one():
    async def story() -> None:
        home = Home(stream_items=10)
        task = home.task()
        home.publish(task, *range(35))
        assert told(await home.read(task.id)) == [(25, 0), *range(26, 36)]

    run(story)


@pytest.mark.parametrize("over", [0, 1])
def test_the_limit_of_bytes_at_its_edge(over: int):
    async def story() -> None:
        task_row = len(row_head(new_id(), 1, 0) + item_body("token", b"x" * 300, 1.0, 1 << 20))
        home = Home(stream_bytes=4 * task_row - over)
        task = home.task()
        for _ in range(4):
            home.publish(task, b"x" * 300)
        assert told(await home.read(task.id)) == ([(1, 0), 2, 3, 4] if over else [1, 2, 3, 4])
        home.publish(task, b"x" * 100_000)
        assert told(await home.read(task.id)) == [(4, 0), 5]

    run(story)


def test_numbers_go_on_after_a_restart():
    async def story() -> None:
        home = Home(stream_items=10)
        task = home.task()
        home.publish(task, *range(12))
        home.print(task, "one")
        page = await home.read(task.id)
        home.open()
        task.log = TaskLog(home.commits, task.id, 1 << 20, stored=True)
        home.publish(task, "more")
        home.print(task, "two")
        assert told(await home.read(task.id, page.place)) == [13, "two"]
        assert told(await home.read(task.id)) == [(3, 0), *range(4, 13), "one", 13, "two"]

    run(story)


def test_lines_whose_chunk_is_gone_are_counted():
    async def story() -> None:
        home = Home()
        task = home.task()
        home.print(task, "one", "two", "three")
        page = await home.read(task.id)
        home.print(task, "four")
        home.commits.delete(Table.LOGS, log_key(task.id, 1))
        assert told(await home.read(task.id)) == [(0, 3), "four"]
        assert told(await home.read(task.id, page.entries[0].place)) == [(0, 2), "four"]
        assert told(await home.read(task.id, page.place)) == ["four"]

    run(story)


def test_marks_are_limited_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream_items, "MOST_MARKS", 20)
    monkeypatch.setattr(stream_items, "MARKS_AT_ONCE", 5)

    async def story() -> None:
        home = Home()
        task = home.task()
        home.publish(task, 1)
        for n in range(26):
            home.print(task, f"line {n}")
            await home.commits.settled()
        home.publish(task, 2)
        page = await home.read(task.id)
        assert told(page) == [1, (0, 5), *(f"line {n}" for n in range(5, 26)), 2]
        assert home.reader.count(Table.ITEMS) == 1 + 2 + 21

    run(story)


def test_what_is_pruned_is_missing_and_its_numbers_are_not_used_again():
    async def story() -> None:
        home = Home()
        root = home.task()
        child = home.task(root.id)
        home.publish(root, "a")
        home.publish(child, "b", "c")
        home.print(child, "line")
        assert told(await home.read(root.id)) == [1, 2, 3, "line"]
        home.commits.delete(Table.TASKS, child.id)
        prune_items(home.commits.store, [(child.id, root.id)])
        home.items.pruned()
        assert told(await home.read(root.id)) == [1, (2, 1)]
        # That is no loss for one that watches the other task.
        assert told(await home.read(root.id, task=root.id)) == [1]
        for _ in range(2):
            home.publish(root, "d")
            await home.commits.settled()
            home.open()
        assert told(await home.read(root.id)) == [1, (2, 0), 4, 5, (0, 1)]
        home.commits.delete(Table.TASKS, root.id)
        prune_items(home.commits.store, [(root.id, root.id)])
        await home.commits.settled()
        assert home.reader.count(Table.ITEMS) == 0

    run(story)


def test_streams_are_let_go_of_and_read_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream_items, "STREAMS", 4)

    async def story() -> None:
        home = Home()
        tasks = [home.task() for _ in range(20)]
        for value in range(3):
            for task in tasks:
                home.publish(task, value)
            if value:
                await home.commits.settled()
        for task in tasks:
            assert told(await home.read(task.id)) == [1, 2, 3]
        assert len(home.items._streams) < 20 + 4

    run(story)


def test_a_damaged_head_costs_no_more_than_the_count(caplog: pytest.LogCaptureFixture):
    async def story() -> None:
        home = Home(stream_items=5)
        task = home.task()
        home.publish(task, *range(8))
        await home.commits.settled()
        home.commits.put(Table.ITEMS, task.id + bytes(16), b"damaged")
        await home.commits.settled()
        home.open()
        home.publish(task, "more")
        assert told(await home.read(task.id)) == [(4, 0), 5, 6, 7, 8, 9]
        assert "damaged" in caplog.text

    run(story)
