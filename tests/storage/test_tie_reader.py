"""The links and monitors of a task, as other processes read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.actors.ids import new_id
from understudy.storage import tie_reader
from understudy.storage.memory_store import MemoryRows, MemoryView
from understudy.storage.reader import Reader
from understudy.storage.tables.link_rows import link_key
from understudy.storage.tables.monitor_rows import monitor_key
from understudy.storage.tables.schema import Table


def reader(*keys: bytes) -> Reader:
    rows = MemoryRows()
    for key in keys:
        rows._set(Table.ACTORS, key, b"")
    return Reader(Path("nowhere"), MemoryView(rows))


def test_all_kinds():
    a, b, c, d = sorted(new_id() for _ in range(4))
    read = reader(
        link_key(a, b),
        link_key(a, c),
        link_key(b, d),
        monitor_key(a, d),
        monitor_key(c, a),
        monitor_key(d, a),
    )
    assert read.ties(a) == ([b, c], [d], [c, d])
    assert read.ties(b) == ([d], [], [])
    assert read.ties(d) == ([], [a], [a])
    assert read.ties(new_id()) == ([], [], [])


def test_no_more_than_are_listed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tie_reader, "LISTED", 2)
    id, others = new_id(), sorted(new_id() for _ in range(3))
    read = reader(
        *(
            key
            for other in others
            for key in (link_key(id, other), monitor_key(id, other), monitor_key(other, id))
        )
    )
    assert read.ties(id) == (others[:2], others[:2], others[:2])
