"""The children of maps: kept while their parent may start again, and let go when it has ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import map_stage as app
from understudy import Supervisor, child
from understudy.actors.ids import new_id
from understudy.actors.map_ids import child_id, map_base
from understudy.storage.tables.map_rows import KEPT, MAP
from understudy.storage.tables.schema import Table, after_prefix
from understudy.testing import InlineRuntime


@pytest.fixture
def rt() -> Iterator[InlineRuntime]:
    with InlineRuntime(max_crashes=1_000, restarts=1_000) as runtime:
        yield runtime


def rows(rt: InlineRuntime, prefix: bytes) -> int:
    rt.settle()
    return len(rt._rows.scan(Table.ACTORS, prefix, after_prefix(prefix)))


def states(rt: InlineRuntime, name: str = "maps:rest") -> list[str]:
    rt.settle()
    return sorted(record.state for record in rt.list(task=name, limit=10_000))


def test_a_map_is_one_row_until_its_parent_has_ended(rt: InlineRuntime):
    parent = rt.start(app.rests, 50, 20)
    assert rows(rt, MAP) == 1
    assert states(rt) == ["running"] * 20
    rt.cancel(parent)
    assert states(rt) == ["cancelled"] * 20
    assert rows(rt, MAP) == 0


@pytest.mark.parametrize("count", [600, 2_300])
def test_all_those_under_way_are_cancelled(count: int):
    with InlineRuntime(workers=1, slots=1) as rt:
        parent = rt.start(app.rests.options(priority=10), count, count)
        rt.settle()
        rt.cancel(parent)
        rt.settle()
        assert rt.counts()["maps:rest"] == {"cancelled": count}
        assert rows(rt, MAP) == 0


def test_they_are_cancelled_by_the_next_supervisor(rt: InlineRuntime):
    parent = rt.start(app.rests, 28, 28)
    rt.settle()
    rt._world.core.aftermath.stop()
    rt._world.core.aftermath.stop()  # a second time, too
    rt.cancel(parent)
    assert states(rt) == ["running"] * 28
    assert rt.status(parent).state == "cancelled"
    rt.crash()
    assert states(rt) == ["cancelled"] * 28
    assert rows(rt, MAP) == 0


def test_ended_children_are_kept_until_their_parent_has_ended(rt: InlineRuntime):
    parent = rt.start(app.keeps_none, 250)
    assert states(rt, "maps:gone") == ["completed"] * 250
    for _ in range(2):
        assert rt.prune(all=True) == 0
        assert states(rt, "maps:gone") == ["completed"] * 250
        assert rows(rt, KEPT) > 0
        rt.crash()
    rt.send(parent, "end")
    assert rt.result(parent, 10) == [3 * n for n in range(250)]
    assert rows(rt, KEPT) == rows(rt, MAP) == 0
    assert rt.prune() == 250
    assert states(rt, "maps:gone") == []


def test_what_is_no_child_of_the_map_is_removed_beside_it(rt: InlineRuntime):
    rt.start(app.keeps_none, 20)
    others = [rt.start(app.gone, n) for n in range(300)]
    rt.settle()
    assert rt.prune() == len(others)
    assert states(rt, "maps:gone") == ["completed"] * 20


def test_a_parent_that_begins_anew_lets_its_children_go(rt: InlineRuntime):
    tree = rt.supervise(Supervisor("tree", children=[child("maps", app.rests, 5, fresh=True)]))
    assert states(rt) == ["running"] * 5
    tree.restart_child("maps")
    assert states(rt) == ["cancelled"] * 5 + ["running"] * 5
    assert rows(rt, MAP) == 1


def test_nothing_is_started_for_a_parent_that_has_ended(rt: InlineRuntime):
    parent = rt.start(app.sum_up, 3)
    rt.result(parent, 10)
    maps: Any = rt._world.core.maps
    base = map_base(new_id(), parent.id_bytes)
    row = [child_id(base, 0), "maps:triple", None, None, None, None, parent.id_bytes, parent.id_bytes]
    with pytest.raises(RuntimeError, match="map_tasks starts nothing more"):
        maps.begin(parent.id_bytes, base, [row])
    with pytest.raises(ValueError, match="not the base"):
        maps.begin(parent.id_bytes, b"", [row])
    with pytest.raises(ValueError, match="child that is not one"):
        maps.begin(new_id(), base, [row])
