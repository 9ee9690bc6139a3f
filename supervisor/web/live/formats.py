"""Formats: entries of a watch as server-sent events, and as messages of a WebSocket.

A format gives the same bytes for all readers. Those for a signed token leave out what is for the people who run the
app: lines of log, errors, and all of the records but the state.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from ....actors.errors import InvalidValue
from ....actors.events.entry import WatchEntry
from ....actors.events.stream import Stream
from ...text import value_json


def event(entry: WatchEntry) -> bytes:
    """All of an entry, as a server-sent event."""
    return _event(entry, _json(_plain(entry)))


def public_event(entry: WatchEntry) -> bytes:
    """An entry for the pages of an app, as a server-sent event."""
    plain = _public(entry)
    return b"" if plain is None else _event(entry, _json(plain))


def message(entry: WatchEntry) -> bytes:
    """All of an entry, as a message."""
    return _json(_plain(entry)).encode()


def public_message(entry: WatchEntry) -> bytes:
    """An entry for the pages of an app, as a message."""
    plain = _public(entry)
    return b"" if plain is None else _json(plain).encode()


def answer_event(entry: WatchEntry) -> bytes:
    """What a task publishes, for the caller of a trigger: an event by the name that it was published under."""
    if entry.kind == "item":
        name, data = entry.name or "item", _json(_plain(entry)["value"])
    elif entry.kind == "attempt":
        name, data = "attempt", json.dumps({"attempt": entry.attempt, "because": entry.name})
    elif entry.kind == "end":
        name, data = "end", json.dumps({"state": entry.name})
    elif entry.kind == "notice" and entry.items:
        name, data = "missing", json.dumps({"items": entry.items})
    else:
        return b""
    return f"id: {entry.cursor}\nevent: {''.join(name.splitlines())}\ndata: {data}\n\n".encode()


def _event(entry: WatchEntry, data: str) -> bytes:
    return f"id: {entry.cursor}\nevent: {entry.kind}\ndata: {data}\n\n".encode()


def _json(plain: Any) -> str:
    return value_json.dumps(plain)


def _plain(entry: WatchEntry) -> dict[str, Any]:
    try:
        return entry.as_dict()
    except InvalidValue as error:
        # A value that is damaged must not hide what comes after it.
        return {**entry._replace(packed=None).as_dict(), "unreadable": str(error)}


def _public(entry: WatchEntry) -> dict[str, Any] | None:
    if entry.kind == "log" or (entry.kind == "notice" and not entry.items):
        return None
    if entry.snapshot is None:
        plain = _plain(entry)
        plain.pop("error", None)
        plain.pop("lines", None)
        return plain
    plain = entry._replace(snapshot=None).as_dict()
    if isinstance(entry.snapshot, Stream):
        tasks = [
            {"id": node.id, "state": node.state}
            for _, node in entry.snapshot.walk()
            if node.state is not None
        ]
        plain["snapshot"] = {"tasks": tasks}
    else:
        progress = entry.snapshot.progress
        plain["snapshot"] = {
            "state": str(entry.snapshot.state),
            "attempt": entry.snapshot.attempt,
            "progress": None if progress is None else asdict(progress),
        }
    return plain
