from __future__ import annotations

from pathlib import Path

import pytest

from tasks import EPOCH, add_task
from understudy.actors.errors import StoreCorrupt
from understudy.actors.state import State
from understudy.storage.live_rows import keys_by_age, keys_in, parsed, record_of
from understudy.storage.shared_view import release, view_of
from understudy.storage.tables.record import state_of
from understudy.storage.tables.schema import Lane, Table, live_id, live_key

IDS = [bytes([number]) * 16 for number in range(1, 7)]
SORTS = [0, 1, 7, 1, 0, 2**64 - 1]


@pytest.fixture
def snapshot(home: Path, open_desk):
    """A lane with several sorts, between two others, and one task with its record."""
    desk = open_desk()
    for id, sort in zip(IDS, SORTS, strict=True):
        desk.store.put(Table.LIVE, live_key(Lane.BOX, sort, id), b"")
    for lane in (Lane.DELAYED, Lane.CODE):
        desk.store.put(Table.LIVE, live_key(lane, 2**64 - 1, b"\xff" * 16), b"")
    add_task(desk.store, State.RUNNING, EPOCH)
    desk.store.close(10)
    view = view_of(home)
    with view.read() as snapshot:
        yield snapshot
    release(view)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_keys_of_a_lane_by_age(snapshot, reverse: bool):
    def ids(after: bytes = b"", before: bytes | None = None) -> list[bytes]:
        keys = keys_by_age(snapshot, Lane.BOX, after, before, reverse=reverse)
        return [live_id(key) for key in keys]

    expected = IDS[::-1] if reverse else IDS
    assert ids() == expected
    for first in IDS:
        assert ids(after=first) == [id for id in expected if id > first]
        for last in IDS:
            assert ids(first, last) == [id for id in expected if first < id < last]
    assert sorted(map(live_id, keys_in(snapshot, Lane.BOX))) == IDS
    assert list(keys_by_age(snapshot, Lane.ALONE)) == list(keys_in(snapshot, Lane.ALONE)) == []


def test_the_record_of_a_live_row(snapshot):
    (running,) = keys_in(snapshot, Lane.RUNNING)
    assert record_of(snapshot, running).id == live_id(running)
    with pytest.raises(StoreCorrupt, match=f"{IDS[0].hex()} .BOX. has no record"):
        record_of(snapshot, next(keys_by_age(snapshot, Lane.BOX)))
    with pytest.raises(StoreCorrupt, match=IDS[0].hex()):
        parsed(IDS[0], state_of, b"no record")
