"""What damaged rows of a stream do to a read. What is read is tested in tests/supervisor/tasks/test_stream_items.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks import EPOCH, add_task
from understudy.actors.errors import StoreCorrupt
from understudy.actors.state import State
from understudy.storage.item_reader import Place
from understudy.storage.reader import Reader
from understudy.storage.tables.item_rows import LOG, head_key, item_key, pack_mark
from understudy.storage.tables.schema import Table, log_key


@pytest.mark.parametrize("what", ["item", "head", "log", "record"])
def test_damage_is_named(home: Path, open_desk, what: str):
    desk = open_desk()
    task = add_task(desk.store, State.COMPLETED, EPOCH).id
    desk.store.put(Table.ITEMS, item_key(task, 0, 1), pack_mark(LOG, task, 1, 0, 1.0, 1, 1, 0))
    table, key = {
        "item": (Table.ITEMS, item_key(task, 1)),
        "head": (Table.ITEMS, head_key(task)),
        "log": (Table.LOGS, log_key(task, 1)),
        "record": (Table.TASKS, task),
    }[what]
    desk.store.put(table, key, b"\xc1")
    desk.flush()
    desk.store.close(10)
    with Reader(home) as reader, pytest.raises(StoreCorrupt, match="damaged"):
        reader.happened(task, Place(), task)


def test_a_home_without_a_store(home: Path):
    with Reader(home) as reader:
        page = reader.happened(bytes(16), Place(), bytes(16))
        assert (page.entries, page.at_tip, page.record) == ([], True, None)
        assert reader.newest() == 0


def test_the_number_of_the_newest_commit_grows(home: Path, open_desk):
    numbers = []
    for n in range(3):
        desk = open_desk()
        desk.store.put(Table.RESULTS, b"%016d" % n, b"")
        desk.flush()
        desk.store.close(10)
        with Reader(home) as reader:
            assert reader.result(b"%016d" % n) == b""
            numbers.append(reader.newest())
    assert numbers == sorted(set(numbers))
