"""Who waits for whom."""

from __future__ import annotations

from understudy.supervisor.execution.waits import Waits
from understudy.supervisor.tasks.letter_box import Room

A, B, C, D = b"a", b"b", b"c", b"d"


def way(waits: Waits, actor: bytes, method: bytes, *beside: bytes, reads: bool = False) -> list[bytes] | None:
    waits._is_beside = lambda _, letter_id: letter_id in beside
    return waits.way(actor, method, reads=reads)


def waits_of(*edges: tuple[bytes, bytes, bytes]) -> Waits:
    """(method, letter, actor): the letters of asks in capitals are read-only."""
    waits = Waits(lambda *_: False, lambda room: not room.letters)
    for method, letter_id, actor in edges:
        waits.begin(method, letter_id, actor, read_only=letter_id.isupper())
    return waits


def test_the_way_from_one_to_another() -> None:
    waits = waits_of((A, b"1", B), (B, b"2", C), (A, b"3", D), (D, b"4", A))
    assert way(waits, A, A) == [A]
    assert way(waits, A, C) == [A, B, C]
    assert way(waits, D, C) == [D, A, B, C]
    assert way(waits, C, A) is None
    waits.end(b"2")
    waits.end(b"2")
    assert way(waits, A, C) is None


def test_a_method_beside_another_one_waits_for_itself() -> None:
    waits = waits_of((C, b"L", A), (A, b"1", B), (b"L", b"2", D))
    assert way(waits, C, B) == [C, A, B], "it is in the mailbox still, or handled in its order"
    assert way(waits, C, B, b"L") is None
    assert way(waits, C, D, b"L") == [C, A, D]
    assert way(waits, C, b"L", b"L") == [C, A]
    assert way(waits, A, D, b"L") is None


def test_nothing_is_left_of_what_has_ended() -> None:
    waits = waits_of((A, b"1", B), (A, b"2", C))
    waits.end(b"1")
    assert way(waits, A, C) == [A, C]
    waits.end(b"2")
    assert (waits._asked, waits._method) == ({}, {})


def test_the_way_goes_through_full_mailboxes() -> None:
    waits = waits_of((A, b"1", B))
    waits.rooms.begin(B, Room(C, 1))
    waits.rooms.begin(C, Room(A, 1))
    assert way(waits, A, C) == [A, B, C]
    assert way(waits, B, A) == [B, C, A]
    waits.rooms.begin(C, Room(A, 0))
    assert way(waits, B, A) is None, "there is room meanwhile"
    waits.rooms.end(B)
    assert way(waits, A, C) is None


def test_a_read_only_letter_waits_only_for_room() -> None:
    waits = waits_of((A, b"1", B))
    assert way(waits, A, A, reads=True) is None
    assert way(waits, A, B, reads=True) is None
    waits.rooms.begin(A, Room(B, 1))
    assert way(waits, A, B, reads=True) == [A, B]


def test_a_method_beside_another_one_waits_for_room_by_itself() -> None:
    waits = waits_of((C, b"L", A))
    waits.rooms.begin(b"L", Room(C, 1))
    assert way(waits, C, b"L", b"L") == [C, A]
    assert way(waits, A, C, b"L") is None
