"""The store in the loop: order of a commit, falling behind, refusing, closing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from understudy.actors.errors import StoreError, StoreFull
from understudy.storage.tables.schema import Table
from understudy.supervisor.settings import Settings
from understudy.supervisor.tasks import commit_loop
from understudy.supervisor.tasks.commit_loop import CommitLoop


def opened(home: Path) -> CommitLoop:
    home.mkdir(mode=0o700, exist_ok=True)
    return CommitLoop(home, Settings(durability="os"))


@pytest.fixture
def by_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little there is to write, it goes by way of the writer's thread."""
    monkeypatch.setattr(commit_loop, "FEW_ROWS", -1)


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the writer is a thread
            await asyncio.sleep(0)


@pytest.mark.usefixtures("by_thread")
def test_what_is_dirty_is_written_just_before_the_seal(home: Path):
    async def story() -> None:
        commits = opened(home)
        told: list[str] = []
        dirty = [b"one"]

        def write() -> None:
            while dirty:
                commits.put(Table.META, dirty.pop(), b"")

        commits.before_seal = write
        commits.after_commit(lambda: told.append("first"))
        commits.seal()
        dirty.append(b"two")  # while the first batch is on its way
        commits.after_commit(lambda: told.append("second"))
        commits.seal()
        assert dirty == [b"two"]
        await until(lambda: told == ["first", "second"])
        keys = {key for key, _ in commits.scan(Table.META)}
        assert {b"one", b"two"} <= keys
        assert commits.close() is None

    asyncio.run(story())


def test_a_little_is_on_disk_when_the_seal_returns(home: Path, monkeypatch: pytest.MonkeyPatch):
    async def story() -> None:
        commits = opened(home)
        told: list[int] = []

        def write(number: int, size: int = 1) -> bool:
            """Whether it was acknowledged within the seal."""
            commits.put(Table.META, b"%03d" % number, bytes(size))
            commits.after_commit(lambda: told.append(number))
            commits.seal()
            return number in told

        monkeypatch.setattr(commit_loop, "SLOW", 3600.0)  # however slow this machine's disk is just now
        assert write(1)
        # More than a little goes to the writer's thread, and what comes next follows it.
        assert not write(2, commit_loop.FEW_BYTES)
        assert not write(3)
        await until(lambda: told == [1, 2, 3])
        # So does everything for a while when the disk has been slow: the loop has more to do than to wait for it.
        monkeypatch.setattr(commit_loop, "SLOW", -1.0)
        monkeypatch.setattr(commit_loop, "WARY", 3600.0)
        await until(lambda: not commits.store.busy)
        assert write(4)
        assert not write(5)
        await until(lambda: told == [1, 2, 3, 4, 5])
        assert commits.close() is None

    asyncio.run(story())


def test_a_fatal_error_of_a_commit_in_the_loop_is_told_there(home: Path, caplog: Any):
    async def story() -> None:
        commits = opened(home)
        told: list[StoreError] = []
        commits.on_fatal = told.append
        commits.store._environment.commit = lambda _batch, **_: 1 / 0  # type: ignore[assignment,method-assign,return-value]
        commits.put(Table.META, b"x", b"")
        commits.seal()
        await until(lambda: told)
        assert "ZeroDivisionError" in str(told[0])
        assert isinstance(commits.close(), StoreError)

    with caplog.at_level(logging.CRITICAL):
        asyncio.run(story())


def test_settled_waits_for_what_is_dirty_now(home: Path):
    async def story() -> None:
        commits = opened(home)
        for n in range(50):
            commits.put(Table.META, b"%03d" % n, b"")
            await commits.settled()
            assert commits.store._environment.get(Table.META, b"%03d" % n) == b""
        await commits.settled()  # nothing to write
        waiting = asyncio.ensure_future(commits.settled())
        await asyncio.sleep(0)
        waiting.cancel()
        await commits.settled()
        assert commits.close() is None

    asyncio.run(story())


