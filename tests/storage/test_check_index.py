from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import EPOCH, add_task, new_id, put_new
from understudy.actors.state import State
from understudy.storage.check import check
from understudy.storage.tables.counts import count_key, none_changed, pack_counts
from understudy.storage.tables.index_rows import Facet, facet_of, facet_of_id, remove, rows_of, single
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table

NAME = facet_of(Facet.NAME, "etl")
DONE = facet_of(Facet.END, "etl", 2)


@pytest.fixture
def problems(home: Path, open_desk) -> Callable[[Callable[[Any, list[bytes]], object]], list[str]]:
    """The problems of a store with 200 tasks after a change of it."""

    def problems(damage: Callable[[Any, list[bytes]], object]) -> list[str]:
        desk = open_desk()
        ids = [add_task(desk.store, State.COMPLETED, EPOCH + at / 100).id for at in range(200)]
        failed = Record(new_id(EPOCH), "etl", EPOCH, ids[0], origin=ids[0])
        failed.state, failed.ended, failed.error = State.FAILED, EPOCH + 1, ("ValueError", "", "", {})
        put_new(desk.store, failed)
        desk.flush()
        damage(desk.store, ids)
        desk.store.close(10)
        return check(home).problems

    return problems


def test_a_sound_index_is_sound(problems):
    assert problems(lambda store, ids: None) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda s, ids: remove(s, NAME, ids[:1]), "has 200 tasks, and the records have 201"),
        (lambda s, ids: remove(s, DONE, ids[5:8]), "has 197 tasks, and the records have 200"),
        (lambda s, ids: s.put(Table.INDEX, single(NAME, new_id(EPOCH)), b""), "has 202 tasks"),
        (
            lambda s, ids: (
                remove(s, NAME, ids[:1]),
                s.put(Table.INDEX, single(NAME, new_id(EPOCH)), b""),
            ),
            "has 201 tasks, and the records have 201, but not the same ones",
        ),
        (
            lambda s, ids: (
                remove(s, NAME, ids[:1]),
                [s.put(Table.INDEX, *row) for row in rows_of(NAME, sorted(ids[1:3]))],
            ),
            "not the same ones",
        ),
        (
            lambda s, ids: remove(s, facet_of_id(Facet.STREAM, ids[0]), [s.scan(Table.INDEX)[-1][0][-16:]]),
            "(STREAM",
        ),
        (lambda s, ids: s.put(Table.INDEX, b"\x63" + bytes(24), b""), "is of no known kind"),
        (lambda s, ids: s.put(Table.INDEX, NAME + b"short", b""), "is malformed"),
        (
            lambda s, ids: s.put(Table.COUNTS, count_key("etl"), pack_counts("etl", [0, 0, 199, 1, 0, 0, 0])),
            "are 199 completed, 1 failed, and the records are 200 completed, 1 failed",
        ),
        (
            lambda s, ids: s.delete(Table.COUNTS, count_key("etl")),
            "are none, and the records are 200 completed",
        ),
        (
            lambda s, ids: s.put(Table.COUNTS, count_key("x"), pack_counts("x", [1, *none_changed()[1:]])),
            "of 'x' are 1 queued, and the records are none",
        ),
        (lambda s, ids: s.put(Table.COUNTS, b"k" * 16, pack_counts("etl", [0])), "has the name 'etl'"),
        (lambda s, ids: s.put(Table.COUNTS, b"k" * 16, b"?"), "not a row of counters"),
    ],
)
def test_each_difference_is_found(problems, damage, said: str):
    found = problems(damage)
    assert any(said in problem for problem in found), found


def test_a_damaged_record_hides_what_cannot_be_known(problems):
    found = problems(lambda s, ids: s.put(Table.TASKS, ids[0], b"?"))
    assert len(found) == 1
    assert "not a task record" in found[0]
