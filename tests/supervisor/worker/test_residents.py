from __future__ import annotations

from understudy.actors.attempt.resident import Resident
from understudy.actors.ids import new_id
from understudy.actors.refs.actor import Actor
from understudy.supervisor.worker.residents import Residents


class Thing(Actor):
    pass


def test_an_object_is_taken_by_the_turn_of_its_activation():
    residents, id = Residents(), new_id()
    first, second = Resident(1, Thing), Resident(2, Thing)
    residents.keep(id, first)
    assert len(residents) == 1
    assert residents.take(new_id(), 1, is_here=True) is None
    assert residents.take(id, 1, is_here=True) is first
    assert residents.take(id, 1, is_here=True) is None, "it is in that turn"
    residents.keep(id, second)
    assert residents.take(id, 1, is_here=True) is None
    assert len(residents) == 0, "an object of another activation is of no use"


def test_a_turn_that_wants_none_drops_what_is_there():
    residents, id = Residents(), new_id()
    residents.keep(id, Resident(1, Thing))
    assert residents.take(id, 1, is_here=False) is None
    assert len(residents) == 0


def test_those_that_are_not_needed_are_dropped():
    residents = Residents()
    ids = [new_id() for _ in range(3)]
    for id in ids:
        residents.keep(id, Resident(1, Thing))
    residents.forget((ids[0], ids[2], new_id()))
    assert [residents.take(id, 1, is_here=True) is None for id in ids] == [True, False, True]
