"""Who waits for room in whose mailbox."""

from __future__ import annotations

from understudy.supervisor.execution.room_waits import RoomWaits
from understudy.supervisor.tasks.letter_box import Room


def test_each_waits_for_one_mailbox():
    waits = RoomWaits()
    assert waits.room_of(b"a") is None
    waits.begin(b"a", Room(b"b", 1, 2))
    waits.begin(b"a", Room(b"c", 3, 4))
    assert waits.room_of(b"a") == Room(b"c", 3, 4)
    assert waits.first(b"b") is None
    assert waits.first(b"c") == b"a"


def test_the_first_one_is_the_one_that_has_waited_longest():
    waits = RoomWaits()
    waits.begin(b"a", Room(b"m"))
    waits.begin(b"b", Room(b"m"))
    assert waits.first(b"m") == b"a"
    waits.end(b"a")
    waits.end(b"a")
    assert waits.first(b"m") == b"b"
    waits.end(b"b")
    assert waits.first(b"m") is None
    assert (waits._room_of, waits._waiting) == ({}, {})
