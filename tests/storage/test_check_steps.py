from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import EPOCH, add_task
from understudy.actors.refs.letter import Kind, Letter
from understudy.actors.state import State
from understudy.actors.step_label import call_label, key_label
from understudy.storage.check import check
from understudy.storage.tables import actor_rows
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table
from understudy.storage.tables.task_step_rows import pack_step, step_key

ONE, KEY = call_label(b"work", 1), key_label("k")
ROW = pack_step(EPOCH, "work", b"value")
LIVES, DEAD, GONE = b"\1" * 16, b"\2" * 16, b"\3" * 16


def letter(id: bytes) -> bytes:
    return Letter(Kind.TELL, 0, id, None).pack()


class Stored:
    """A task and an actor, each with two steps."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.task = add_task(store, State.QUEUED)
        self.actor = add_task(store, State.IDLE, name="Account")
        for record, letters in ((self.task, (b"", b"")), (self.actor, (LIVES, DEAD))):
            record.steps = 2, 10
            self.write(record)
            for label, of in zip((ONE, KEY), letters, strict=True):
                self.put(step_key(record.id, label, of), ROW)
        self.put(actor_rows.letter_key(self.actor.id, 1), letter(LIVES))
        self.put(
            actor_rows.dead_key(self.actor.id, LIVES),
            actor_rows.pack_dead(EPOCH, letter(DEAD), ("", "", "")),
        )

    def put(self, key: bytes, row: bytes | None) -> None:
        if row is None:
            self.store.delete(Table.ACTORS, key)
        else:
            self.store.put(Table.ACTORS, key, row)

    def write(self, record: Record) -> None:
        self.store.put(Table.TASKS, record.id, record.pack())

    def count(self, record: Record, *steps: int) -> None:
        record.steps = steps or None  # type: ignore[assignment]
        self.write(record)


def checked(home: Path, open_desk: Any, damage: Callable[[Stored], object]) -> list[str]:
    desk = open_desk()
    damage(Stored(desk.store))
    desk.store.close(10)
    return check(home).problems


def test_sound_ones(home: Path, open_desk: Any) -> None:
    assert checked(home, open_desk, lambda it: None) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda it: it.put(step_key(GONE, ONE), ROW), "has no task"),
        (
            lambda it: it.put(step_key(it.task.id, KEY), None),
            "has 1 steps of 5 bytes, but its record says 2 of 10",
        ),
        (lambda it: it.count(it.task, 2, 9), "has 2 steps of 10 bytes, but its record says 2 of 9"),
        (lambda it: it.count(it.actor), "has 2 steps of 10 bytes, but its record says 0 of 0"),
        (
            lambda it: [it.put(step_key(it.task.id, label), None) for label in (ONE, KEY)],
            "keeps 2 steps, but has no rows of any",
        ),
        (lambda it: it.put(step_key(it.task.id, b"\x07"), ROW), "damaged"),
        (lambda it: it.put(step_key(it.task.id, ONE), b"\xc1"), "damaged"),
        (
            lambda it: it.put(step_key(it.actor.id, ONE, GONE), ROW),
            "for a message that is handled, so nothing would remove it",
        ),
    ],
)
def test_damage(home: Path, open_desk: Any, damage: Callable[[Stored], object], said: str) -> None:
    problems = checked(home, open_desk, damage)
    assert any(said in line for line in problems), problems
