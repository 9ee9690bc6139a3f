"""Marks that outlive the worker."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from understudy.supervisor.channel import wait_marks
from understudy.supervisor.channel.wait_marks import WaitMarks


def name(n: int) -> bytes:
    return n.to_bytes(16, "big")


@pytest.fixture
def both() -> Iterator[tuple[WaitMarks, WaitMarks]]:
    """The supervisor's side and the worker's."""
    ours = WaitMarks()
    theirs = WaitMarks(os.dup(ours.fd))
    yield ours, theirs
    ours.close()
    theirs.close()


def test_what_waits_and_what_works(both: tuple[WaitMarks, WaitMarks]) -> None:
    ours, theirs = both
    assert ours.read() == {}
    theirs.works(name(1))
    assert ours.read() == {}, "one that never waited has no mark"
    for n in range(5):
        theirs.waits(name(n))
    theirs.works(name(3))
    theirs.ended(name(1))
    theirs.ended(name(99))
    assert ours.read() == {name(0): True, name(2): True, name(3): False, name(4): True}
    theirs.waits(name(3))
    theirs.waits(name(5))
    assert ours.read() == {name(n): True for n in (0, 2, 3, 4, 5)}


def test_who_is_being_built(both: tuple[WaitMarks, WaitMarks]) -> None:
    ours, theirs = both
    for n in range(4):
        theirs.builds(name(n))
    theirs.waits(name(0))
    theirs.built(name(1))
    theirs.waits(name(2))
    theirs.works(name(2))
    theirs.ended(name(3))
    assert ours.read_building() == {name(0), name(2)}
    assert ours.read() == {name(0): True, name(1): False, name(2): False}
    theirs.builds(name(3))
    theirs.waits(name(1))
    assert ours.read_building() == {name(0), name(2), name(3)}


def test_places_are_used_again(both: tuple[WaitMarks, WaitMarks], monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = both
    monkeypatch.setattr(wait_marks, "MARKS", 2)
    for n in range(10):
        theirs.waits(name(n))
        theirs.ended(name(n))
    for n in range(3):
        theirs.waits(name(n))
        theirs.works(name(n))
    assert ours.read() == {name(0): False, name(1): False}, "the third has none: what it last reported counts"
    for n in range(3):
        theirs.ended(name(n))
    assert ours.read() == {}


def test_closing_twice_is_fine() -> None:
    it = WaitMarks()
    it.close()
    it.close()
