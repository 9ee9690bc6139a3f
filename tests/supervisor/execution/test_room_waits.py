"""Who waits for room in whose mailbox, and the circles of these."""

from __future__ import annotations

from understudy.supervisor.execution.room_waits import RoomWaits


def test_a_circle_is_found_by_the_one_that_closes_it():
    waits = RoomWaits()
    assert waits.begin(b"a", b"b") == []
    assert waits.begin(b"c", b"a") == []
    assert waits.begin(b"b", b"c") == [b"b", b"c", b"a"]


def test_one_outside_a_circle_closes_none():
    waits = RoomWaits()
    waits.begin(b"a", b"b")
    assert waits.begin(b"b", b"a") == [b"b", b"a"]
    assert waits.begin(b"c", b"a") == []


def test_one_that_goes_on_or_has_another_mailbox_closes_none():
    waits = RoomWaits()
    waits.begin(b"a", b"b")
    waits.end(b"a")
    waits.end(b"a")
    assert waits.begin(b"b", b"a") == []
    waits.begin(b"b", b"c")
    assert waits.begin(b"a", b"b") == []


def test_room_ends_all_waits_for_it():
    waits = RoomWaits()
    waits.begin(b"a", b"m")
    waits.begin(b"b", b"m")
    assert waits.made_room(b"m") == b"a"
    assert waits.made_room(b"m") is None
    assert waits.begin(b"m", b"a") == []
