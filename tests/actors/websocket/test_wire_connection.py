"""The wire: limits, fragments, broken peers and silence."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

import pytest

from peers import Peer, handshake, idle, mute, peer
from understudy.actors.websocket import wire_connection
from understudy.actors.websocket.connect_options import ConnectOptions
from understudy.actors.websocket.session import OVER, Session


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv1: bool = False) -> bytes:
    """One unmasked frame, as a server sends it."""
    first = (fin << 7) | (rsv1 << 6) | opcode
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    if size > 0xFFFF:
        length = b"\x7f" + size.to_bytes(8, "big")
    return bytes([first]) + length + payload


class Watcher:
    """A session of which the test is the task."""

    def __init__(self, url: str, **options: Any) -> None:
        self.rung = asyncio.Event()
        self.session = Session(
            ConnectOptions.of(url, options), asyncio.get_running_loop(), self.rung.set, lambda _: None
        )

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.rung.clear()
                await self.rung.wait()

    async def take(self) -> Any:
        await self.until(lambda: self.session.queue or self.session.ended)
        return self.session.take()

    async def all(self) -> list[Any]:
        """Everything up to the end."""
        taken = []
        while (item := await self.take()) is not OVER:
            taken.append(item)
        await self.until(lambda: self.session.over)
        return taken


def said(data: bytes, **options: Any) -> tuple[list[Any], Session]:
    """What a server that sends this right after the handshake, and then hangs up, has said."""

    async def listen() -> tuple[list[Any], Session]:
        watcher = Watcher(server.url, **options)
        await watcher.session.open()
        server.sockets[0].shutdown(1)
        return await watcher.all(), watcher.session

    with mute(lambda request: handshake(request) + data) as server:
        return asyncio.run(listen())


def test_messages_in_one_piece_and_in_many() -> None:
    data = (
        frame(1, "ä".encode())
        + frame(2, b"\xff")
        # Cut within a character, with a ping in between and an empty piece.
        + frame(1, b"\xc3", fin=False)
        + frame(9, b"?")
        + frame(0, b"", fin=False)
        + frame(0, b"\xa4")
        + frame(2, b"a", fin=False)
        + frame(0, b"b")
        + frame(1)
    )
    items, session = said(data)
    assert items == ["ä", b"\xff", "ä", b"ab", ""]
    assert (session.code, session.why) == (1006, "unexpected end of stream")


def test_very_many_fragments_take_no_more_room_than_their_bytes() -> None:
    items, _ = said(frame(1, b"x", fin=False) * 1 + frame(0, b"y", fin=False) * 20_000 + frame(0))
    assert items == ["x" + "y" * 20_000]


@pytest.mark.parametrize(
    ("data", "code", "why"),
    [
        (frame(1, b"\xff"), 1007, "invalid start byte"),
        (frame(1, b"x" * 101), 1009, "101 bytes"),
        (frame(1, b"x" * 60, fin=False) + frame(0, b"x" * 60), 1009, "60"),
        (frame(3), 1002, "opcode"),
        (frame(0, b"x"), 1002, "continuation"),
        (frame(1, b"x", fin=False) + frame(1, b"y"), 1002, "continuation"),
        (frame(1, b"x", rsv1=True), 1002, "reserved"),
        (frame(9, b"x", fin=False), 1002, "control frame"),
        (frame(8, b"\x03"), 1002, "close frame"),
    ],
)
def test_a_peer_that_breaks_the_rules(data: bytes, code: int, why: str) -> None:
    items, session = said(frame(1, b"before") + data, max_size=100)
    assert items == ["before"]
    assert session.code == code
    assert why in session.why


def test_a_message_of_the_largest_size() -> None:
    assert said(frame(1, b"x" * 100), max_size=100)[0] == ["x" * 100]


def test_the_queue_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """By messages and by bytes, and nothing is lost by it."""

    async def listen(limit: dict[str, int], most: int) -> None:
        watcher = Watcher(server.url, **limit)
        await watcher.session.open()
        session = watcher.session
        await watcher.until(lambda: session.link is not None and session.link.holding)
        assert len(session.queue) <= most
        seen = [await watcher.take() for _ in range(5000)]
        assert seen == [f"{n:0100}" for n in range(5000)]
        session.drop()
        await watcher.until(lambda: session.over)

    async def tells(conn: Any) -> None:
        for n in range(5000):
            await conn.send(f"{n:0100}")
        await conn.wait_closed()

    # Beyond the limit only what lies in one slice: forty messages of a hundred bytes.
    with peer(tells) as server:
        asyncio.run(listen({"max_queue": 10}, 10 + 41))
        asyncio.run(listen({"max_queue_bytes": 10_000}, 100 + 41))
        asyncio.run(listen({"max_queue": 1}, 1 + 41))


def test_what_is_packed_tightly_does_not_fill_the_memory() -> None:
    """One read of 30 KB that holds 30 MB of messages."""
    megabyte = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = (megabyte.compress(bytes(1_000_000)) + megabyte.flush(zlib.Z_SYNC_FLUSH))[:-4]
    data = frame(2, packed, rsv1=True) * 30

    def deflating(request: bytes) -> bytes:
        answer = handshake(request)
        extension = b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n"
        return answer.replace(b"\r\n\r\n", b"\r\n" + extension + b"\r\n") + data

    async def listen() -> None:
        watcher = Watcher(server.url, compression=True, max_queue_bytes=2_000_000)
        await watcher.session.open()
        session = watcher.session
        await watcher.until(lambda: session.link is not None and session.link.holding)
        assert len(session.queue) <= 2 + wire_connection.SLICE // len(packed) + 1
        for _ in range(30):
            assert len(await watcher.take()) == 1_000_000
        session.drop()
        await watcher.until(lambda: session.over)

    with mute(deflating) as server:
        asyncio.run(listen())


def test_what_has_been_read_counts_although_the_connection_is_lost() -> None:
    """A full queue, the rest of the read held back, and then the reset."""

    async def listen() -> None:
        watcher = Watcher(server.url, max_queue=1)
        await watcher.session.open()
        session = watcher.session
        await watcher.until(lambda: session.link is not None and session.link.holding)
        held = session.link._backlog if session.link else b""
        assert held
        session.link.transport.abort()  # type: ignore[union-attr]
        assert len(await watcher.all()) == 2000

    with mute(lambda request: handshake(request) + frame(1, b"x" * 20) * 2000) as server:
        asyncio.run(listen())


def test_closing_with_a_full_queue() -> None:
    """The answer to the close lies behind messages that nobody takes."""

    async def life(server: Peer) -> None:
        watcher = Watcher(server.url, max_queue=1)
        session = watcher.session
        await session.open()
        await watcher.until(lambda: session.link is not None and session.link.holding)
        session.close(1000, "enough")
        await watcher.until(lambda: session.over)
        assert (session.code, session.why) == (1000, "")

    async def tells(conn: Any) -> None:
        for _ in range(20_000):
            await conn.send("x" * 100)
        await conn.wait_closed()

    with peer(tells) as server:
        asyncio.run(life(server))
        assert server.ended() == [(1000, "enough")]


def test_a_slow_reader_makes_send_wait() -> None:
    async def life() -> None:
        watcher = Watcher(server.url, write_limit=1000, close_timeout=0.01)
        session = watcher.session
        await session.open()
        sent = 0
        while not session.congested():
            session.offer(b"x" * 100_000, False)
            sent += 1
            assert sent < 1000
        [sock] = server.sockets
        while session.congested():
            await asyncio.to_thread(sock.recv, 1 << 20)
            await asyncio.sleep(0)
        session.drop()
        await watcher.until(lambda: session.over)

    with mute(handshake) as server:
        asyncio.run(life())


class TestPulse:
    def test_a_peer_that_has_gone_silent(self) -> None:
        async def life() -> None:
            watcher = Watcher(server.url, ping_interval=0.01, ping_timeout=0.02, close_timeout=0.01)
            await watcher.session.open()
            assert await watcher.all() == []
            assert (watcher.session.code, watcher.session.reason) == (1011, "keepalive ping timeout")

        with mute(handshake) as server:
            asyncio.run(life())

    def test_a_peer_that_answers(self) -> None:
        async def life() -> None:
            watcher = Watcher(server.url, ping_interval=0.005, ping_timeout=5)
            session = watcher.session
            await session.open()
            async with asyncio.timeout(20):
                while not (session.link and session.link.latency):  # noqa: ASYNC110 - rings for nobody
                    await asyncio.sleep(0.001)
            session.close(1000, "")
            await watcher.until(lambda: session.over)
            assert session.latency > 0

        with peer(idle) as server:
            asyncio.run(life())

    def test_silence_that_we_have_asked_for_does_not_count(self) -> None:
        async def life() -> None:
            watcher = Watcher(server.url, max_queue=1, ping_interval=0.01, ping_timeout=0.01)
            session = watcher.session
            await session.open()
            await watcher.until(lambda: session.link is not None and session.link.holding)
            assert session.link is not None
            felt = 0
            feel = session.link._feel

            def counting(rest: float) -> None:
                nonlocal felt
                felt += 1
                feel(rest)

            session.link._feel = counting  # type: ignore[method-assign]
            async with asyncio.timeout(20):
                while felt < 3:  # noqa: ASYNC110 - rings for nobody
                    await asyncio.sleep(0.001)
            assert session.link.holding
            for _ in range(1000):
                await watcher.take()
            session.drop()
            await watcher.until(lambda: session.over)

        async def tells(conn: Any) -> None:
            for _ in range(1000):
                await conn.send("x" * 10_000)
            await conn.wait_closed()

        with peer(tells) as server:
            asyncio.run(life())

    def test_no_pulse_if_that_is_asked_for(self) -> None:
        async def life() -> None:
            watcher = Watcher(server.url, ping_interval=None)
            await watcher.session.open()
            assert watcher.session.link is not None
            assert watcher.session.link._pulse is None
            watcher.session.drop()
            await watcher.until(lambda: watcher.session.over)

        with peer(idle) as server:
            asyncio.run(life())


def test_a_peer_that_does_not_answer_a_close() -> None:
    async def life() -> None:
        watcher = Watcher(server.url, close_timeout=0.01)
        await watcher.session.open()
        watcher.session.close(1000, "")
        await watcher.until(lambda: watcher.session.over)
        assert (watcher.session.code, watcher.session.why) == (
            1006,
            "no answer to the close within 0.01 s",
        )

    with mute(handshake) as server:
        asyncio.run(life())


def test_a_peer_that_closes_and_stays() -> None:
    """It has said goodbye but keeps the socket open."""

    async def life() -> None:
        watcher = Watcher(server.url, close_timeout=0.01)
        await watcher.session.open()
        assert await watcher.all() == []
        assert (watcher.session.code, watcher.session.reason) == (4000, "so long")

    with mute(
        lambda request: handshake(request) + frame(8, (4000).to_bytes(2, "big") + b"so long")
    ) as server:
        asyncio.run(life())
