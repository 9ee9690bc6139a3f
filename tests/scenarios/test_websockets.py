"""WebSocket sessions in real workers: many of them, and their fate when something stops or dies."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import ws_tasks as tasks
from needs import require
from peers import echo, idle, peer
from puppets import said
from theatre import PATIENCE, kill, parked, ready, running, runtime, serving
from understudy import Retry, Runtime, TaskCancelled, TaskTimedOut
from waiting import until

MANY = 1_000


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Descriptors for a thousand connections at both ends, for us and for our processes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MANY + 500
    require(hard == resource.RLIM_INFINITY or hard >= wanted, f"{wanted} file descriptors (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def once(conn: Any) -> None:
    await conn.wait_closed()


@pytest.mark.usefixtures("descriptors")
def test_a_thousand_connections_in_one_worker(home: Path) -> None:
    """Of async tasks, of sync tasks, and of one task alone; waiting tasks hold no slot."""
    with (
        peer(once, open_timeout=60) as server,
        runtime(home, app="ws_tasks", slots=2, durability="os") as rt,
    ):
        infos = rt.start_many(tasks.listen_async, [(server.url,)] * (MANY - 400))
        infos += rt.start_many(tasks.listen, [(server.url,)] * 200)
        many = tasks.listen_to_many.start(server.url, 200)
        until(lambda: len(server.connections) == MANY, 50, lambda: str(len(server.connections)))
        until(lambda: [worker["parked"] for worker in rt.tree()["workers"]] == [len(infos) + 1], PATIENCE)
        short = rt.start_many(tasks.add, [(n, 1) for n in range(100)])
        assert list(rt.results(short, PATIENCE)) == list(range(1, 101))
        server.send("go")
        assert set(rt.results(infos, 40)) == {"go"}
        assert many.result(PATIENCE) == 200
        assert {code for code, _ in server.ended(MANY)} == {1000}


@pytest.mark.parametrize("feed", [tasks.feed, tasks.feed_async], ids=["sync", "async"])
def test_a_killed_gateway_goes_on_from_its_last_acknowledged_message(home: Path, feed: Any) -> None:
    """Its worker is killed, the connection is reset, the server stops and comes back: each number arrives once."""
    count = 1_000
    allowed = [200]

    async def numbers(conn: Any) -> None:
        start = json.loads(await conn.recv())["after"] + 1
        for n in range(start, count):
            # All of them fit into the gateway's buffers: with them there, it would miss no connection.
            while n >= allowed[0]:
                with suppress(TimeoutError):
                    await asyncio.wait_for(conn.wait_closed(), 0.005)
                    return
            await conn.send(json.dumps({"n": n}))
            if n % 20 == 0:
                await asyncio.sleep(0)
        await conn.wait_closed()

    with peer(numbers) as server, runtime(home, app="ws_tasks", max_crashes=100, durability="os") as rt:
        again = Retry(attempts=100, delay=0)
        ledger = tasks.collect.options(retry=again).start(count)
        gateway = feed.options(retry=again).start(server.url, ledger.id, count)

        def last() -> int:
            return (gateway.restore() or {"last": -1})["last"]

        def reached(part: float) -> None:
            until(lambda: last() >= part * count, PATIENCE, lambda: f"{part}: {last()}, {gateway.status()}")

        reached(0.1)
        kill(running([gateway], rt)[0]["pid"])
        allowed[0] = 400
        reached(0.3)
        server.reset()
        allowed[0] = 600
        reached(0.5)
        kill(running([gateway], rt)[0]["pid"])
        allowed[0] = 800
        reached(0.7)
        server.stop()
        server.start()
        allowed[0] = count
        pids = gateway.result(PATIENCE)
        assert ledger.result(PATIENCE) == list(range(count))
        assert len(set(pids)) == 3
        assert len(server.requests) >= 5, "one more after each of the four"


@pytest.mark.parametrize("shows", [tasks.shows, tasks.shows_async], ids=["sync", "async"])
def test_what_a_session_publishes_is_watched_over_its_death(home: Path, shows: Any) -> None:
    count = 300

    async def numbers(conn: Any) -> None:
        start = json.loads(await conn.recv())["after"] + 1
        for n in range(start, count):
            await conn.send(json.dumps({"n": n}))
            if n % 20 == 0:
                await asyncio.sleep(0)
        await conn.wait_closed()

    with peer(numbers) as server, runtime(home, app="ws_tasks", max_crashes=100, durability="os") as rt:
        session = shows.options(retry=Retry(attempts=100, delay=0)).start(server.url, count)
        entries, cursor = [], None
        for part in (0.2, 0.6, 1.1):
            with rt.watch(task=session, after=cursor) as watch:
                for entry in watch:
                    if entry.kind != "snapshot":
                        entries.append(entry)
                        cursor = entry.cursor
                    if entry.name == "kept" and entry.value >= part * count:
                        kill(running([session], rt)[0]["pid"])
                        break
        assert entries[-1].kind == "end"
        assert [entry.value for entry in entries if entry.name == "kept"] == list(range(count))
        came = [entry for entry in entries if entry.name == "came"]
        assert {entry.value for entry in came} <= {*range(count)}
        assert len({entry.interruptions + entry.attempt for entry in came}) == 3
        assert [entry.number for entry in entries if entry.kind == "item"] == list(
            range(1, 1 + sum(entry.kind == "item" for entry in entries))
        )
        with rt.watch(task=session) as watch:
            assert [entry for entry in watch if entry.kind != "snapshot"] == entries


@pytest.mark.parametrize("forever", [tasks.forever, tasks.forever_async], ids=["sync", "async"])
def test_stopping_closes_with_going_away(home: Path, forever: Any) -> None:
    with peer(idle) as server, runtime(home, app="ws_tasks") as rt:
        info = forever.start(server.url)
        server.connected()
        parked([info], rt)
        assert info.cancel()
        with pytest.raises(TaskCancelled):
            info.result(PATIENCE)
        assert server.ended() == [(1001, "")]
        late = forever.options(timeout=0.5).start(server.url)
        with pytest.raises(TaskTimedOut):
            late.result(PATIENCE)
        assert server.ended(2) == [(1001, "")] * 2
        assert late.status().attempt == 1


def test_a_drain_says_goodbye_and_loses_nothing(home: Path) -> None:
    with peer(idle) as server:
        with serving(home, app="ws_tasks") as supervisor:
            assert said(supervisor) == ["ready"]
            with Runtime.connect(home) as rt:
                ready(rt, 1)
                infos = [
                    rt.start(kind, server.url) for kind in (tasks.forever, tasks.forever_async, tasks.listen)
                ]
                server.connected(3)
                parked(infos, rt)
                supervisor.send_signal(signal.SIGTERM)
                assert said(supervisor) == ["stopped"]
                assert [info.status().state for info in infos] == ["queued"] * 3
        assert server.ended(3) == [(1001, "")] * 3
        with serving(home, app="ws_tasks") as supervisor:
            assert said(supervisor) == ["ready"]
            with Runtime.connect(home) as rt:
                server.connected(3)
                parked(infos, rt)
                server.send("hello")
                assert rt.result(infos[2].id, PATIENCE) == "hello"
                assert [rt.cancel(info.id) for info in infos[:2]] == [True, True]


def test_a_killed_worker_is_an_abnormal_end_for_the_other_side(home: Path) -> None:
    with peer(idle) as server, runtime(home, app="ws_tasks") as rt:
        info = tasks.listen.options(retry=1).start(server.url)
        server.connected()
        parked([info], rt)
        kill(running([info], rt)[0]["pid"])
        assert server.ended() == [(None, "")]
        until(lambda: server.connections, PATIENCE)
        server.send("hello")
        assert info.result(PATIENCE) == "hello"


def test_a_fork_of_a_task_leaves_its_connection_alone(home: Path) -> None:
    with peer(echo) as server, runtime(home, app="ws_tasks") as rt:
        assert rt.run(tasks.forks, server.url, timeout=PATIENCE) == "still here"
        assert server.ended() == [(1000, "")]


def test_an_async_task_that_blocks_keeps_no_sync_one_from_its_pings(home: Path) -> None:
    """The connections of sync tasks have their own event loop."""
    with (
        peer(idle, ping_interval=0.1, ping_timeout=1) as server,
        runtime(home, app="ws_tasks", slots=2) as rt,
    ):
        info = tasks.listen.start(server.url)
        parked([info], rt)
        blocking = tasks.blocks.start(1.5)
        assert blocking.result(PATIENCE) == running([info], rt)[0]["pid"]
        server.send("hello")
        assert info.result(PATIENCE) == "hello"
        assert len(server.requests) == 1
