"""Reminders on a real store: what is due, what comes again, and that the index agrees with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from room import room
from understudy.actors.ids import new_id
from understudy.actors.refs.letter import Kind, Letter, id_of_letter
from understudy.storage.tables.schema import Table
from understudy.supervisor.tasks.reminders import Reminders, next_due

ACTOR = new_id()
LETTER = Letter(Kind.REMINDER, 0, new_id(), None, payload=b"x").pack()


def told(home: Path, story: Callable[[Reminders], None], rows: int) -> None:
    """Have a story with reminders; then so many rows are on disk."""

    async def main() -> None:
        async with room(home) as it:
            story(Reminders(it.commits.store))
            await it.settle()
            assert len(it.rows(Table.ACTORS)) == rows

    asyncio.run(main())


@pytest.mark.parametrize(
    ("due", "every", "now", "expected"),
    [(10, None, 10, None), (10, 5, 10, 15), (10, 5, 14.9, 15), (10, 5, 15, 20), (10, 5, 31, 35)],
)
def test_missed_periods_count_once(
    due: float, every: float | None, now: float, expected: float | None
) -> None:
    assert next_due(due, every, now) == expected


def test_those_that_are_due_come_in_their_order(home: Path) -> None:
    def story(reminders: Reminders) -> None:
        assert reminders.first is None
        for at in (30.0, 10.0, 20.0):
            reminders.set(ACTOR, f"at {at}", at, None, LETTER)
        assert reminders.first == 10
        assert reminders.take_due(9, 10) == []
        (first,) = reminders.take_due(15, 10)
        assert first.actor == ACTOR
        assert id_of_letter(first.letter) != id_of_letter(LETTER)
        assert first.letter[34:] == LETTER[34:]
        assert reminders.first == 20
        assert len(reminders.take_due(100, 1)) == 1
        assert len(reminders.take_due(100, 10)) == 1
        assert reminders.first is None

    told(home, story, 0)


def test_a_repeated_one_stays(home: Path) -> None:
    def story(reminders: Reminders) -> None:
        reminders.set(ACTOR, "often", 10, 1, LETTER)
        assert len(reminders.take_due(12.5, 10)) == 1
        assert reminders.first == 13
        assert reminders.take_due(12.9, 10) == []

    told(home, story, 2)


def test_a_part_of_those_that_are_due_leaves_the_next_one(home: Path) -> None:
    def story(reminders: Reminders) -> None:
        for number in range(5):
            reminders.set(ACTOR, f"{number}", 10 + number, 100 if number == 1 else None, LETTER)
        assert len(reminders.take_due(20, 3)) == 3
        assert reminders.first == 13
        assert [due.repeated for due in reminders.take_due(20, 2)] == [False, False]
        assert reminders.first == 111

    told(home, story, 2)


def test_one_is_changed_and_removed(home: Path) -> None:
    def story(reminders: Reminders) -> None:
        reminders.set(ACTOR, "one", 10, None, LETTER)
        reminders.set(ACTOR, "one", 20, None, LETTER)
        assert reminders.take_due(15, 10) == []
        reminders.set(ACTOR, "one", None, None, None)
        reminders.set(ACTOR, "never there", None, None, None)
        assert reminders.take_due(100, 10) == []
        for name in "abc":
            reminders.set(ACTOR, name, 10, 1, LETTER)
        reminders.clear(ACTOR)

    told(home, story, 0)


def test_the_next_supervisor_knows_the_first(home: Path) -> None:
    told(home, lambda reminders: reminders.set(ACTOR, "one", 10, None, LETTER), 2)

    def story(reminders: Reminders) -> None:
        assert reminders.first == 10

    told(home, story, 2)
