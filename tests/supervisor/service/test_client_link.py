"""One client's connection: the greeting, nonsense, what it does not read."""

from __future__ import annotations

import asyncio
import os
import random
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from room import Room, room
from understudy.supervisor.service import client_link as client_link_module
from understudy.supervisor.service.client_link import ClientLink
from understudy.supervisor.settings import BATCH_BYTES
from understudy.supervisor.wire.codec import VERSION, Decoder, encode
from understudy.supervisor.wire.messages import Answer, Ask
from wire import connect, listening


def test_the_greeting(home: Path):
    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            wire = await connect(path)
            ((_, version, facts),) = await wire.until(Answer.WELCOME)
            assert version == VERSION
            assert facts["settings"] == it.settings.pack()
            await wire.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    "first",
    [
        (Ask.TREE, 1),
        (Ask.HELLO,),
        (Ask.HELLO, VERSION, 1),
        (Ask.HELLO, VERSION + 1),
        (Ask.HELLO, "1"),
        (Ask.HELLO, None),
        (99, 1),
        (-1,),
    ],
    ids=repr,
)
def test_the_first_frame_must_be_a_hello_of_this_version(home: Path, first: Any):
    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            wire = await connect(path, greet=False)
            await wire.send(first, (Ask.TREE, 2))
            said = await wire.last_words()
            assert said is not None
            assert said[2] == "ProtocolError"
            if len(first) == 2 and first[0] == Ask.HELLO:
                assert "same release" in said[3]
            assert [frame for frame in wire.frames if frame[0] != Answer.ERROR] == []
            await wire.close()

    asyncio.run(story())


@pytest.mark.parametrize("greeted", [False, True])
def test_garbage_closes_that_connection_and_no_other(home: Path, greeted: bool):
    rng = random.Random(5)

    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            good = await connect(path)
            for n in range(60):
                bad = await connect(path, greet=greeted)
                data = b"GET / HTTP/1.1\r\n\r\n" if n == 0 else rng.randbytes(rng.randint(1, 200)) + b"\xc1"
                await bad.send_bytes(data)
                bad._writer.write_eof()  # it may look like the beginning of something long
                said = await bad.last_words()
                assert said is None or said[2] == "ProtocolError"
                await bad.close()
                assert await good.ask(Ask.TREE, request=n + 1) == {}
            await it.until(lambda: len(it.service._clients) == 1)
            await good.close()

    asyncio.run(story())


@pytest.mark.parametrize("request_number", [None, "1", 1.0, True, b"1", (1,)], ids=repr)
def test_a_requests_number_is_an_int(home: Path, request_number: Any):
    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            wire = await connect(path)
            await wire.send((Ask.TREE, request_number))
            assert (await wire.last_words())[2] == "ProtocolError"  # type: ignore[index]
            await wire.close()

    asyncio.run(story())


def test_after_an_error_nothing_more_of_the_same_read_is_done(home: Path):
    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            wire = await connect(path)
            stopped: list[bool] = []
            it.service.on_stop = stopped.append
            await wire.send((99, 1), (Ask.STOP, 2, True))
            await wire.last_words()
            assert stopped == []
            await wire.close()

    asyncio.run(story())


async def deaf(it: Room, path: str) -> tuple[ClientLink, asyncio.StreamWriter]:
    """A client that says hello and reads nothing."""
    before = set(it.service._clients)
    reader, writer = await asyncio.open_unix_connection(path)
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(encode((Ask.HELLO, VERSION)))
    await it.until(lambda: len(it.service._clients) == len(before) + 1)
    (link,) = it.service._clients - before
    return link, writer


def waiting_for(link: ClientLink) -> int:
    assert link._transport is not None
    return link._transport.get_write_buffer_size() + link._out_size


def test_a_client_that_asks_and_never_reads_is_asked_to_wait(home: Path, monkeypatch: Any):
    monkeypatch.setattr(client_link_module, "UNREAD_HIGH", 1 << 20)

    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            it.service.tree = lambda: {"x": bytes(50_000)}
            other = await connect(path)
            link, writer = await deaf(it, path)
            # All in one read, the rest in its socket: neither may fill our memory.
            writer.write(b"".join(encode((Ask.TREE, n)) for n in range(60_000)))
            for n in range(50):
                await asyncio.sleep(0)
                assert waiting_for(link) < (1 << 20) + 100_000
                assert (await other.ask(Ask.TREE, request=n + 1))["x"]
            assert not link._reads
            # It reads at last: nothing was lost, and it is read from again.
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            writer.close()
            wire = await connect(path)
            for n in range(300):
                await wire.send((Ask.TREE, n + 1))
            await it.until(lambda: not all(each._reads for each in it.service._clients))
            for n in range(300):
                assert len((await wire.answer(n + 1))[2]["x"]) == 50_000
            await it.until(lambda: all(each._reads for each in it.service._clients))
            assert (await wire.ask(Ask.TREE, request=1_000))["x"]
            await other.close()

    asyncio.run(story())


def test_a_subscriber_that_never_reads_is_dropped_at_a_bound(home: Path, monkeypatch: Any, caplog: Any):
    monkeypatch.setattr(client_link_module, "UNREAD_LIMIT", 1 << 20)

    async def story() -> None:
        async with room(home, workers=0, value_limit=1024) as it, listening(it) as path:
            other = await connect(path)
            link, writer = await deaf(it, path)
            writer.write(encode((Ask.SUBSCRIBE, 1, None, None, False)))
            await it.until(lambda: link.subscription)
            rows = [(os.urandom(16), "x" * 1000, "queued", 1, 0.0, b"")] * 100
            for _ in range(30):
                link.event(rows)
                link.flush()
                if link._transport is None or link._transport.is_closing():
                    break
                assert waiting_for(link) <= (1 << 20) + 1024
            await it.until(lambda: len(it.service._clients) == 1)
            assert "does not read" in caplog.text
            assert await other.ask(Ask.TREE) == {}
            writer.close()

    asyncio.run(story())


