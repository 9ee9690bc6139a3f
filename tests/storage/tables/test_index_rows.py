from __future__ import annotations

import random

import pytest

from desk import Desk
from understudy.storage.memory_store import MemoryStore
from understudy.storage.store import Store
from understudy.storage.tables.index_rows import (
    FACET_BYTES,
    IDS_IN_ROW,
    Facet,
    end_of_bucket,
    facet_of,
    facet_of_id,
    ids_in,
    newest_in,
    oldest_in,
    remove,
    rows_of,
    single,
)
from understudy.storage.tables.schema import MAX_KEY_BYTES, Table, after_prefix

FACET = facet_of(Facet.NAME, "jobs:add")
OTHER = facet_of(Facet.NAME, "jobs:sub")


def make_ids(count: int, apart: int = 1, first: int = 0x19A00000000) -> list[bytes]:
    """Ids of tasks that are made so many milliseconds apart."""
    return [(first + at * apart).to_bytes(6, "big") + random.randbytes(10) for at in range(count)]


@pytest.fixture(params=[Store, MemoryStore])
def desk(request: pytest.FixtureRequest, open_desk) -> Desk:
    return open_desk(request.param)


def put(desk: Desk, facet: bytes, ids: list[bytes]) -> None:
    for row in rows_of(facet, sorted(ids)):
        desk.store.put(Table.INDEX, *row)


def found(desk: Desk, facet: bytes) -> list[bytes]:
    rows = desk.store.look(Table.INDEX, facet, after_prefix(facet), limit=10_000)
    return [id for row in rows for id in ids_in(*row)]


@pytest.mark.parametrize("count", [0, 1, 2, IDS_IN_ROW, IDS_IN_ROW + 1, 3 * IDS_IN_ROW + 7])
def test_rows_hold_the_ids_in_order(count: int):
    ids = make_ids(count)
    rows = list(rows_of(FACET, ids))
    assert [id for row in rows for id in ids_in(*row)] == ids
    assert len(rows) == -(-count // IDS_IN_ROW)
    for key, value in rows:
        own = ids_in(key, value)
        assert (oldest_in(key, value), newest_in(key)) == (own[0], own[-1])
        assert len(key) <= MAX_KEY_BYTES
        assert len(key) + len(value) < 2000


def test_no_row_holds_ids_of_two_minutes():
    ids = make_ids(100, apart=7000)
    rows = list(rows_of(FACET, ids))
    assert [id for row in rows for id in ids_in(*row)] == ids
    for key, value in rows:
        assert all(key < end_of_bucket(FACET, id) for id in ids_in(key, value))
        assert len({id[:4] for id in ids_in(key, value)}) == 1


def test_facets_differ_by_kind_text_and_state():
    facets = {
        facet_of(Facet.NAME, "a"),
        facet_of(Facet.KEY, "a"),
        facet_of(Facet.NAME, "b"),
        facet_of(Facet.END, "a", 2),
        facet_of(Facet.END, "a", 3),
        facet_of(Facet.NAME, "\udcff"),
        facet_of_id(Facet.STREAM, bytes(16)),
        facet_of_id(Facet.ORIGIN, bytes(16)),
    }
    assert len(facets) == 8
    assert {len(facet) for facet in facets} == {FACET_BYTES}


def test_facets_of_ids_sort_by_time():
    ids = make_ids(50)
    facets = [facet_of_id(Facet.STREAM, id) for id in ids]
    assert facets == sorted(facets)
    assert len(set(facets)) == 50


@pytest.mark.parametrize("row", [(FACET + bytes(15), b""), (FACET + bytes(16), bytes(17))])
def test_a_damaged_row_is_refused(row: tuple[bytes, bytes]):
    with pytest.raises(ValueError, match="malformed"):
        ids_in(*row)


def test_ids_leave_the_rows_that_hold_them(desk: Desk):
    """Rows of several commits, which overlap, some on disk and some not yet."""
    chance = random.Random(5)
    ids = make_ids(2000, apart=100)
    commits: list[list[bytes]] = [[] for _ in range(12)]
    for at, id in enumerate(ids):
        commits[min(11, at // 180 + chance.randrange(2))].append(id)
    for commit in commits[:-2]:
        put(desk, FACET, commit)
        put(desk, OTHER, commit)
    desk.flush()
    for commit in commits[-2:]:
        put(desk, FACET, commit)
    left = set(ids)
    while left:
        gone = set(chance.sample(sorted(left), min(len(left), 150)))
        left -= gone
        remove(desk.store, FACET, [*gone, *make_ids(2)])
        assert set(found(desk, FACET)) == left
        if chance.randrange(2):
            desk.flush()
    desk.flush()
    assert found(desk, FACET) == []
    assert len(found(desk, OTHER)) == sum(map(len, commits[:-2]))


def test_a_single_row_reads_like_the_others(desk: Desk):
    ids = make_ids(3)
    for id in ids:
        desk.store.put(Table.INDEX, single(FACET, id), b"")
    assert found(desk, FACET) == ids
    remove(desk.store, FACET, ids[1:2])
    assert found(desk, FACET) == [ids[0], ids[2]]
