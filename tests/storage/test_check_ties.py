"""What the check says of links and monitors whose rows do not agree with the tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from understudy.actors.ids import new_id
from understudy.actors.map_ids import child_id, map_base
from understudy.actors.state import State
from understudy.storage.check_actors import ActorCheck
from understudy.storage.check_ties import TieCheck
from understudy.storage.memory_store import MemoryRows, MemoryView
from understudy.storage.tables.link_rows import LINK, link_key
from understudy.storage.tables.map_rows import MAP, kept_key, map_key
from understudy.storage.tables.monitor_rows import MONITOR, monitor_key
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table

PARENT, CHILD, OTHER = (new_id() for _ in range(3))


def record(id: bytes, *, ended: bool = False, linked: bool = False, links: bool = False) -> Record:
    found = Record(id, "jobs:f", 5.0, PARENT, PARENT if id == CHILD else None)
    if linked:
        found.linked = True
    if links:
        found.links = True
    if ended:
        found.state, found.ended = State.COMPLETED, 6.0
    return found


def check(
    keys: Iterable[bytes], *records: Record, look: Callable[[TieCheck], Iterable[str]] | None = None
) -> list[str]:
    rows, known = MemoryRows(), {each.id: each for each in records}
    for key in keys:
        rows._set(Table.ACTORS, key, b"")
    with MemoryView(rows).read() as snapshot:
        if look is not None:
            return list(look(TieCheck(snapshot, known.get)))
        actors = ActorCheck(snapshot, known.get, known.__contains__)
        return [line for key, row in snapshot.rows(Table.ACTORS) for line in actors.problems(key, row)]


LINKED = record(CHILD, linked=True)
LINKS = record(PARENT, links=True)


def test_sound_ones():
    assert check([link_key(PARENT, CHILD)], LINKED, LINKS) == []
    assert check([link_key(PARENT, CHILD)], LINKED) == [], "a parent may have been removed before"
    assert check([link_key(PARENT, CHILD)], LINKED, record(PARENT, ended=True)) == []
    assert check([monitor_key(PARENT, CHILD), monitor_key(CHILD, PARENT)], LINKED, LINKS) == []
    assert check([link_key(PARENT, CHILD)], look=lambda ties: ties.child(LINKED)) == []


@pytest.mark.parametrize(
    ("child", "problem"),
    [
        (None, "which has ended"),
        (record(CHILD, linked=True, ended=True), "which has ended"),
        (record(CHILD), "which is not linked to it"),
        (record(OTHER, linked=True), "which is not linked to it"),
    ],
    ids=["missing", "ended", "not linked", "of another"],
)
def test_a_link_without_its_child(child: Record | None, problem: str):
    id = OTHER if child is not None and child.id == OTHER else CHILD
    (line,) = check([link_key(PARENT, id)], LINKS, *filter(None, [child]))
    assert line == f"the link of {PARENT.hex()} leads to task {id.hex()}, {problem}"


def test_a_parent_that_knows_nothing_of_it():
    (line,) = check([link_key(PARENT, CHILD)], LINKED, record(PARENT))
    assert line == f"task {PARENT.hex()} has the linked child {CHILD.hex()} and does not know it"


def test_a_linked_task_without_a_link():
    (line,) = check([], look=lambda ties: ties.child(LINKED))
    assert line == f"task {CHILD.hex()} is linked to the one that has started it, and has no link"


@pytest.mark.parametrize("gone", [(), (record(CHILD, ended=True),)], ids=["missing", "ended"])
def test_a_monitor_of_what_has_ended(gone: tuple[Record, ...]):
    (line,) = check([monitor_key(PARENT, CHILD)], LINKS, *gone)
    assert line.endswith(f"is one of task {CHILD.hex()}, which has ended")


def test_malformed_rows():
    lines = check([LINK + b"short", MONITOR + b"short"])
    assert ["not a link" in lines[0], "not a monitor" in lines[1]] == [True, True]


# --- maps ---

BASE = map_base(new_id(), PARENT)
PLACES = [child_id(BASE, place) for place in range(2)]


def maps(rows: dict[bytes, bytes], *records: Record) -> list[str]:
    known, held = {each.id: each for each in records}, MemoryRows()
    for key, row in rows.items():
        held._set(Table.ACTORS, key, row)
    with MemoryView(held).read() as snapshot:
        actors = ActorCheck(snapshot, known.get, known.__contains__)
        return [line for key, row in snapshot.rows(Table.ACTORS) for line in actors.problems(key, row)]


def test_sound_maps():
    parent = record(PARENT)
    parent.maps = True
    rows = {map_key(PARENT, BASE): b"", kept_key(PARENT, BASE, PLACES[0]): PLACES[1]}
    ended = [record(id, ended=True) for id in PLACES]
    assert maps(rows, parent, *ended) == []
    assert maps({map_key(PARENT, BASE): b"\x01"}, record(PARENT, ended=True)) == []
    assert maps({map_key(PARENT, BASE): b""}) == [], "the next supervisor lets its children go"


def test_maps_that_are_none():
    (line,) = maps({map_key(PARENT, BASE): b""}, record(PARENT))
    assert "does not know it" in line
    (line,) = maps({map_key(PARENT, BASE): b"x"})
    assert "neither under way nor over" in line
    (line,) = maps({MAP + b"x": b""})
    assert "not a map" in line


def test_children_that_are_kept_for_nothing():
    rows = {kept_key(PARENT, BASE, PLACES[0]): PLACES[1]}
    lines = maps(rows, record(PLACES[0], ended=True), record(PLACES[1]))
    assert len(lines) == 2
    assert "they are never removed" in lines[0]
    assert "has not ended" in lines[1]
