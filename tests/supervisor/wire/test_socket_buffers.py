"""Sockets that carry frames: as much as fits is held by the kernel, and all are read into one buffer."""

from __future__ import annotations

import asyncio
import socket

from understudy.supervisor.wire.socket_buffers import HELD, READ_SIZE, StreamProtocol, widen


class Kept(StreamProtocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.data = b""
        self.lost = asyncio.Event()

    def data_received(self, data: bytes | memoryview) -> None:
        assert len(data) <= READ_SIZE
        self.data += data

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()


def test_the_kernel_holds_more_than_usual_or_what_it_allows():
    with socket.socket(socket.AF_UNIX) as sock:
        usual = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, HELD)
        allowed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    with socket.socket(socket.AF_UNIX) as sock:
        widen(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == max(usual, allowed)


def test_a_kernel_that_holds_more_is_left_alone():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * HELD)
        before = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        widen(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == before


def test_connections_that_share_a_buffer_get_each_their_own():
    asyncio.run(_send_to_three())


async def _send_to_three() -> None:
    loop = asyncio.get_running_loop()
    pairs = [socket.socketpair() for _ in range(3)]
    kept = []
    for _, theirs in pairs:
        theirs.setblocking(False)
        _, protocol = await loop.connect_accepted_socket(Kept, theirs)
        kept.append(protocol)
    sent = [bytes([65 + number]) * (READ_SIZE + 1000 * number) for number in range(3)]

    async def send(sock: socket.socket, data: bytes) -> None:
        sock.setblocking(False)
        with sock:
            await loop.sock_sendall(sock, data)

    await asyncio.gather(*(send(ours, data) for (ours, _), data in zip(pairs, sent, strict=True)))
    await asyncio.gather(*(protocol.lost.wait() for protocol in kept))
    assert [protocol.data for protocol in kept] == sent
