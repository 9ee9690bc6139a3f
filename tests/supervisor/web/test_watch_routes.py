"""Event streams of tasks over real HTTP: what comes, for whom, and what if somebody vanishes, stalls or dies."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, cast

import httpx
import psutil
import pytest

import item_tasks as app
from event_source import EventSource, Sent, bare
from theatre import PATIENCE, kill
from understudy import AsyncRuntime, TaskInfo
from understudy.actors.ids import id_text, new_id
from understudy.storage.reader import Reader
from understudy.supervisor.web.api.routes import flat
from understudy.supervisor.web.app import create_pages
from understudy.supervisor.web.audit import Audit
from understudy.supervisor.web.context import WebContext
from understudy.supervisor.web.live.hub import Hub
from understudy.supervisor.web.tokens import Tokens
from understudy.supervisor.web_settings import WebSettings
from waiting import until
from web_client import Web, web
from web_roles import ROLES

APP = "item_tasks"
APP_ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    home: Path = tmp_path_factory.mktemp("h") / "home"
    with web(home, app=APP, origins=[APP_ORIGIN]) as served:
        yield served


def path_of(info: TaskInfo[Any]) -> str:
    return f"/api/tasks/{info.id}/watch"


def source(it: Web, info: TaskInfo[Any]) -> EventSource:
    return EventSource(it.url + path_of(info), it.token)


def unused_context() -> WebContext:
    """One with which routes can be made, but no request answered."""
    runtime, reader = AsyncRuntime.connect("/nonexistent"), cast("Reader", None)
    settings, closing = WebSettings(), asyncio.Event()
    return WebContext(
        runtime, reader, settings, Tokens(reader, settings), Audit(runtime), Hub(reader, closing, 1), closing
    )


def routes_of(app: Any) -> Iterator[tuple[str, str]]:
    """Method and path of every route."""
    for route in flat([app]):
        for method in sorted(getattr(route, "methods", None) or {"GET"}):
            yield method, route.path  # type: ignore[attr-defined]


def without_cursor(plain: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in plain.items() if name != "cursor"}


def values(events: list[Sent]) -> list[Any]:
    return [each.data["value"] for each in events if each.event == "item"]


class TestStreams:
    def test_it_is_what_a_watch_yields(self, it: Web):
        info = it.rt.start(app.twice, 4)
        it.rt.wait(info, PATIENCE)
        with it.rt.watch(task=info) as entries:
            expected = [entry.as_dict() for entry in entries]
        seen = list(source(it, info).once())
        assert [each.event for each in seen] == [entry["kind"] for entry in expected]
        assert [each.id for each in seen] == [entry["cursor"] for entry in expected]
        assert [each.data for each in seen[1:]] == expected[1:]
        assert {"item", "log", "attempt", "end"} <= {each.event for each in seen}
        assert seen[0].data["snapshot"]["state"] == "completed"
        stream = EventSource(f"{it.url}/api/streams/{info.stream_id}/watch", it.token)
        of_stream = list(islice(stream.once(), len(expected)))
        assert [without_cursor(each.data) for each in of_stream[1:]] == list(
            map(without_cursor, expected[1:])
        )

    @pytest.mark.parametrize("by", ["header", "query"])
    def test_a_cursor_goes_on_behind_its_entry_and_the_last_one_ends_it(self, it: Web, by: str):
        info = it.rt.start(app.tokens, 5)
        it.rt.wait(info, PATIENCE)
        first = list(source(it, info).once())
        again = source(it, info)
        if by == "header":
            again.last = first[2].id
        else:
            again.url += f"?after={first[2].id}"
        assert values(list(again.once())) == [2, 3, 4]
        again.last = first[-1].id
        assert list(again.once()) == []
        assert again.status == 204, "a browser comes back no more"

    def test_what_is_not_there_or_wrong(self, it: Web):
        info, other = it.rt.start(app.tokens, 1), it.rt.start(app.tokens, 1)
        for each in (info, other):
            it.rt.wait(each, PATIENCE)
        strange = next(source(it, other).once()).id
        for path, status in {
            "/api/tasks/nonsense/watch": 404,
            f"/api/tasks/{id_text(new_id())}/watch": 404,
            f"/api/streams/{id_text(new_id())}/watch": 404,
            f"{path_of(info)}?after=x": 400,
            f"{path_of(info)}?after={'x' * 1000}": 400,
            f"{path_of(info)}?after={strange}": 400,
        }.items():
            answer = it.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (
                status,
                "application/problem+json",
            ), path
        assert it.get(path_of(info), None).status_code == 401

    def test_tokens_for_some_tasks(self, it: Web):
        info = it.rt.start(app.tokens, 1)
        it.rt.wait(info, PATIENCE)
        path = path_of(info)
        right, wrong = it.rt.add_token("some", tasks="item_tasks:*"), it.rt.add_token("others", tasks="shop*")
        assert it.get(path, right).status_code == 200
        assert it.get(path, wrong).status_code == 403
        assert it.get(f"/api/streams/{info.stream_id}/watch", right).status_code == 403

    def test_readers_come_and_go(self, it: Web):
        info = it.rt.start(app.on_demand)
        files = psutil.Process(it.pid).num_fds()
        socks = [bare(it.url, path_of(info), it.token) for _ in range(100)]
        for sock in socks:
            assert sock.recv(10_000).startswith(b"HTTP/1.1 200")
        for sock in socks:
            sock.close()
        until(lambda: psutil.Process(it.pid).num_fds() <= files + 5)
        it.rt.close_mailbox(info)

    def test_http_1_0_has_no_chunks(self, it: Web):
        info = it.rt.start(app.tokens, 2)
        it.rt.wait(info, PATIENCE)
        with bare(it.url, path_of(info), it.token, version="1.0") as sock:
            data = b""
            while part := sock.recv(100_000):
                data += part
        head, _, body = data.partition(b"\r\n\r\n")
        assert b"chunked" not in head.lower()
        assert re.findall(rb"^event: (.*)$", body, re.MULTILINE) == [b"snapshot", b"item", b"item", b"end"]
        assert body.startswith(b"retry:")


class TestSignedTokens:
    def test_it_shows_what_is_published_and_no_more(self, it: Web):
        info = it.rt.start(app.twice, 4)
        it.rt.wait(info, PATIENCE)
        token = it.rt.watch_token(info)
        seen = list(EventSource(f"{it.url}{path_of(info)}?token={token}").once())
        assert {each.event for each in seen} == {"snapshot", "item", "attempt", "end"}
        assert not any("error" in each.data for each in seen)
        assert seen[0].data["snapshot"] == {"state": "completed", "attempt": 2, "progress": None}
        stream = it.rt.watch_token(it.rt.stream(info.stream_id))
        events = EventSource(f"{it.url}/api/streams/{info.stream_id}/watch?token={stream}").once()
        assert len(list(islice(events, len(seen)))) == len(seen)

    def test_it_is_for_one_task_or_stream(self, it: Web):
        info, other = it.rt.start(app.tokens, 1), it.rt.start(app.tokens, 1)
        for each in (info, other):
            it.rt.wait(each, PATIENCE)
        task, stream = it.rt.watch_token(info), it.rt.watch_token(it.rt.stream(info.stream_id))
        for path, status in {
            f"{path_of(info)}?token={task}": 200,
            f"{path_of(info)}?token={stream}": 403,
            f"{path_of(other)}?token={task}": 403,
            f"/api/streams/{info.stream_id}/watch?token={task}": 403,
            f"/api/streams/{other.stream_id}/watch?token={stream}": 403,
            f"{path_of(info)}?token={task}x": 401,
            f"{path_of(info)}?token={task[:-2]}": 401,
            f"{path_of(info)}?token=": 401,
            f"{path_of(info)}?token={it.token}": 400,
        }.items():
            assert it.get(path, None).status_code == status, path
        # A wrong one is not made good by a right one elsewhere.
        assert it.get(f"{path_of(info)}?token=x").status_code == 401

    def test_it_expires(self, it: Web):
        info = it.rt.start(app.on_demand)
        token = it.rt.watch_token(info, expires=0.1)
        events = EventSource(f"{it.url}{path_of(info)}?token={token}")
        # It ends a stream that has begun before, too.
        assert [each.event for each in events.once()] == ["snapshot"]
        assert it.get(f"{path_of(info)}?token={token}", None).status_code == 401
        it.rt.close_mailbox(info)

    def test_pages_of_other_origins_may_read_with_it_alone(self, it: Web):
        info = it.rt.start(app.tokens, 1)
        it.rt.wait(info, PATIENCE)
        signed = f"{path_of(info)}?token={it.rt.watch_token(info)}"
        for path, token, origin, allowed in (
            (signed, None, APP_ORIGIN, APP_ORIGIN),
            (signed, None, "https://evil.example", None),
            (path_of(info), "", APP_ORIGIN, None),
        ):
            answer = it.get(path, token, headers={"Origin": origin})
            assert answer.headers.get("access-control-allow-origin") == allowed
            assert "access-control-allow-credentials" not in answer.headers

    def test_it_opens_nothing_else(self, it: Web):
        info = it.rt.start(app.on_demand)
        token = it.rt.watch_token(info, send=True)
        opened = set()
        with httpx.Client(base_url=it.url, headers={"Origin": it.url}, timeout=20) as client:
            for method, route in routes_of(create_pages(unused_context())):
                path = re.sub(r"\{[^}]*\}", "x", re.sub(r"\{id(:path)?\}", info.id, route))
                own = path == path_of(info)
                for query, headers in (
                    ({} if own else {"token": token}, {}),
                    ({}, {"Authorization": f"Bearer {token}"}),
                ):
                    answer = client.request(method, path, params=query, headers=headers)
                    client.cookies.clear()
                    if answer.status_code not in (303, 401, 403, 404, 405, 429):
                        opened.add((method, route, answer.status_code))
        assert ("GET", "/api/tasks/{id}/watch") in routes_of(create_pages(unused_context()))
        # What HEAD needs is what GET does.
        assert {
            entry for entry in opened if ROLES[" ".join(entry[:2]).replace("HEAD", "GET")] is not None
        } == set()
        it.rt.close_mailbox(info)


def test_a_reader_that_stands_still_is_dropped_and_others_go_on(home: Path):
    with web(home, app=APP, stall_timeout=1.0) as it:
        info = it.rt.start(app.on_demand)
        before = psutil.Process(it.pid).memory_info().rss
        still = [bare(it.url, path_of(info), it.token, receives=4096) for _ in range(20)]
        reading = source(it, info)
        events = reading.once()
        assert next(events).event == "snapshot"
        files = psutil.Process(it.pid).num_fds()
        large = "x" * 400_000
        seen = []
        for n in range(8):
            it.rt.send(info, [n, large])
            seen.append(next(each for each in events if each.event == "item").data["value"][0])
        # 3.2 MB for each of 20 would be 64 MB.
        assert psutil.Process(it.pid).memory_info().rss - before < 25 << 20
        until(lambda: psutil.Process(it.pid).num_fds() <= files - 20, 20)
        it.rt.send(info, [8, ""])
        seen.append(next(each for each in events if each.event == "item").data["value"][0])
        assert seen == list(range(9))
        events.close()  # type: ignore[attr-defined]
        it.rt.close_mailbox(info)
        for sock in still:
            sock.close()


def test_a_slow_reader_gets_everything(home: Path):
    with web(home, app=APP, stall_timeout=2.0) as it:
        info = it.rt.start(app.tokens, 20_000)
        it.rt.wait(info, PATIENCE)
        with bare(it.url, path_of(info), it.token, version="1.0", receives=4096) as sock:
            data, began = b"", time.monotonic()
            while part := sock.recv(20_000 if time.monotonic() - began < 4 else 1_000_000):
                data += part
                if time.monotonic() - began < 4:
                    time.sleep(0.02)  # this is how slow it is
        numbers = [int(each) for each in re.findall(rb'"value": (\d+)', data)]
        # The stream keeps 10,000 items; a notice tells of the others.
        assert numbers == list(range(10_000, 20_000))
        assert b'"items": 10000' in data
        assert data.endswith(b"\n\n")
        assert b"event: end" in data


def test_when_the_web_process_stops_its_streams_end_within_a_second(home: Path):
    with web(home, app=APP) as it:
        info = it.rt.start(app.on_demand)
        socks = [bare(it.url, path_of(info), it.token) for _ in range(50)]
        for sock in socks:
            sock.recv(10_000)
        pid, began = it.pid, time.monotonic()
        os.kill(pid, signal.SIGTERM)
        for sock in socks:
            data = b""
            while part := sock.recv(10_000):
                data += part
            # In order: this is the last chunk.
            assert data.endswith(b"0\r\n\r\n")
            sock.close()
        assert time.monotonic() - began < 1.5
        it.rt.close_mailbox(info)


@pytest.mark.parametrize("victim", ["web", "supervisor"])
def test_no_gap_and_nothing_twice_when_it_is_killed(home: Path, victim: str):
    count = 400
    with web(home, app=APP) as it:
        info = it.rt.start(app.steps, count)
        following = source(it, info)
        seen: list[Sent] = []
        killed = 0
        for each in following.ever():
            seen.append(each)
            steps = sum(one.event == "item" and one.data["name"] == "step" for one in seen)
            if steps >= (killed + 1) * count // 4 and killed < 3:
                killed += 1
                kill(until(lambda: it.pid) if victim == "web" else it.rt.supervisor_pid)
                if victim == "supervisor":
                    it.rt.ping()
        steps_seen = [one.data["value"] for one in seen if one.event == "item" and one.data["name"] == "step"]
        assert steps_seen == list(range(1, count + 1))
        assert killed == 3
        cursors = [one.id for one in seen if one.event != "snapshot"]
        assert len(set(cursors)) == len(cursors), "each once"
        assert sum(one.event == "end" for one in seen) == 1
        assert following.status == 204


def test_many_readers_of_one_task(home: Path):
    with web(home, app=APP, connections=160) as it:
        info = it.rt.start(app.on_demand)
        before = psutil.Process(it.pid).memory_info().rss

        async def run() -> list[list[Any]]:
            limits = httpx.Limits(max_connections=None)
            headers = {"Authorization": f"Bearer {it.token}"}
            async with httpx.AsyncClient(limits=limits, headers=headers, timeout=60) as client:
                open_ones = 0

                async def one() -> list[Any]:
                    nonlocal open_ones
                    async with client.stream("GET", it.url + path_of(info)) as answer:
                        if answer.status_code == 503:
                            return [503]
                        open_ones += 1
                        text = "".join([part async for part in answer.aiter_text()])
                        return [int(each) for each in re.findall(r'"value": (\d+)', text)]

                readers = [asyncio.ensure_future(one()) for _ in range(144)]
                await asyncio.to_thread(until, lambda: open_ones == 144, 60)
                too_many = await one()
                assert too_many == [503]
                for n in range(20):
                    await asyncio.to_thread(it.rt.send, info, n)
                await asyncio.to_thread(it.rt.close_mailbox, info)
                return await asyncio.gather(*readers)

        found = asyncio.run(run())
        assert found == [list(range(20))] * 144
        grown = psutil.Process(it.pid).memory_info().rss - before
        assert grown < 144 * 60_000, f"{grown / 144:.0f} bytes each"
