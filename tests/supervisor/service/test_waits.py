"""Who waits for whom."""

from __future__ import annotations

from understudy.supervisor.service.waits import Waits

A, B, C, D = b"a", b"b", b"c", b"d"


def way(waits: Waits, actor: bytes, method: bytes, *beside: bytes) -> list[bytes] | None:
    return waits.way(actor, method, lambda _, letter_id: letter_id in beside)


def waits_of(*edges: tuple[bytes, bytes, bytes]) -> Waits:
    """(method, letter, actor): the letters of asks in capitals are read-only."""
    waits = Waits()
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
