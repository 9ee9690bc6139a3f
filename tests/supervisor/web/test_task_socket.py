"""WebSockets of tasks: messages in, entries out, a close code for each reason, and deaths and stalls."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import item_tasks as tasks
from checkout import ROOT
from story import Story
from theatre import PATIENCE, kill
from understudy import MailboxFull, SupervisorLost
from understudy.actors.access import Role
from understudy.actors.ids import id_text, new_id
from understudy.storage.item_reader import Place
from understudy.supervisor.client.watch_source import WatchSource
from understudy.supervisor.web import task_socket
from understudy.supervisor.web.close_codes import CloseCode, as_table
from understudy.supervisor.web.context import WebContext
from understudy.supervisor.web.identity import Identity
from understudy.supervisor.web.live.feed import Feed
from understudy.supervisor.web.live.reader import Ending, LiveReader
from waiting import until
from web_client import Web, web

APP = "item_tasks"
APP_ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    home: Path = tmp_path_factory.mktemp("h") / "home"
    with web(home, APP, origins=[APP_ORIGIN]) as served:
        yield served


@contextmanager
def speaking(
    it: Web, id: str, token: str | None = "", *, query: str = "", **options: Any
) -> Iterator[ClientConnection]:
    """An open connection. `token`: None for none; by default the first one."""
    headers = {} if token is None else {"Authorization": f"Bearer {token or it.token}"}
    url = f"ws{it.url.removeprefix('http')}/ws/tasks/{id}{query}"
    with connect(url, additional_headers=headers, open_timeout=20, max_size=None, **options) as ws:
        yield ws


def heard(
    ws: ClientConnection, *, until: Callable[[dict[str, Any]], bool] = lambda _: False
) -> list[dict[str, Any]]:
    """All that comes, up to what was waited for, or until the connection is closed."""
    entries = []
    try:
        while True:
            entries.append(json.loads(ws.recv(timeout=PATIENCE)))
            if until(entries[-1]):
                break
    except ConnectionClosed:
        pass
    return entries


def closed(ws: ClientConnection) -> int | None:
    """The code with which the server closes it."""
    heard(ws)
    return ws.close_code


def values(entries: list[dict[str, Any]]) -> list[Any]:
    return [entry["value"] for entry in entries if entry["kind"] == "item"]


def test_the_table_in_the_docs():
    assert as_table() in (ROOT / "docs/live.md").read_text(encoding="utf-8")


class TestTalk:
    def test_messages_go_in_and_entries_come_out(self, it: Web):
        info = it.rt.start(tasks.on_demand)
        with speaking(it, info.id) as ws:
            for n in range(5):
                ws.send(json.dumps({"n": n}))
            left = {"sent": 5, "item": 5, "snapshot": 1}

            def is_all(entry: dict[str, Any]) -> bool:
                left[entry["kind"]] -= 1
                return not any(left.values())

            entries = heard(ws, until=is_all)
            it.rt.close_mailbox(info)
            entries += heard(ws)
        assert entries[0]["kind"] == "snapshot"
        assert values(entries) == [{"n": n} for n in range(5)]
        assert [entry["count"] for entry in entries if entry["kind"] == "sent"] == [1, 2, 3, 4, 5]
        assert (entries[-1]["kind"], ws.close_code) == ("end", CloseCode.END)
        assert sum(entry.action == f"WEBSOCKET /ws/tasks/{info.id}" for entry in it.rt.audit(limit=20)) == 1

    def test_a_cursor_goes_on_behind_its_entry(self, it: Web):
        info = it.rt.start(tasks.tokens, 5)
        it.rt.wait(info, PATIENCE)
        with speaking(it, info.id) as ws:
            first = heard(ws)
        with speaking(it, info.id, query=f"?after={first[2]['cursor']}") as ws:
            assert values(heard(ws)) == [2, 3, 4]
        with speaking(it, info.id, query=f"?after={first[-1]['cursor']}") as ws:
            assert [entry["kind"] for entry in heard(ws)] == ["snapshot"]
            assert ws.close_code == CloseCode.END

    def test_a_page_with_a_signed_token(self, it: Web):
        info = it.rt.start(tasks.on_demand)
        token = it.rt.watch_token(info, send=True)
        with speaking(it, info.id, None, query=f"?token={token}", origin=APP_ORIGIN) as ws:
            ws.send('"hello"')
            entries = heard(ws, until=lambda entry: entry.get("value") == "hello")
        assert entries[0]["snapshot"].keys() == {"state", "attempt", "progress"}
        it.rt.close_mailbox(info)

    def test_who_may_listen_alone(self, it: Web):
        info = it.rt.start(tasks.on_demand)
        for token, query in (
            (it.rt.add_token("reader"), ""),
            (None, f"?token={it.rt.watch_token(info)}"),
        ):
            with speaking(it, info.id, token, query=query) as ws:
                assert json.loads(ws.recv(PATIENCE))["kind"] == "snapshot"
                ws.send("1")
                assert closed(ws) == CloseCode.NOT_ALLOWED
        assert it.rt.status(info).mailbox_depth == 0
        it.rt.close_mailbox(info)

    def test_origins(self, it: Web):
        info = it.rt.start(tasks.on_demand)
        signed = f"?token={it.rt.watch_token(info)}"
        for origin, token, query in (
            ("https://evil.example", None, signed),
            ("https://evil.example", "", ""),
            (it.url.replace("http:", "https:"), "", ""),
        ):
            with (
                pytest.raises(InvalidStatus) as caught,
                speaking(it, info.id, token, query=query, origin=origin),
            ):
                pass
            assert caught.value.response.status_code == 403
        # One that is allowed, but without a signed token.
        with speaking(it, info.id, origin=APP_ORIGIN) as ws:
            assert closed(ws) == CloseCode.NOT_ALLOWED
        with speaking(it, info.id, origin=it.url) as ws:
            assert json.loads(ws.recv(PATIENCE))["kind"] == "snapshot"
        it.rt.close_mailbox(info)


class TestClosing:
    def test_before_anything_is_sent(self, it: Web):
        info, other = it.rt.start(tasks.on_demand), it.rt.start(tasks.on_demand)
        some = it.rt.add_token("others", role="run", tasks="shop*")
        of_other = it.rt.watch_token(other)
        for id, token, query, code in (
            (info.id, None, "", CloseCode.NO_TOKEN),
            (info.id, "wrong", "", CloseCode.NO_TOKEN),
            (info.id, None, "?token=usw_x", CloseCode.NO_TOKEN),
            (info.id, some, "", CloseCode.NOT_ALLOWED),
            (info.id, None, f"?token={of_other}", CloseCode.NOT_ALLOWED),
            (id_text(new_id()), "", "", CloseCode.NOT_FOUND),
            ("x", "", "", CloseCode.NOT_FOUND),
            (info.id, "", "?after=x", CloseCode.BAD_CURSOR),
        ):
            with speaking(it, id, token, query=query) as ws:
                assert heard(ws) == []
                assert ws.close_code == code, (token, query)
                assert ws.close_reason
        for each in (info, other):
            it.rt.close_mailbox(each)

    @pytest.mark.parametrize(
        ("message", "code"),
        [
            (b"1", CloseCode.BINARY),
            ("{", CloseCode.NOT_JSON),
            ("[" * 100_000, CloseCode.NOT_JSON),
            ('"\\ud800"', CloseCode.NOT_JSON),
            ('"' + "x" * (1 << 20) + '"', CloseCode.TOO_LARGE),
        ],
        ids=["binary", "no JSON", "too deep", "no value", "too large"],
    )
    def test_messages_that_are_wrong(self, it: Web, message: str | bytes, code: CloseCode):
        info = it.rt.start(tasks.on_demand)
        with speaking(it, info.id) as ws:
            ws.recv(PATIENCE)
            ws.send(message)
            assert closed(ws) == code
        assert it.rt.status(info).mailbox_depth == 0
        it.rt.close_mailbox(info)

    def test_a_closed_mailbox_and_a_task_that_has_ended(self, it: Web):
        info = it.rt.start(tasks.deaf)
        it.rt.close_mailbox(info)
        with speaking(it, info.id) as ws:
            ws.send("1")
            assert closed(ws) == CloseCode.NO_MESSAGES
        it.rt.cancel(info)
        it.rt.wait(info, PATIENCE)
        with speaking(it, info.id) as ws:
            with suppress(ConnectionClosed):  # it may be quicker
                ws.send("1")
            assert closed(ws) == CloseCode.END

    def test_a_token_that_expires(self, it: Web):
        info = it.rt.start(tasks.on_demand)
        token = it.rt.watch_token(info, expires=0.1)
        with speaking(it, info.id, None, query=f"?token={token}") as ws:
            assert closed(ws) == CloseCode.NO_TOKEN
        it.rt.close_mailbox(info)

    def test_a_client_that_vanishes(self, it: Web):
        info = it.rt.start(tasks.on_demand)
        files = psutil.Process(it.pid).num_fds()
        with ExitStack() as opened:
            for _ in range(30):
                ws = opened.enter_context(speaking(it, info.id))
                ws.recv(PATIENCE)
                ws.socket.shutdown(socket.SHUT_RDWR)
        until(lambda: psutil.Process(it.pid).num_fds() <= files + 5, 20)
        it.rt.close_mailbox(info)


def test_when_the_web_process_stops(home: Path):
    with web(home, APP) as it:
        info = it.rt.start(tasks.on_demand)
        with speaking(it, info.id) as ws:
            ws.recv(PATIENCE)
            began = time.monotonic()
            os.kill(it.pid, signal.SIGTERM)
            assert closed(ws) == CloseCode.RESTART
            assert time.monotonic() - began < 1.5
        it.rt.close_mailbox(info)


@pytest.mark.parametrize("victim", ["web", "supervisor"])
def test_no_gap_and_nothing_twice_when_it_is_killed(home: Path, victim: str):
    with web(home, APP) as it:
        info = it.rt.start(tasks.steps, 200)
        after, seen, killed, code = "", [], 0, None
        deadline = time.monotonic() + 60
        while code != CloseCode.END:
            assert time.monotonic() < deadline
            try:
                with speaking(it, info.id, query=after) as ws:
                    for entry in iter(lambda: json.loads(ws.recv(PATIENCE)), None):
                        seen.append(entry)
                        after = f"?after={entry['cursor']}"
                        steps = sum(each.get("name") == "step" for each in seen)
                        if steps > (killed + 1) * 60 and killed < 2:
                            killed += 1
                            kill(until(lambda: it.pid) if victim == "web" else it.rt.supervisor_pid)
                            it.rt.ping()
            except ConnectionClosed:
                code = ws.close_code
            except (OSError, InvalidStatus, EOFError):
                time.sleep(0.05)  # as a page waits before it comes back
        assert [each["value"] for each in seen if each.get("name") == "step"] == list(range(1, 201))
        assert killed == 2


def test_a_client_that_reads_nothing_is_dropped(home: Path):
    with web(home, APP, stall_timeout=1.0) as it:
        info = it.rt.start(tasks.on_demand)
        before = psutil.Process(it.pid).memory_info().rss
        host, port = it.url.removeprefix("http://").split(":")
        still = []
        for _ in range(10):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect((host, int(port)))
            sock.sendall(
                f"GET /ws/tasks/{info.id} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {it.token}\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            assert sock.recv(12) == b"HTTP/1.1 101"
            still.append(sock)
        files = psutil.Process(it.pid).num_fds()
        for n in range(10):
            it.rt.send(info, [n, "x" * 400_000])
        until(lambda: psutil.Process(it.pid).num_fds() <= files - 5, 20)
        assert psutil.Process(it.pid).memory_info().rss - before < 30 << 20
        for sock in still:
            sock.close()
        it.rt.close_mailbox(info)


class Fake:
    """A session over a story, with a runtime that takes messages at once, or refuses them."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.tried = 0
        self.sent: list[Any] = []
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        story = Story()
        feed = Feed(cast("WatchSource", story))
        self.reader = LiveReader(feed, Place(), story.snapshot(Place()), lambda *_: None)
        context = SimpleNamespace(runtime=self, audit=self)
        connection: Any = SimpleNamespace(url=SimpleNamespace(path="/x"), client=None)
        self.session = task_socket._Session(
            cast("WebContext", context), connection, Identity("a", Role.RUN), new_id(), self.reader,
            self.incoming.get, self._send,
        )  # fmt: skip

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    async def record(self, _: Any) -> None:
        pass

    async def send(self, *_: Any, timeout: float) -> None:
        self.tried += 1
        if self.error is not None:
            raise self.error

    def run(self, *messages: Any) -> task_socket.Closing | None:
        for message in messages:
            self.incoming.put_nowait(message)
        return asyncio.run(asyncio.wait_for(self.session.run(), 10))


