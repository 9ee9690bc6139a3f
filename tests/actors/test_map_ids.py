"""The ids of the children of a map."""

from __future__ import annotations

from uuid import UUID

import pytest

from understudy.actors.ids import is_task_id, new_id
from understudy.actors.map_ids import BASE_BYTES, PLACES, base_in, child_id, children_of, map_base


def test_they_are_task_ids_that_sort_by_place_and_have_the_time_of_their_map():
    made, parent = new_id(), new_id()
    base = map_base(made, parent)
    places = [0, 1, 255, 256, 70_000, PLACES - 1]
    ids = [child_id(base, place) for place in places]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    start, stop = children_of(base)
    for id in ids:
        assert is_task_id(id)
        assert UUID(bytes=id).variant == "specified in RFC 4122"
        assert (id[:6], base_in(id)) == (made[:6], base)
        assert start <= id < stop
    with pytest.raises(OverflowError):
        child_id(base, PLACES)


def test_another_map_and_another_parent_have_other_children():
    made, parent = new_id(), new_id()
    bases = [map_base(made, parent), map_base(made, new_id()), map_base(new_id(), parent)]
    assert map_base(made, parent) == bases[0]
    assert len(set(bases)) == 3
    assert {len(base) for base in bases} == {BASE_BYTES}
