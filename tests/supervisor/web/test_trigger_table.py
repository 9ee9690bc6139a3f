"""TriggerTable: what fits best, when it asks again, and which secrets it finds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from understudy import github, standard_webhooks
from understudy.actors.http.declaration import HttpTrigger
from understudy.supervisor.client.http_calls import Handled
from understudy.supervisor.web.trigger_table import (
    ASK_AGAIN,
    Match,
    TriggerTable,
    secrets_of,
    tell_of_secrets,
)


class Door:
    """The supervisor, as far as the table asks it."""

    def __init__(self, *places: tuple[str, str]) -> None:
        self.places = places
        self.asked = 0

    async def triggers(self) -> list[Handled]:
        self.asked += 1
        await asyncio.sleep(0)
        return [Handled(path, HttpTrigger(method, path, auth="none")) for method, path in self.places]


def table_of(door: Any, clock: Any = lambda: 100.0) -> TriggerTable:
    return TriggerTable(door, clock)


def test_the_most_exact_path_is_taken():
    async def story() -> None:
        table = table_of(Door(("GET", "/{all:path}"), ("GET", "/a/{b}"), ("GET", "/a/b"), ("POST", "/a/b")))
        for path, task, params in [
            ("/a/b", "/a/b", {}),
            ("/a/c", "/a/{b}", {"b": "c"}),
            ("/x/y", "/{all:path}", {"all": "x/y"}),
        ]:
            match = await table.match("GET", path)
            assert isinstance(match, Match)
            assert (match.handled.task, match.params) == (task, params)
        assert await table.match("PUT", "/a/b") == ["GET", "POST"]
        assert await table.match("POST", "/z") == ["GET"]

    asyncio.run(story())


def test_it_asks_again_for_what_it_does_not_know_but_not_all_the_time():
    async def story() -> None:
        now = [100.0]
        door = Door(("GET", "/a"))
        table = table_of(door, lambda: now[0])
        found = await asyncio.gather(*(table.match("GET", "/a") for _ in range(5)))
        assert all(isinstance(match, Match) for match in found), "all of them waited for the first answer"
        assert door.asked == 1
        door.places = (("GET", "/b"),)
        assert await table.match("GET", "/b") == []
        now[0] += ASK_AGAIN
        assert isinstance(await table.match("GET", "/b"), Match)
        assert await table.match("GET", "/a") == []
        assert door.asked == 2
        assert await table.refresh(now=True)
        assert door.asked == 3

    asyncio.run(story())


def test_secrets_are_read_and_the_log_names_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "secret").write_bytes(b" tiger\n")
    (tmp_path / "empty").write_bytes(b"\n")
    verifier = github(
        "env:THERE", "env:ABSENT", f"file:{tmp_path}/secret", f"file:{tmp_path}/empty", "file:/nowhere/x"
    )
    for _ in range(2):
        assert secrets_of(verifier, {"THERE": "lion"}) == [b"lion", b"tiger"]
    told = "\n".join(caplog.messages)
    for source in ("env:ABSENT", f"file:{tmp_path}/empty", "file:/nowhere/x"):
        assert told.count(source) == 1
    assert "lion" not in told


def test_triggers_that_can_verify_nothing_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    def handled(path: str, *secrets: str) -> Handled:
        return Handled("app:hook", HttpTrigger("POST", path, verify=github(*secrets)))

    later = tmp_path / "later"
    tell_of_secrets(
        [
            handled("/a", "env:UNSET", "env:UNSET_TOO"),
            handled("/b", f"file:{later}"),
            handled("/c", "env:THERE", "env:UNSET"),
            Handled("app:open", HttpTrigger("POST", "/d", auth="none")),
            Handled("app:hook", HttpTrigger("POST", "/e", verify=standard_webhooks("env:THERE"))),
        ],
        {"THERE": "no base64"},
    )
    told = [text for text in caplog.messages if "POST" in text]
    assert [text.split()[1] for text in told] == ["/a", "/b", "/e"]
    assert "env:UNSET is not set; env:UNSET_TOO is not set. Set it" in told[0]
    assert "looked for again with each request" in told[1]
    assert "base64" in told[2]
    assert "no base64" not in caplog.text
