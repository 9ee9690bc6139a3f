from __future__ import annotations

import random

import pytest

from desk import Desk
from understudy.actors.state import TERMINAL, State
from understudy.storage.memory_store import MemoryStore
from understudy.storage.store import Store
from understudy.storage.tables.counts import unpack_counts
from understudy.storage.tables.index_rows import FACET_BYTES, Facet, facet_of, facet_of_id, ids_in
from understudy.storage.tables.moves import Moves, shown
from understudy.storage.tables.record import CODES, Record
from understudy.storage.tables.schema import Table


@pytest.fixture(params=[Store, MemoryStore])
def desk(request: pytest.FixtureRequest, open_desk) -> Desk:
    return open_desk(request.param)


def make(name: str = "jobs:add", **facts) -> Record:
    id = (0x19A00000000).to_bytes(6, "big") + random.randbytes(10)
    return Record(id, name, 1.0, facts.pop("stream", id), **facts)


def held(desk: Desk) -> dict[bytes, set[bytes]]:
    """The ids of the index by facet."""
    found: dict[bytes, set[bytes]] = {}
    for key, value in desk.store.scan(Table.INDEX):
        found.setdefault(key[:FACET_BYTES], set()).update(ids_in(key, value))
    return found


def counted(desk: Desk) -> dict[str, dict[int, int]]:
    rows = [unpack_counts(row) for _, row in desk.store.scan(Table.COUNTS)]
    return {name: {code: count for code, count in enumerate(counts) if count} for name, counts in rows}


def test_a_task_enters_facets_with_its_first_row_and_its_final_state(desk: Desk):
    other = make()
    record = make(stream=other.id, origin=other.id, key="k")
    moves = Moves()
    moves.add(record)
    moves.write(desk.store)
    desk.flush()
    first = {
        facet_of(Facet.NAME, record.name),
        facet_of_id(Facet.STREAM, other.id),
        facet_of_id(Facet.ORIGIN, other.id),
        facet_of(Facet.KEY, "k"),
    }
    assert held(desk) == {facet: {record.id} for facet in first}
    before = shown(record)
    record.state, record.error = State.FAILED, ("ValueError", "no", "", {})
    moves = Moves()
    moves.note(record, CODES[record.state], before)
    moves.write(desk.store)
    desk.flush()
    last = {
        facet_of(Facet.END, record.name, CODES[State.FAILED]),
        facet_of(Facet.ERROR, "ValueError"),
    }
    assert held(desk) == {facet: {record.id} for facet in first | last}
    assert counted(desk) == {record.name: {CODES[State.FAILED]: 1}}
    moves = Moves()
    moves.remove(record)
    moves.write(desk.store)
    desk.flush()
    assert held(desk) == {}
    assert counted(desk) == {}


def test_no_change_changes_nothing(desk: Desk):
    assert not Moves()
    Moves().write(desk.store)
    assert desk.store.batch.empty


def test_any_sequence_of_changes_leaves_what_the_records_say(desk: Desk):
    chance = random.Random(7)
    names = ["a", "b", "c"]
    tasks: dict[bytes, Record] = {}
    for _ in range(120):
        moves = Moves()
        for _ in range(chance.randrange(6)):
            record = make(
                chance.choice(names),
                origin=chance.choice([None, *tasks]),
                key=chance.choice([None, "k"]),
            )
            if chance.randrange(3) == 0 and tasks:
                record.stream = chance.choice(list(tasks))
            if chance.randrange(2):
                record.state = State.COMPLETED
            moves.add(record)
            tasks[record.id] = record
        for record in chance.sample(list(tasks.values()), min(len(tasks), 8)):
            before = shown(record)
            if record.state not in TERMINAL:
                record.state = chance.choice(list(State))
                record.name = chance.choice(names)
                record.error = chance.choice([None, ("A", "", "", {}), ("B", "", "", {})])
                moves.note(record, CODES[record.state], before)
        moves.write(desk.store)
        if chance.randrange(2):
            desk.flush()
        moves = Moves()
        for record in chance.sample(list(tasks.values()), min(len(tasks), chance.randrange(4))):
            moves.remove(tasks.pop(record.id))
        moves.write(desk.store)
    desk.flush()
    expected = Moves()
    for record in tasks.values():
        expected.add(record)
    ids: dict[bytes, set[bytes]] = {}
    for key, value in expected.rows().items():
        ids.setdefault(key[:FACET_BYTES], set()).update(ids_in(key, value or b""))
    assert held(desk) == ids
    for name, counts in expected.counted().items():
        assert counted(desk)[name] == {code: count for code, count in enumerate(counts) if count}