def test_an_acknowledgement_that_fails_keeps_no_other_back(home: Path, caplog: Any):
    async def story() -> None:
        commits = opened(home)
        told: list[str] = []
        commits.after_commit(lambda: 1 / 0)  # type: ignore[arg-type,return-value]
        commits.after_commit(lambda: told.append("yes"))
        await commits.settled()
        assert told == ["yes"]
        assert "ZeroDivisionError" in caplog.text
        commits.close()

    asyncio.run(story())


@pytest.mark.usefixtures("by_thread")
def test_it_says_when_it_falls_behind_and_when_it_has_caught_up(home: Path, monkeypatch: Any):
    monkeypatch.setattr(commit_loop, "BACKLOG_HIGH", 1_000)
    monkeypatch.setattr(commit_loop, "BACKLOG_LOW", 100)

    async def story() -> None:
        commits = opened(home)
        said: list[bool] = []
        commits.on_backlog = said.append
        commits.put(Table.META, b"first", b"")
        commits.seal()
        for n in range(3):
            commits.put(Table.META, b"%d" % n, bytes(600))
            commits.seal()
        assert said == [True]
        await until(lambda: said == [True, False])
        await commits.settled()
        assert said == [True, False]
        commits.close()

    asyncio.run(story())


def test_new_work_is_refused_while_the_disk_is_full(home: Path, monkeypatch: Any):
    async def story() -> None:
        commits = opened(home)
        commits.refuse_when_full()
        assert not commits.store.full
        monkeypatch.setattr(type(commits.store), "full", property(lambda _: True))
        assert commits.store.full
        with pytest.raises(StoreFull, match="understudy prune"):
            commits.refuse_when_full()
        commits.close()

    asyncio.run(story())


@pytest.mark.usefixtures("by_thread")
def test_a_fatal_error_is_told_in_the_loop(home: Path, caplog: Any):
    async def story() -> None:
        commits = opened(home)
        told: list[StoreError] = []
        commits.on_fatal = told.append
        commits.store._writer._on_commit = lambda _batch: 1 / 0  # type: ignore[assignment,return-value]
        commits.put(Table.META, b"x", b"")
        commits.seal()
        await until(lambda: told)
        assert "ZeroDivisionError" in str(told[0])
        assert isinstance(commits.close(), StoreError)

    with caplog.at_level(logging.CRITICAL):
        asyncio.run(story())


def test_trouble_and_recovery_are_logged(home: Path, caplog: Any):
    async def story() -> None:
        commits = opened(home)
        commits._trouble(StoreFull("no room"))
        commits._recovered()
        commits.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert "no room" in caplog.text
    assert "room again" in caplog.text


def test_compact_and_what_it_raises(home: Path, monkeypatch: Any):
    async def story() -> None:
        commits = opened(home)
        commits.put(Table.META, b"x", bytes(100_000))
        await commits.settled()
        await commits.compact()
        given_up = asyncio.ensure_future(commits.compact())
        await asyncio.sleep(0)
        given_up.cancel()
        monkeypatch.setattr(commits.store, "compact", lambda done: done(StoreFull("no room for a copy")))
        with pytest.raises(StoreFull, match="no room for a copy"):
            await commits.compact()
        commits.close()

    asyncio.run(story())


def test_close_writes_what_is_left(home: Path):
    async def first() -> None:
        commits = opened(home)
        commits.before_seal = lambda: commits.put(Table.META, b"last", b"word")
        assert commits.close() is None
        assert commits.close() is None

    async def second() -> None:
        commits = opened(home)
        assert commits.get(Table.META, b"last") == b"word"
        commits.close()

    asyncio.run(first())
    asyncio.run(second())


def test_news_after_the_loop_has_closed_are_let_go(home: Path):
    async def story() -> CommitLoop:
        return opened(home)

    commits = asyncio.run(story())
    commits._tell(lambda: None)
    assert commits.close() is None
