"""The hub over a real store: who reads it how often, and when readers end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import item_tasks as app
from leftovers import left_behind, ours
from understudy import EventNotFound, InvalidOption, Runtime, TaskInfo, TaskNotFound
from understudy.actors.ids import id_bytes, new_id
from understudy.storage.reader import Reader
from understudy.supervisor.web.live import hub as hubs
from understudy.supervisor.web.live.hub import Hub, TooManyReaders
from understudy.supervisor.web.live.reader import Ending, LiveReader
from waiting import until

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def leaves_no_process() -> None:
    """Not after each test: workers come and go while the tests share a supervisor. See `rt`."""


@pytest.fixture(scope="module")
def rt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home = tmp_path_factory.mktemp("h") / "home"
    before = ours()
    with Runtime(home, app="item_tasks", workers=1, drain=1.0, durability="os") as runtime:
        yield runtime
    assert left_behind(before, [home]) == []


class Watcher:
    """A reader, and all that it has taken."""

    def __init__(self, reader: LiveReader) -> None:
        self.reader = reader
        self.kinds: list[str] = []
        self.values: list[Any] = []
        self._news = asyncio.Event()
        reader.on_news = self._take
        self._take()

    def _take(self) -> None:
        while (batch := self.reader.take()) is not None:
            self.kinds += [each.entry.kind for each in batch]
            self.values += [each.entry.value for each in batch if each.entry.kind == "item"]
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._news.clear()
                await self._news.wait()


def story(
    rt: Runtime, tell: Callable[[Hub, Reader, asyncio.Event], Awaitable[None]], most: int = 1_000
) -> None:
    """Run something with a hub of its own, which must leave nothing behind."""

    async def run() -> None:
        closing = asyncio.Event()
        with Reader(Path(rt.home)) as reader:
            hub = Hub(reader, closing, most)
            await tell(hub, reader, closing)
            for each in [reader for feed in list(hub._feeds.values()) for reader in list(feed.readers)]:
                hub.close(each)
            assert (hub.readers, hub._feeds, hub._loops) == (0, {}, [])
            hub._threads.shutdown()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), PATIENCE)

    asyncio.run(run())


def id_of(info: TaskInfo[Any]) -> bytes:
    return id_bytes(info.id)


def say(rt: Runtime, info: TaskInfo[Any], value: Any) -> Awaitable[None]:
    return asyncio.to_thread(rt.send, info, value)


def test_one_look_serves_all_readers(rt: Runtime, monkeypatch: pytest.MonkeyPatch):
    info = rt.start(app.on_demand)
    pages = 0

    async def tell(hub: Hub, reader: Reader, _: asyncio.Event) -> None:
        watchers = [Watcher(await hub.open(task=id_of(info))) for _ in range(200)]
        for each in watchers:
            await each.until(lambda each=each: each.reader._number is not None)  # type: ignore[misc]
        happened = Reader.happened

        def counted(*given: Any) -> Any:
            nonlocal pages
            pages += 1
            return happened(*given)

        monkeypatch.setattr(Reader, "happened", counted)
        for n in range(5):
            await say(rt, info, n)
        for each in watchers:
            await each.until(lambda each=each: len(each.values) == 5)  # type: ignore[misc]
            assert (each.values, each.kinds[0]) == ([0, 1, 2, 3, 4], "snapshot")
        # A look for each commit at most, and one now and then.
        assert 1 <= pages <= 40
        await asyncio.to_thread(rt.close_mailbox, info)
        for each in watchers:
            await each.until(lambda each=each: each.reader.ending is not None)  # type: ignore[misc]
            assert (each.kinds[-1], each.reader.ending) == ("end", Ending.END)

    story(rt, tell)


def test_feeds_without_news_are_not_read(rt: Runtime, monkeypatch: pytest.MonkeyPatch):
    infos = [rt.start(app.on_demand) for _ in range(20)]
    pages = []

    async def tell(hub: Hub, reader: Reader, _: asyncio.Event) -> None:
        watchers = [Watcher(await hub.open(task=id_of(info))) for info in infos]
        for each in watchers:
            # Until the first look at all of them is over.
            await each.until(lambda each=each: each.reader._number is not None)  # type: ignore[misc]
        await asyncio.to_thread(until, lambda: all(each.reader.feed.mark for each in watchers))
        monkeypatch.setattr(hubs, "READ_ALL_EVERY", 1e9)
        happened = Reader.happened
        monkeypatch.setattr(
            Reader,
            "happened",
            lambda self, stream, *more: (pages.append(stream), happened(self, stream, *more))[1],
        )
        for n in range(5):
            await say(rt, infos[0], n)
        await watchers[0].until(lambda: len(watchers[0].values) == 5)

    story(rt, tell)
    # Each may have had news of its own, as that it runs.
    assert len(pages) < 60
    assert id_bytes(infos[0].stream_id) in pages
    for info in infos:
        rt.close_mailbox(info)


def test_a_stream_and_its_cursor(rt: Runtime):
    info = rt.start(app.tokens, 4)
    rt.wait(info, PATIENCE)

    async def tell(hub: Hub, reader: Reader, _: asyncio.Event) -> None:
        stream = id_bytes(info.stream_id)
        first = Watcher(await hub.open(stream=stream))
        await first.until(lambda: first.kinds[-1] == "end")
        assert first.values == [0, 1, 2, 3]
        with rt.watch(stream=info.stream_id) as entries:
            cursors = [entry.cursor for entry in (next(entries) for _ in range(4))]
        again = Watcher(await hub.open(stream=stream, after=cursors[2]))
        await again.until(lambda: again.kinds[-1] == "end")
        assert again.values == [2, 3]

    story(rt, tell)


def test_what_cannot_be_opened(rt: Runtime):
    info = rt.start(app.tokens, 1)
    rt.wait(info, PATIENCE)

    async def tell(hub: Hub, reader: Reader, _: asyncio.Event) -> None:
        with pytest.raises(TaskNotFound):
            await hub.open(task=new_id())
        with pytest.raises(EventNotFound):
            await hub.open(stream=new_id())
        for cursor in ("x", f"{new_id().hex()}.0.0.0.0.0.0"):
            with pytest.raises(InvalidOption):
                await hub.open(task=id_of(info), after=cursor)
        kept = [await hub.open(task=id_of(info)) for _ in range(2)]
        with pytest.raises(TooManyReaders):
            await hub.open(task=id_of(info))
        hub.close(kept[0])
        hub.close(kept[0])
        await hub.open(task=id_of(info))

    story(rt, tell, most=2)


def test_when_the_server_stops_all_readers_end(rt: Runtime):
    info = rt.start(app.on_demand)

    async def tell(hub: Hub, reader: Reader, closing: asyncio.Event) -> None:
        watchers = [Watcher(await hub.open(task=id_of(info))) for _ in range(20)]
        began = time.monotonic()
        closing.set()
        for each in watchers:
            await each.until(lambda each=each: each.reader.ending is Ending.CLOSING)  # type: ignore[misc]
        assert time.monotonic() - began < 1
        assert Watcher(await hub.open(task=id_of(info))).reader.ending is Ending.CLOSING

    story(rt, tell)
    rt.close_mailbox(info)


def test_tokens_are_looked_at_again_and_again(rt: Runtime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hubs, "TICK", 0.01)
    info = rt.start(app.on_demand)

    async def tell(hub: Hub, reader: Reader, _: asyncio.Event) -> None:
        beats: list[int] = []
        expiring, removed, fine = [Watcher(await hub.open(task=id_of(info))) for _ in range(3)]
        fine.reader.on_beat = lambda: beats.append(1)
        expiring.reader.expires = time.time() + 0.05
        removed.reader.may_read = lambda: not beats
        for each in (expiring, removed):
            await each.until(lambda each=each: each.reader.ending is Ending.EXPIRED)  # type: ignore[misc]
        assert beats
        assert fine.reader.ending is None

    story(rt, tell)
    rt.close_mailbox(info)


def test_a_removed_task_and_a_swapped_file(rt: Runtime):
    info, other = rt.start(app.on_demand), rt.start(app.tokens, 1)
    rt.wait(other, PATIENCE)

    async def tell(hub: Hub, reader: Reader, _: asyncio.Event) -> None:
        # One that has not seen the end, because it has not taken it.
        late = await hub.open(task=id_of(other))
        watcher = Watcher(await hub.open(task=id_of(info)))
        await asyncio.to_thread(rt.prune, all=True)
        await asyncio.to_thread(rt.compact)
        gone = Watcher(late)
        await gone.until(lambda: gone.reader.ending is Ending.GONE)
        await say(rt, info, "after")
        await watcher.until(lambda: watcher.values == ["after"])

    story(rt, tell)
    rt.close_mailbox(info)


def test_a_failure_ends_the_readers_and_others_may_come(
    rt: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    info = rt.start(app.on_demand)

    async def tell(hub: Hub, reader: Reader, _: asyncio.Event) -> None:
        watcher = Watcher(await hub.open(task=id_of(info)))
        await watcher.until(lambda: watcher.reader._number is not None)
        with monkeypatch.context() as patch:
            patch.setattr(hubs, "_news", lambda *_: 1 / 0)
            await watcher.until(lambda: watcher.reader.ending is Ending.UNREADABLE)
        hub.close(watcher.reader)
        again = Watcher(await hub.open(task=id_of(info)))
        await say(rt, info, 1)
        await again.until(lambda: again.values == [1])

    story(rt, tell)
    assert "ZeroDivisionError" in caplog.text
    rt.close_mailbox(info)
