"""One client's connection: the greeting, nonsense, what it does not read."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import pytest

from room import room
from understudy.supervisor import client_link as client_link_module
from understudy.supervisor.client_link import ClientLink
from understudy.supervisor.codec import VERSION, encode
from understudy.supervisor.frames import Answer, Ask
from understudy.supervisor.settings import BATCH_BYTES
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


def test_a_client_that_never_reads_is_dropped_at_a_bound(home: Path, monkeypatch: Any, caplog: Any):
    monkeypatch.setattr(client_link_module, "UNREAD_LIMIT", 1 << 20)

    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            it.service.tree = lambda: {"x": bytes(50_000)}
            other = await connect(path)
            reader, writer = await asyncio.open_unix_connection(path)
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(encode((Ask.HELLO, VERSION)))
            await it.until(lambda: len(it.service._clients) == 2)
            links = list(it.service._clients)
            most = 0
            for n in range(400):
                writer.write(encode((Ask.TREE, n)))
                await asyncio.sleep(0)
                for link in links:
                    if link._transport is not None:
                        most = max(most, link._transport.get_write_buffer_size())
                if len(it.service._clients) == 1:
                    break
            await it.until(lambda: len(it.service._clients) == 1)
            assert 500_000 < most <= 1 << 20
            assert "does not read" in caplog.text
            assert (await other.ask(Ask.TREE))["x"]
            writer.close()
            await other.close()

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
    monkeypatch.setattr(client_link_module, "peer_uid_ok", lambda _sock: False)

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