def test_large_ends_stay_on_disk_until_the_client_reads(home: Path, monkeypatch: Any):
    """A thousand tasks of a megabyte each, as a program finds them that asks for all its results after a restart."""
    monkeypatch.setattr(client_link_module, "UNREAD_HIGH", 1 << 18)
    monkeypatch.setattr(client_link_module, "LATE_BYTES", 1 << 16)

    async def story() -> None:
        async with room(home, slots=64) as it, listening(it) as path:
            ids = [it.add() for _ in range(60)]
            await it.settle()
            for assignment in it.workers[0].begin():
                it.workers[0].done(assignment.id, value=assignment.id * 6_000)
            await it.settle()
            link, writer = await deaf(it, path)
            writer.write(encode((Ask.WAIT, 1, ids)) + encode((Ask.WAIT, 2, ids)) + encode((Ask.UNWAIT, 2)))
            await it.until(lambda: link._late)
            for _ in range(20):
                await asyncio.sleep(0)
                assert waiting_for(link) < (1 << 18) + 200_000
            wire = await connect(path)
            await wire.send((Ask.WAIT, 5, ids), (Ask.TREE, 6))
            await wire.answer(5)
            told = [row for frame in wire.frames if frame[:2] == (Answer.ENDED, 5) for row in frame[2]]
            assert [(row[0], row[2]) for row in told] == [(id, id * 6_000) for id in ids]
            await wire.answer(6)
            # Removed before it could be told: said so, rather than told as a task without a value.
            await it.service.prune(float("inf"))
            assert (await wire.ask(Ask.WAIT, ids, request=7))[0] == "TaskNotFound"
            reader = writer.transport.get_protocol()._stream_reader_wr()  # type: ignore[union-attr]
            assert reader is not None
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            decoder, frames = Decoder(1 << 20), []
            while not any(frame[:2] == (Answer.ERROR, 1) for frame in frames):
                frames += decoder.feed(await reader.read(1 << 18))
            assert {frame[2] for frame in frames if frame[0] == Answer.ERROR} == {"TaskNotFound"}
            writer.close()

    asyncio.run(story())


def test_what_ends_while_the_client_does_not_read_stays_on_disk(home: Path, monkeypatch: Any):
    monkeypatch.setattr(client_link_module, "UNREAD_HIGH", 1 << 18)

    async def story() -> None:
        async with room(home, slots=64) as it, listening(it) as path:
            ids = [it.add() for _ in range(40)]
            await it.settle()
            link, writer = await deaf(it, path)
            writer.write(encode((Ask.WAIT, 1, ids)))
            await it.until(lambda: link.waits)
            for number, assignment in enumerate(it.workers[0].begin()):
                it.workers[0].done(assignment.id, value=bytes(100_000))
                if number % 4 == 0:
                    await it.settle()
            await it.settle()
            assert waiting_for(link) < (1 << 18) + 500_000
            assert link._late[-1] == (1, deque()), "the answer comes last"
            writer.close()
            await it.until(lambda: not it.service._clients)

    asyncio.run(story())


def test_one_answer_larger_than_the_bound_is_sent(home: Path, monkeypatch: Any):
    monkeypatch.setattr(client_link_module, "UNREAD_LIMIT", 1000)

    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            it.service.tree = lambda: {"x": bytes(5_000_000)}
            wire = await connect(path)
            assert len((await wire.ask(Ask.TREE))["x"]) == 5_000_000
            await wire.close()

    asyncio.run(story())


def test_many_large_ends_come_in_frames_that_fit(home: Path):
    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            wire = await connect(path)
            (link,) = it.service._clients
            rows = [(os.urandom(16), "completed", bytes(BATCH_BYTES // 3), None) for _ in range(8)]
            link.ended(1, rows)
            link.flush()
            ended = await wire.until(Answer.ENDED, 1, count=4)
            assert [row[0] for frame in ended for row in frame[2]] == [row[0] for row in rows]
            await wire.close()

    asyncio.run(story())


def test_a_process_of_another_user_is_refused(home: Path, monkeypatch: Any, caplog: Any):
    monkeypatch.setattr(client_link_module, "peer_uid_ok", lambda *_: False)

    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            wire = await connect(path, greet=False)
            await wire.send((Ask.HELLO, VERSION))
            assert await wire.last_words() is None
            assert wire.frames == []
            assert "another user" in caplog.text
            await wire.close()

    asyncio.run(story())


def test_after_its_end_everything_is_a_no_op(home: Path):
    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            wire = await connect(path)
            (link,) = it.service._clients
            await wire.close()
            await it.until(lambda: not it.service._clients)
            link.answer(1)
            link.flush()
            link.read(False)
            link.read(True)
            link.goodbye("bye")
            link.close()

    asyncio.run(story())


def test_the_protocol_is_made_per_connection(home: Path):
    async def story() -> None:
        async with room(home) as it:
            one, two = it.service.connection(), it.service.connection()
            assert isinstance(one, ClientLink)
            assert one is not two

    asyncio.run(story())
