"""Connections of tasks, sync and async alike: every test runs in both flavours unless it says otherwise."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest

from peers import client_tls, echo, handshake, idle, mute, node_peer, peer, server_tls
from understudy.actors.attempt.host import Ending
from understudy.actors.errors import (
    InvalidOption,
    NotInTask,
    TaskCancelled,
    UnencodableValue,
    WebSocketClosed,
    WebSocketRefused,
)
from understudy.actors.websocket import api as ws
from understudy.actors.websocket.api import Backoff, Reconnected, mailbox
from waiting import until

SOON = Backoff(delay=0.01, max_delay=0.05)


def is_async(api: Any) -> bool:
    return api.ws is not BLOCKING


BLOCKING: Any = None


@pytest.fixture(autouse=True)
def _blocking(request: pytest.FixtureRequest) -> None:
    global BLOCKING  # noqa: PLW0603 - the class that stands for the sync API; see conftest.py
    import sys

    BLOCKING = next(m._BlockingWs for m in list(sys.modules.values()) if hasattr(m, "_BlockingWs"))


# --- what goes to and fro ---

VALUES = [
    {"a": [1, None, "ä"]},
    [],
    [[1.5], {}],
    "hello",
    "",
    "42",
    "null",
    "{not json",
    " 7",
    "\u2028",
    b"",
    b"\x00\xff",
    "x" * 200_000,
    b"y" * 200_000,
    {"big": ["z" * 1000] * 100},
]


def test_values_come_back_as_they_went(stage: Any, flavour: Any) -> None:
    async def body(api: Any) -> None:
        conn = await api.ws.connect(server.url)
        for value in VALUES:
            await api.ws.send(conn, value)
            back = await api.ws.receive(conn, 10)
            assert (back, type(back)) == (value, type(value))
        await api.ws.send(conn, bytearray(b"ab"))
        await api.ws.send(conn, memoryview(b"cd"))
        assert [await api.ws.receive(conn), await api.ws.receive(conn)] == [b"ab", b"cd"]
        await api.ws.close(conn)
        assert await api.ws.receive(conn) is None
        assert (conn.open, conn.close_code, conn.close_reason, conn.error) == (False, 1000, "", "")

    with peer() as server:
        stage.perform(flavour(body)).value()
        assert server.ended() == [(1000, "")]


def test_what_cannot_be_sent(stage: Any, flavour: Any) -> None:
    async def body(api: Any) -> None:
        conn = await api.ws.connect(server.url)
        for value, path in [
            (7, "data"),
            (None, "data"),
            ({"x": {1, 2}}, "data['x']"),
            ([1, {"y": math.nan}], "data[1]['y']"),
            ({(1,): 2}, "data[(1,)]"),
            ("\ud800", "data"),
        ]:
            with pytest.raises(UnencodableValue) as caught:
                await api.ws.send(conn, value)
            assert caught.value.path == path
        assert conn.open

    with peer(idle) as server:
        stage.perform(flavour(body)).value()


def test_text_stays_text_if_that_is_asked_for(stage: Any, flavour: Any) -> None:
    async def body(api: Any) -> None:
        conn = await api.ws.connect(server.url, json=False)
        await api.ws.send(conn, {"a": 1})
        assert await api.ws.receive(conn) == '{"a":1}'

    with peer() as server:
        stage.perform(flavour(body)).value()


def test_headers_and_subprotocols(stage: Any, flavour: Any) -> None:
    async def body(api: Any) -> None:
        conn = await api.ws.connect(server.url, headers={"X-Agent": "7"}, subprotocols=["chat.v1", "chat.v2"])
        assert (conn.subprotocol, conn.url) == ("chat.v2", server.url)
        assert conn.headers["sec-websocket-protocol"] == "chat.v2"

    with peer(idle, subprotocols=["chat.v2"]) as server:
        stage.perform(flavour(body)).value()
        assert server.requests[0].headers["x-agent"] == "7"


def test_tls(stage: Any, flavour: Any) -> None:
    async def body(api: Any) -> None:
        conn = await api.ws.connect(server.url, ssl=client_tls())
        await api.ws.send(conn, "x" * 300_000)
        assert await api.ws.receive(conn) == "x" * 300_000
        with pytest.raises(WebSocketRefused, match="certificate") as caught:
            await api.ws.connect(server.url)
        assert caught.value.final

    with peer(ssl=server_tls()) as server:
        stage.perform(flavour(body)).value()
        assert server.ended() == [(1000, "")]


@pytest.mark.parametrize("arguments", [(), ("tls",), ("deflate",)], ids=" ".join)
def test_a_server_of_another_make(stage: Any, flavour: Any, arguments: tuple[str, ...]) -> None:
    async def body(api: Any) -> None:
        options = {"ssl": client_tls()} if "tls" in arguments else {}
        conn = await api.ws.connect(
            url + "hello",
            headers={"X-Agent": "7"},
            subprotocols=["chat.v2"],
            compression="deflate" in arguments,
            **options,
        )
        assert await api.ws.receive(conn) == {"agent": "7", "protocol": "chat.v2"}
        assert ("Sec-WebSocket-Extensions" in conn.headers) == ("deflate" in arguments)
        for value in [{"x": "ä" * 1000}, b"\x00\xff" * 100_000, "text"]:
            await api.ws.send(conn, value)
            assert await api.ws.receive(conn) == value
        await api.ws.send(conn, "fragments")
        assert await api.ws.receive(conn) == "äöü"
        await api.ws.send(conn, "bye")
        assert await api.ws.receive(conn) is None
        assert (conn.close_code, conn.close_reason) == (4001, "as you wish")
        conn = await api.ws.connect(url, **options)
        await api.ws.send(conn, "vanish")
        assert await api.ws.receive(conn) is None
        assert conn.close_code == 1006
        await api.ws.connect(url, **options)

    with node_peer(*arguments) as (url, line):
        stage.perform(flavour(body)).value()
        assert sorted(line() for _ in range(3)) == ["1000", "1006", "4001 as you wish"]


# --- iterating and with ---


def test_a_with_block_closes_and_an_iteration_ends(stage: Any) -> None:
    async def three(conn: Any) -> None:
        for n in range(3):
            await conn.send(json.dumps([n]))

    def body() -> list[Any]:
        with ws.connect(server.url) as conn:
            return list(conn)

    async def async_body() -> list[Any]:
        from understudy.actors.inside.aio import ws as aws

        async with aws.connect(server.url) as conn:
            return [item async for item in conn]

    with peer(three) as server:
        assert stage.perform(body).value() == [[0], [1], [2]]
        assert stage.perform(async_body).value() == [[0], [1], [2]]


@pytest.mark.parametrize("code", [1000, 1001, 1011, 4000])
def test_an_iteration_tells_a_broken_end_from_an_orderly_one(stage: Any, code: int) -> None:
    async def leaves(conn: Any) -> None:
        await conn.close(code, "so it is")

    def body() -> list[Any]:
        conn = ws.connect(server.url)
        try:
            return list(conn)
        finally:
            assert (conn.close_code, conn.close_reason) == (code, "so it is")
            assert conn.receive() is None
            with pytest.raises(WebSocketClosed):
                conn.send("x")

    with peer(leaves) as server:
        play = stage.perform(body, now=False)
        stage.begin(play)
        if code < 1002:
            assert play.value() == []
        else:
            assert play.outcome().error[:2] == (
                "WebSocketClosed",
                f"the connection to {server.url} is closed, code {code}: so it is",
            )


# --- the end of the task ---


def test_what_a_task_leaves_open_is_closed_with_its_end(stage: Any, flavour: Any) -> None:
    async def done(api: Any) -> int:
        await api.ws.connect(server.url)
        return 1

    async def fails(api: Any) -> None:
        await api.ws.connect(server.url)
        raise ValueError

    async def waits(api: Any) -> None:
        conn = await api.ws.connect(server.url)
        plays[-1].mark("open")
        await api.ws.receive(conn)

    plays: list[Any] = []

    def wait() -> Any:
        plays.append(stage.perform(flavour(waits), now=False))
        stage.begin(plays[-1])
        plays[-1].until_marked("open")
        plays[-1].until_waiting()
        return plays[-1]

    with peer(idle) as server:
        assert stage.perform(flavour(done)).value() == 1
        assert server.ended() == [(1000, "")]
        assert stage.perform(flavour(fails)).outcome().ending is Ending.ERROR
        assert server.ended(2)[1:] == [(1011, "the task failed")]
        for reason in ("cancel", "timeout"):
            play = wait()
            play.actor.stop_for(reason)
            assert play.outcome().error[0] in {"TaskCancelled", "CancelledError"}
        assert server.ended(4)[2:] == [(1001, "")] * 2
        play = wait()
        play.actor.interrupt()
        assert play.outcome().ending is Ending.INTERRUPTED
        assert server.ended(5)[4:] == [(1001, "")]


def test_an_end_does_not_wait_for_ever(stage: Any, flavour: Any) -> None:
    async def body(api: Any) -> None:
        await api.ws.connect(server.url, close_timeout=0.05)

    with mute(handshake) as server:
        stage.perform(flavour(body)).value()


# --- waking ---


async def connects(api: Any, url: str) -> None:
    await api.ws.connect(url)


async def receives(api: Any, url: str) -> None:
    await api.ws.receive(await api.ws.connect(url, close_timeout=0.01))


async def selects(api: Any, url: str) -> None:
    await api.ws.select(await api.ws.connect(url, close_timeout=0.01))


async def sends(api: Any, url: str) -> None:
    conn = await api.ws.connect(url, close_timeout=0.01)
    while True:
        await api.ws.send(conn, b"x" * 100_000)


async def closes(api: Any, url: str) -> None:
    await api.ws.close(await api.ws.connect(url, close_timeout=1000))


@pytest.mark.parametrize("reason", ["cancel", "timeout", "drain"])
@pytest.mark.parametrize("what", [connects, receives, selects, sends, closes])
def test_every_call_wakes(stage: Any, flavour: Any, what: Any, reason: str) -> None:
    async def body(api: Any) -> None:
        await what(api, server.url)

    with mute((lambda _: b"") if what is connects else handshake) as server:
        play = stage.perform(flavour(body), now=False)
        stage.begin(play)
        until(lambda: server.sockets, 10)
        play.until(lambda: play.actor.resources and play.parked == play.resumed + 1 and ready(play, what))
        play.until_waiting()
        if reason == "drain":
            play.actor.interrupt()
        else:
            play.actor.stop_for(reason)
        outcome = play.outcome()
        if reason == "drain":
            assert outcome.ending is Ending.INTERRUPTED
        else:
            assert outcome.error[0] in {"TaskCancelled", "CancelledError"}


def ready(play: Any, what: Any) -> bool:
    """Whether it stands where it is to be woken."""
    [session] = play.actor.resources
    if what is connects:
        return session.link is None
    if session.link is None:
        return False
    if what is closes:
        return bool(session.closing)
    return what is not sends or bool(session.congested())


def test_a_cancel_is_told_once(stage: Any) -> None:
    """A sync task may still say goodbye in its own words."""

    def body() -> Any:
        conn = ws.connect(server.url)
        play.mark("open")
        with pytest.raises(TaskCancelled):
            conn.receive()
        ws.send(conn, {"op": "logout"}, shield=True)
        said = [conn.receive(shield=True)]
        conn.send({"op": "once more"}, shield=True)
        source, message = ws.select(conn, ws.mailbox, shield=True)
        said.append([source is conn, message])
        with ws.connect(server.url, shield=True) as other:
            said.append(other.open)
        return said

    with peer() as server:
        play = stage.perform(body, now=False)
        stage.begin(play)
        play.until_marked("open")
        play.until_waiting()
        play.actor.stop_for("cancel")
        assert play.value() == [{"op": "logout"}, [True, {"op": "once more"}], True]
        assert server.ended(2) == [(1001, "")] * 2


@pytest.mark.parametrize("call", ["connect", "send", "receive", "select", "mailbox"])
def test_a_loop_that_goes_on_after_a_cancel_ends(stage: Any, call: str) -> None:
    def body() -> None:
        with ws.connect(server.url) as conn:
            play.mark("open")
            with pytest.raises(TaskCancelled):
                conn.receive()
            while True:
                try:
                    {
                        "connect": lambda: ws.connect(server.url),
                        "send": lambda: conn.send("more"),
                        "receive": conn.receive,
                        "select": lambda: ws.select(conn),
                        "mailbox": lambda: ws.select(conn, ws.mailbox),
                    }[call]()
                except Exception:  # noqa: BLE001 - as a loop that must not stop for an error has it
                    play.mark("swallowed")

    with peer() as server:
        play = stage.perform(body, now=False)
        stage.begin(play)
        play.until_marked("open")
        play.until_waiting()
        play.actor.stop_for("cancel")
        assert play.outcome().error[0] == "Cancelled"
        assert play.marks == ["open"]
        assert server.ended() == [(1001, "")]


def test_timeouts(stage: Any, flavour: Any) -> None:
    async def body(api: Any) -> None:
        conn = await api.ws.connect(server.url, close_timeout=0.01)
        for wait in (0, 0.01):
            with pytest.raises(TimeoutError, match=f"no message within {wait} s"):
                await api.ws.receive(conn, wait)
            with pytest.raises(TimeoutError, match=f"no message within {wait} s"):
                await api.ws.select(conn, timeout=wait)
        with pytest.raises(InvalidOption):
            await api.ws.receive(conn, -1)
        with pytest.raises(TimeoutError, match="not sent within"):  # noqa: PT012 - one of them, and which is open
            for _ in range(10_000):
                await api.ws.send(conn, b"x" * 100_000, 0.01)

    with mute(handshake) as server:
        stage.perform(flavour(body)).value()


# --- connecting ---


def test_a_connection_that_does_not_come_about(stage: Any, flavour: Any) -> None:
    def not_found(request: bytes) -> bytes:
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"

    async def body(api: Any) -> None:
        async def refused(url: str, match: str, status: int | None, final: bool) -> None:
            with pytest.raises(WebSocketRefused, match=match) as caught:
                await api.ws.connect(url)
            assert (caught.value.status, caught.value.final) == (status, final)
            assert "secret" not in str(caught.value)

        await refused(
            f"ws://u:secret@localhost:{absent.port}/?token=secret", "no connection to ws://loc", None, False
        )
        await refused(wrong.url, "HTTP 404", 404, True)
        await refused(babble.url, "not a WebSocket server", None, True)
        await refused(hangs_up.url, "not a WebSocket server", None, False)
        await refused(
            no_tls.url.replace("ws:", "wss:"), r"no connection to wss://localhost:\d+/: \S", None, False
        )
        with pytest.raises(TimeoutError, match=r"no connection to .* within 0\.05 s"):
            await api.ws.connect(silent.url, open_timeout=0.05)

    with (
        mute() as absent,
        mute(not_found) as wrong,
        mute(lambda _: b"SSH-2.0-x\r\n\r\n") as babble,
        mute(lambda _: None) as hangs_up,
        mute(lambda _: None, until=b"\x16\x03") as no_tls,  # how TLS begins
        mute() as silent,
    ):
        absent.close()
        try:
            stage.perform(flavour(body)).value()
        finally:
            absent.__init__()  # type: ignore[misc]  # for the `with`, which closes it once more


def test_bad_options(stage: Any, flavour: Any) -> None:
    async def body(api: Any) -> None:
        for url, options in [
            ("http://localhost", {}),
            ("ws://localhost", {"open_timeout": 0}),
            ("ws://localhost", {"nonsense": 1}),
        ]:
            with pytest.raises(InvalidOption):
                await api.ws.connect(url, **options)
        conn = await api.ws.connect(server.url)
        for code, reason in [(1005, ""), (999, ""), (5000, ""), ("x", ""), (1000, "x" * 124), (1000, 1)]:
            with pytest.raises(InvalidOption):
                await api.ws.close(conn, code, reason)
        for sources in [(), (conn, 7), ("mailbox",)]:
            with pytest.raises(InvalidOption):
                await api.ws.select(*sources)
        assert conn.open
        await api.ws.close(conn, 4321, "ä" * 61)
        await api.ws.close(conn)

    with peer(idle) as server:
        stage.perform(flavour(body)).value()
        assert server.ended() == [(4321, "ä" * 61)]


# --- whose it is ---


def test_outside_of_a_task() -> None:
    with pytest.raises(NotInTask):
        ws.connect("ws://localhost")
    with pytest.raises(NotInTask):
        ws.select(mailbox)


def test_in_the_wrong_flavour_of_task(stage: Any) -> None:
    async def body() -> None:
        with pytest.raises(NotInTask):
            ws.connect("ws://localhost")

    def sync_body() -> None:
        from understudy.actors.inside.aio import ws as aws

        with pytest.raises(NotInTask):
            asyncio.run(aws.select(mailbox))

    stage.perform(body).value()
    stage.perform(sync_body).value()


def test_a_connection_of_another_task(stage: Any, flavour: Any) -> None:
    shared: list[Any] = []

    async def owner(api: Any) -> None:
        shared.append(await api.ws.connect(server.url))
        await api.receive()

    async def thief(api: Any) -> None:
        with pytest.raises(NotInTask, match="belongs to another task"):
            await api.ws.receive(shared[0])
        with pytest.raises(NotInTask, match="belongs to another task"):
            await api.ws.select(shared[0])

    with peer(idle) as server:
        play = stage.perform(flavour(owner))
        until(lambda: shared, 10)
        stage.perform(flavour(thief)).value()
        play.actor.inbox.close()
        play.value()


# --- select ---


def test_select_takes_what_comes_first_and_gives_turns(stage: Any, flavour: Any) -> None:
    async def body(api: Any) -> list[Any]:
        one, two = await api.ws.connect(server.url), await api.ws.connect(server.url)
        name = {one: "one", two: "two", mailbox: "mailbox"}
        for n in range(3):
            await api.ws.send(one, f"{n}")
            await api.ws.send(two, f"{n}")
        play.mark("sent")
        seen: list[tuple[str, Any]] = []
        while len(seen) < 9:
            source, message = await api.ws.select(one, two, mailbox)
            seen.append((name[source], message))
        for who in ("one", "two", "mailbox"):
            assert [message for name, message in seen if name == who] == ["0", "1", "2"]
        await api.ws.close(two)
        assert await api.ws.select(one, two) == (two, None)
        play.mark("closed")
        assert await api.ws.select(one, mailbox) == (mailbox, None)
        return [n for n, _ in seen]

    with peer() as server:
        play = stage.perform(flavour(body), now=False)
        play.tell("0", "1", "2")
        stage.begin(play)
        play.until_marked("closed")
        play.actor.inbox.close()
        names = play.value()
        assert sorted(names) == sorted(["one", "two", "mailbox"] * 3)


def test_one_that_always_speaks_does_not_drown_the_others(stage: Any, flavour: Any) -> None:
    async def chatter(conn: Any) -> None:
        while True:
            await conn.send("x")
            await asyncio.sleep(0)  # sending alone would not let the loop do anything else

    async def body(api: Any) -> int:
        conn = await api.ws.connect(server.url)
        for n in range(100_000):
            source, _ = await api.ws.select(conn, mailbox)
            if source is mailbox:
                return n
        return -1

    with peer(chatter) as server:
        play = stage.perform(flavour(body), now=False)
        play.tell("stop")
        stage.begin(play)
        assert play.value() in {0, 1}


def test_a_cancel_comes_through_the_mailbox_of_a_select(stage: Any) -> None:
    def body() -> Any:
        conn = ws.connect(server.url)
        play.mark("open")
        source, message = ws.select(conn, mailbox)
        return [source is mailbox, message]

    with peer() as server:
        play = stage.perform(body, now=False)
        stage.begin(play)
        play.until_marked("open")
        play.until_waiting()
        play.actor.stop_for("cancel")
        assert play.value() == [True, {"$cancel": True}]


def test_select_acknowledges_as_receive_does(stage: Any, flavour: Any) -> None:
    async def body(api: Any) -> None:
        conn = await api.ws.connect(server.url)
        assert await api.ws.select(mailbox, conn) == (mailbox, "a")
        assert await api.ws.select(mailbox, conn) == (mailbox, "b")
        assert play.actor.acked == 1

    with peer(idle) as server:
        play = stage.perform(flavour(body), now=False)
        play.tell("a", "b")
        stage.begin(play)
        play.value()


# --- reconnecting ---


def test_a_lost_connection_is_opened_again(stage: Any, flavour: Any) -> None:
    async def subscribed(conn: Any) -> None:
        topic = await conn.recv()
        await conn.send(f"{len(server.requests)}: {topic}")
        await conn.wait_closed()

    async def body(api: Any) -> None:
        conn = await api.ws.connect(
            server.url, reconnect=SOON, on_connect=lambda conn: api.ws.send(conn, "topic")
        )
        assert await api.ws.receive(conn) == "1: topic"
        play.mark("first")
        marker = await api.ws.receive(conn)
        assert isinstance(marker, Reconnected)
        assert (marker.number, marker.code, marker.reason) == (1, 1006, "")
        assert marker.attempts >= 1
        assert 0 < marker.down < 10
        assert await api.ws.receive(conn) == "2: topic"
        assert (conn.reconnects, conn.open, conn.close_code) == (1, True, None)
        play.mark("second")
        marker = await api.ws.receive(conn)
        assert (marker.number, marker.code, marker.reason) == (2, 1012, "restart")
        assert await api.ws.receive(conn) == "3: topic"
        play.mark("third")
        assert await api.ws.receive(conn) is None
        assert (conn.close_code, conn.close_reason, conn.open) == (1000, "finished", False)

    if flavour.__name__ == "_sync":
        # The hook of a sync task is a plain function.
        inner = body

        async def body(api: Any) -> None:
            class Plain(api.ws):  # type: ignore[misc]
                send = staticmethod(lambda conn, data: conn.send(data))

            await inner(type("Api", (api,), {"ws": Plain}))

    with peer(subscribed) as server:
        play = stage.perform(flavour(body), now=False)
        stage.begin(play)
        play.until_marked("first")
        server.reset()
        play.until_marked("second")
        server.stop(1012, "restart")
        server.start()
        play.until_marked("third")
        server.stop(1000, "finished")
        play.value()
        server.start()


def test_no_marker_if_that_is_asked_for(stage: Any, flavour: Any) -> None:
    async def body(api: Any) -> None:
        conn = await api.ws.connect(server.url, reconnect=Backoff(delay=0.01, marker=False))
        play.mark("open")
        assert await api.ws.receive(conn) == "after"
        assert conn.reconnects == 1

    with peer(idle) as server:
        play = stage.perform(flavour(body), now=False)
        stage.begin(play)
        play.until_marked("open")
        server.connected()
        server.reset()
        until(lambda: len(server.requests) == 2, 10)
        server.connected()
        server.send("after")
        play.value()


def test_what_came_before_the_loss_is_received_before_the_marker(stage: Any, flavour: Any) -> None:
    async def greets(conn: Any) -> None:
        await conn.send(f"hello {len(server.requests)}")
        await conn.wait_closed()

    async def body(api: Any) -> None:
        conn = await api.ws.connect(server.url, reconnect=SOON)
        until(lambda: conn.queued == 1, 10) if not is_async(api) else await asyncio.sleep(0)
        play.mark("open")
        assert await api.ws.receive(conn) == "hello 1"
        assert isinstance(await api.ws.receive(conn), Reconnected)
        assert await api.ws.receive(conn) == "hello 2"

    with peer(greets) as server:
        play = stage.perform(flavour(body), now=False)
        stage.begin(play)
        play.until_marked("open")
        server.reset()
        play.value()


def test_a_send_waits_for_the_new_connection(stage: Any, flavour: Any) -> None:
    async def body(api: Any) -> None:
        conn = await api.ws.connect(server.url, reconnect=SOON)
        play.mark("open")
        await api.receive()
        with pytest.raises(TimeoutError):
            await api.ws.send(conn, "too early", 0.01)
        play.mark("lost")
        await api.ws.send(conn, "again")
        assert isinstance(await api.ws.receive(conn), Reconnected)
        assert await api.ws.receive(conn) == "again"

    with peer() as server:
        play = stage.perform(flavour(body), now=False)
        stage.begin(play)
        play.until_marked("open")
        server.stop(1001)
        [session] = play.actor.resources
        until(lambda: session.link is None, 10)
        play.tell("go on")
        play.until_marked("lost")
        server.start()
        play.value()


def test_a_connection_is_given_up(stage: Any, flavour: Any) -> None:
    async def body(api: Any) -> None:
        conn = await api.ws.connect(server.url, reconnect=Backoff(delay=0.001, attempts=3))
        play.mark("open")
        assert await api.ws.receive(conn) is None
        assert conn.close_code == 1001
        assert "no connection to" in conn.error
        with pytest.raises(WebSocketClosed):
            await api.ws.send(conn, "x")

    with peer(idle) as server:
        play = stage.perform(flavour(body), now=False)
        stage.begin(play)
        play.until_marked("open")
        server.stop()
        play.value()
        server.start()


def test_closing_while_it_is_lost(stage: Any, flavour: Any) -> None:
    async def body(api: Any) -> None:
        conn = await api.ws.connect(server.url, reconnect=Backoff(delay=1000))
        play.mark("open")
        await api.receive()
        assert "lost" in repr(conn)
        await api.ws.close(conn)
        assert await api.ws.receive(conn) is None

    with peer(idle) as server:
        play = stage.perform(flavour(body), now=False)
        stage.begin(play)
        play.until_marked("open")
        server.connected()
        server.reset()
        [session] = play.actor.resources
        until(lambda: session.link is None, 10)
        play.tell("go on")
        play.value()


def test_a_hook_that_fails_ends_the_connection(stage: Any) -> None:
    def hook(conn: Any) -> None:
        raise ValueError("no")

    def body() -> None:
        with pytest.raises(ValueError, match="no"):
            ws.connect(server.url, on_connect=hook)
        until(lambda: server.ends, 10)

    with peer(echo) as server:
        stage.perform(body).value()
        assert server.ends == [(1011, "the task failed")]


def test_a_hook_may_converse_and_is_called_again_if_the_connection_is_lost_meanwhile(stage: Any) -> None:
    async def asks(conn: Any) -> None:
        await conn.recv()
        if len(server.requests) == 2:
            conn.transport.abort()
        await conn.send("welcome")
        await conn.wait_closed()

    def hook(conn: Any) -> None:
        conn.send("login")
        assert conn.receive(10) == "welcome"
        greeted.append(conn.reconnects)

    def body() -> None:
        conn = ws.connect(server.url, on_connect=hook, reconnect=SOON)
        server.reset()
        numbers = [conn.receive(10).number, conn.receive(10).number]
        assert numbers == [1, 2]

    greeted: list[int] = []
    with peer(asks) as server:
        stage.perform(body).value()
        assert greeted == [0, 2]
