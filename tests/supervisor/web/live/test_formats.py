"""Entries as server-sent events and messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from event_source import parsed
from understudy import State
from understudy.actors.errors import ErrorInfo
from understudy.actors.events.entry import WatchEntry
from understudy.actors.events.stream import Stream, StreamNode
from understudy.actors.task.handles import Progress, TaskRecord
from understudy.actors.values import pack
from understudy.supervisor.web.live import formats

RECORD = TaskRecord(
    "t",
    "s",
    "app:secret",
    State.RUNNING,
    2,
    0,
    1.0,
    error=ErrorInfo("OSError", "hush"),
    progress=Progress(3, 4, "x"),
)
STREAM = Stream(
    "s",
    [StreamNode("event", "e", "order", 1.0, children=[StreamNode("run", "r", "app:f", 1.0, State.QUEUED)])],
)
ITEM = WatchEntry("item", "c.1", 1.0, "s", "t", 2, 1, 7, "word", pack({"text": "ü\n\ndata: x"}))
ENTRIES = {
    "snapshot": WatchEntry("snapshot", "c.0", 1.0, "s", "t", 2, snapshot=RECORD),
    "stream": WatchEntry("snapshot", "c.0", 1.0, "s", snapshot=STREAM),
    "item": ITEM,
    "log": WatchEntry("log", "c.2", 1.0, "s", "t", 2, name="stdout", text="hush"),
    "attempt": WatchEntry(
        "attempt", "c.3", 1.0, "s", "t", 1, name="retry", error=ErrorInfo("OSError", "hush")
    ),
    "end": WatchEntry("end", "c.4", 1.0, "s", "t", 2, name="failed", error=ErrorInfo("OSError", "hush")),
    "notice": WatchEntry("notice", "c.5", 1.0, "s", items=3, lines=4),
}


def read(data: bytes) -> Any:
    text = data.decode()
    assert text.endswith("\n\n")
    assert text.count("\n\n") == 1, "one event"
    return parsed(text.removesuffix("\n\n"))


@pytest.mark.parametrize("name", ENTRIES)
def test_an_event_has_the_cursor_the_kind_and_all_of_the_entry(name: str):
    entry = ENTRIES[name]
    sent = read(formats.event(entry))
    assert (sent.id, sent.event) == (entry.cursor, entry.kind)
    plain = json.loads(json.dumps(entry.as_dict()))
    assert sent.data == plain
    assert json.loads(formats.message(entry)) == plain


@pytest.mark.parametrize("name", ENTRIES)
def test_what_is_for_an_apps_pages_has_no_logs_errors_or_records(name: str):
    data = formats.public_event(ENTRIES[name])
    assert b"hush" not in data
    assert b"secret" not in data
    if name == "log":
        assert data == formats.public_message(ENTRIES[name]) == b""
        return
    sent = read(data)
    assert sent.data == json.loads(formats.public_message(ENTRIES[name]))
    expected = {
        "snapshot": {"state": "running", "attempt": 2, "progress": {"done": 3, "total": 4, "note": "x"}},
        "stream": {"tasks": [{"id": "r", "state": "queued"}]},
    }
    assert sent.data.get("snapshot") == expected.get(name)
    if name == "item":
        assert (sent.data["name"], sent.data["value"], sent.data["number"]) == (
            "word",
            {"text": "ü\n\ndata: x"},
            7,
        )


def test_lines_that_are_missing_are_no_news_for_an_apps_pages():
    assert formats.public_event(WatchEntry("notice", "c", 1.0, "s", lines=4)) == b""


def test_a_value_that_is_damaged_hides_nothing_else():
    damaged = ITEM._replace(packed=b"\xc1")
    for data in (read(formats.event(damaged)).data, read(formats.public_event(damaged)).data):
        assert data["number"] == 7
        assert data["value"] is None
        assert data["unreadable"]


def test_the_caller_of_a_trigger_gets_events_by_the_names_of_items():
    assert read(formats.answer_event(ITEM)).event == "word"
    assert read(formats.answer_event(ITEM._replace(name="a\nb\rc"))).event == "abc"
    assert read(formats.answer_event(ENTRIES["attempt"])).data == {"attempt": 1, "because": "retry"}
    assert read(formats.answer_event(ENTRIES["end"])).data == {"state": "failed"}
    assert read(formats.answer_event(ENTRIES["notice"])).data == {"items": 3}
    assert formats.answer_event(ENTRIES["log"]) == formats.answer_event(ENTRIES["snapshot"]) == b""
