"""The packet socket in an event loop."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from understudy.supervisor.wire import packets
from understudy.supervisor.wire.packet_stream import PacketStream


def test_holds_back_what_the_kernel_does_not_take():
    asyncio.run(_send_much())


async def _send_much() -> None:
    ours, theirs = packets.pair()
    line = PacketStream(ours, lambda _: None)
    reader, writer = os.pipe()
    for n in range(50):
        line.send({"n": n, "load": "x" * 100_000}, [writer] if n == 49 else [])
    os.close(writer)  # The line has its own copy.

    def take() -> list[Any]:
        inlet = packets.Inlet(theirs)
        return [inlet.receive() for _ in range(50)]

    with theirs:
        received = await asyncio.wait_for(asyncio.to_thread(take), 20)
    assert [message["n"] for message, _ in received] == list(range(50))
    (fd,) = received[-1][1]
    os.write(fd, b"x")
    assert os.read(reader, 1) == b"x"
    os.close(fd)
    os.close(reader)
    line.close()


def test_takes_in_what_came_and_notices_the_end():
    asyncio.run(_take_in())


async def _take_in() -> None:
    ours, theirs = packets.pair()
    taken: list[dict[str, Any]] = []
    line = PacketStream(ours, taken.append)
    with theirs:
        packets.send(theirs, {"n": 1})
        packets.send(theirs, {"n": 2})
    line.drain()
    assert taken == [{"n": 1}, {"n": 2}]
    assert ours.fileno() == -1
    line.send({"lost": True})
    line.close()


def test_says_nothing_after_close():
    asyncio.run(_close_early())


async def _close_early() -> None:
    ours, theirs = packets.pair()
    taken: list[dict[str, Any]] = []

    def take(message: dict[str, Any]) -> None:
        taken.append(message)
        line.close()

    line = PacketStream(ours, take)
    with theirs:
        packets.send(theirs, {"n": 1})
        packets.send(theirs, {"n": 2})
        line.drain()
    assert taken == [{"n": 1}]


def test_a_peer_that_is_gone_is_no_error_to_send_to():
    asyncio.run(_send_to_nobody())


async def _send_to_nobody() -> None:
    ours, theirs = packets.pair()
    line = PacketStream(ours, lambda _: None)
    theirs.close()
    before = len(os.listdir("/proc/self/fd"))
    line.send({"n": 1}, [0])
    line.send({"n": 2})
    line.drain()
    line.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1
