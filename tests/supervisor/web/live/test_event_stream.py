"""What an event stream writes to its connection, and when: with a connection that is written down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from story import Story
from understudy.storage.item_reader import Place
from understudy.supervisor.client.watch_source import WatchSource
from understudy.supervisor.web.live import event_stream, formats
from understudy.supervisor.web.live.batch import Batch
from understudy.supervisor.web.live.event_stream import PART, RETRY, EventStream
from understudy.supervisor.web.live.feed import Feed, shared
from understudy.supervisor.web.live.hub import Hub
from understudy.supervisor.web.live.reader import Ending, LiveReader


class Connection:
    """Takes `room` writes until the client reads."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.room = room
        self.data = b""
        self.sizes: list[int] = []
        self.dropped = False
        self.streaming = False

    @property
    def is_full(self) -> bool:
        return self.room <= 0

    def begin_stream(self, on_room: Callable[[], None], on_lost: Callable[[], None]) -> None:
        self.on_room, self.on_lost, self.streaming = on_room, on_lost, True

    def end_stream(self) -> None:
        self.streaming = False

    def write(self, data: bytes | memoryview) -> None:
        assert self.room > 0
        assert self.streaming
        self.room -= 1
        self.sizes.append(len(data))
        self.data += bytes(data)

    def drop(self) -> None:
        self.dropped = True
        asyncio.get_running_loop().call_soon(self.on_lost)

    def read(self, room: int = 1) -> None:
        self.room += room
        self.on_room()


class Stage:
    """A stream that is being written."""

    def __init__(self, story: Story, connection: Connection, version: str, method: str) -> None:
        self.story = story
        self.connection = connection
        self.sent: list[dict[str, Any]] = []
        self.closed: list[LiveReader] = []
        self.feed = Feed(cast("WatchSource", story))
        self.reader = LiveReader(self.feed, Place(), story.snapshot(Place()), self._ask)
        self.feed.readers.add(self.reader)
        hub = cast("Hub", SimpleNamespace(close=self.closed.append))
        scope = {"method": method, "http_version": version, "state": {"connection": connection}}

        async def send(message: Any) -> None:
            self.sent.append(message)

        async def receive() -> Any:
            raise AssertionError("it asks for nothing")

        stream = EventStream(hub, self.reader, formats.event, {"x-more": "1"}, begin=RETRY)
        self.answer = asyncio.ensure_future(stream(scope, receive, send))

    def _ask(self, reader: LiveReader, place: Place) -> None:
        page = self.story.page(place)
        asyncio.get_running_loop().call_soon(reader.got, Batch(shared(self.feed.source, page)), page)

    def look(self) -> None:
        assert self.feed.place is not None
        self.feed.extend(self.story.page(self.feed.place))
        self.reader.on_news()


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def story(
    tell: Callable[[Stage], Awaitable[None]],
    *,
    size: int = 1,
    room: int = 1_000_000,
    version: str = "1.1",
    method: str = "GET",
) -> Stage:
    async def run() -> Stage:
        stage = Stage(Story(size=size), Connection(room), version, method)
        await turns()
        await tell(stage)
        await asyncio.wait_for(stage.answer, 5)
        return stage

    stage = asyncio.run(run())
    assert stage.closed == [stage.reader]
    assert not stage.connection.streaming
    return stage


async def finish(stage: Stage) -> None:
    stage.story.told, stage.story.is_over = stage.story.told + 1, True
    stage.look()


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_headers_events_and_the_end(version: str):
    stage = story(finish, version=version)
    start, end = stage.sent
    headers = dict(start["headers"])
    assert start["status"] == 200
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert (headers[b"x-accel-buffering"], headers[b"x-more"]) == (b"no", b"1")
    assert end == {"type": "http.response.body", "body": b"", "more_body": False}
    data = stage.connection.data
    if version == "1.1":
        parts, rest = [], data
        while rest:
            length, _, rest = rest.partition(b"\r\n")
            parts.append(rest[: int(length, 16)])
            assert rest[int(length, 16) :].startswith(b"\r\n")
            rest = rest[int(length, 16) + 2 :]
        data = b"".join(parts)
    assert data.startswith(b"retry: 1000\n\n")
    assert [line for line in data.split(b"\n") if line.startswith(b"event")] == [
        b"event: snapshot",
        b"event: item",
    ]


def test_head_has_no_body():
    async def tell(stage: Stage) -> None:
        pass

    stage = story(tell, method="HEAD")
    assert stage.connection.data == b""
    assert len(stage.sent) == 2


def test_a_large_value_is_written_in_parts_as_the_client_reads():
    async def tell(stage: Stage) -> None:
        del stage.connection.sizes[:]
        stage.story.told = 1
        stage.look()
        written = 0
        while stage.connection.sizes:
            # One part for each time that it reads, and nothing in between.
            assert len(stage.connection.sizes) == 1
            written += stage.connection.sizes.pop()
            stage.connection.read()
            await turns()
        assert written > 3 * PART
        stage.connection.room = 100
        await finish(stage)

    story(tell, size=3 * PART, room=3)


def test_a_client_that_is_gone_ends_it():
    async def tell(stage: Stage) -> None:
        stage.connection.on_lost()

    assert not story(tell).connection.dropped


@pytest.mark.parametrize("ending", [Ending.CLOSING, Ending.EXPIRED, Ending.GONE, Ending.UNREADABLE])
def test_another_ending_ends_it_at_once(ending: Ending):
    async def tell(stage: Stage) -> None:
        stage.reader.end(ending)

    stage = story(tell)
    assert not stage.connection.dropped
    assert stage.sent[-1]["more_body"] is False


def test_within_an_event_the_connection_is_cut_so_that_no_half_of_it_counts():
    async def tell(stage: Stage) -> None:
        stage.story.told = 1
        stage.look()
        assert stage.connection.is_full
        stage.reader.end(Ending.CLOSING)

    stage = story(tell, size=3 * PART, room=3)
    assert stage.connection.dropped


def test_a_beat_is_a_comment_if_nothing_else_was_said():
    async def tell(stage: Stage) -> None:
        before = stage.connection.data
        stage.reader.on_beat()
        assert stage.connection.data == before, "it has said something since the last beat"
        stage.reader.on_beat()
        assert stage.connection.data == before + b"3\r\n:\n\n\r\n"
        stage.connection.room = 0
        stage.reader.on_beat()
        stage.connection.room = 100
        await finish(stage)

    story(tell)


def test_the_parts_fit_the_buffer_of_a_connection():
    from understudy.supervisor.web.connection import STREAM_BUFFER

    assert event_stream.PART >= STREAM_BUFFER, "otherwise one part would never fill it"