TEXT = {"type": "websocket.receive", "text": "1"}


def test_a_mailbox_that_stays_full(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(task_socket, "FULL_PATIENCE", 0.1)
    monkeypatch.setattr(task_socket, "AGAIN", 0.01)
    fake = Fake(MailboxFull("full", "id", 1, 1))
    closing = fake.run(TEXT)
    assert closing is not None
    assert closing.code is CloseCode.MAILBOX_FULL
    assert fake.tried > 2
    assert not any("sent" in message["text"] for message in fake.sent)


@pytest.mark.parametrize("error", [SupervisorLost("gone"), TimeoutError("late")])
def test_no_supervisor(error: Exception):
    closing = Fake(error).run(TEXT)
    assert closing is not None
    assert closing.code is CloseCode.TRY_LATER


def test_messages_that_come_too_fast():
    fake = Fake(None)
    closing = fake.run(*[TEXT] * 1_000)
    assert closing is not None
    assert closing.code is CloseCode.TOO_FAST
    assert task_socket.BURST <= fake.tried < 1_000
    assert sum("sent" in message["text"] for message in fake.sent) == fake.tried


def test_the_client_closes_it():
    assert Fake(TimeoutError()).run({"type": "websocket.disconnect"}) is None


@pytest.mark.parametrize(
    ("ending", "code"), [(Ending.GONE, CloseCode.NOT_FOUND), (Ending.UNREADABLE, CloseCode.FAILED)]
)
def test_other_endings(ending: Ending, code: CloseCode):
    fake = Fake(TimeoutError())
    fake.reader.end(ending)
    closing = fake.run()
    assert closing is not None
    assert closing.code is code
