from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import EPOCH, add_task
from understudy.actors.state import State
from understudy.storage.check import check
from understudy.storage.tables import actor_rows as rows
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table

SOME = b"\1" * 16
KEPT = rows.KEPT + bytes(10)


def sound_actor(store: Any) -> Record:
    """An actor with rows of every kind."""
    record = add_task(store, State.IDLE, name="Account")
    record.actor = "ada"
    store.put(Table.TASKS, record.id, record.pack())
    made = {
        rows.state_key(record.id): b"state",
        rows.storage_key(record.id, "é/1"): b"value",
        rows.reminder_key(record.id, "x"): rows.pack_reminder(EPOCH, None, b"letter"),
        rows.due_key(EPOCH, record.id, "x"): b"",
        rows.dead_key(record.id, SOME): rows.pack_dead(EPOCH, b"letter", ("", "", "")),
        rows.letter_key(record.id, 1): b"letter",
        rows.name_key("Account", "ada"): record.id,
        **rows.reply_rows(SOME, record.id, EPOCH, b"reply"),
        **rows.reply_rows(KEPT, SOME, EPOCH, None),
    }
    for key, value in made.items():
        store.put(Table.ACTORS, key, value)
    return record


def checked(home: Path, open_desk: Any, damage: Callable[[Any, Record], object]) -> list[str]:
    desk = open_desk()
    damage(desk.store, sound_actor(desk.store))
    desk.store.close(10)
    return check(home).problems


def test_a_sound_actor_is_sound(home: Path, open_desk):
    assert checked(home, open_desk, lambda store, actor: None) == []


def put(key: Callable[[bytes], bytes], row: bytes = b"") -> Callable[[Any, Record], None]:
    return lambda store, actor: store.put(Table.ACTORS, key(actor.id), row)


def gone(key: Callable[[bytes], bytes]) -> Callable[[Any, Record], None]:
    return lambda store, actor: store.delete(Table.ACTORS, key(actor.id))


def no_actor(store: Any, actor: Record) -> None:
    actor.actor = None
    store.put(Table.TASKS, actor.id, actor.pack())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (put(lambda _: rows.state_key(SOME)), "has no task"),
        (put(lambda _: rows.letter_key(SOME, 1)), "has no task"),
        (put(lambda id: rows.letter_key(id, 1)[:-1]), "malformed"),
        (put(lambda id: b"\x01" + id + b"\x09"), "malformed"),
        (put(lambda id: b"\x01" + id), "malformed"),
        (put(lambda _: b"\x7fwhat"), "malformed"),
        (put(lambda _: b"\x06short"), "malformed"),
        (put(lambda id: rows.reply_key(b"short"), rows.pack_reply(SOME, 1.0, None)), "malformed"),
        (put(lambda id: rows.storage_range(id)[0] + b"\xff"), "damaged"),
        (put(lambda id: rows.reminder_key(id, "x"), b"x"), "damaged"),
        (put(lambda id: rows.dead_key(id, SOME), b"x"), "damaged"),
        (put(lambda _: rows.reply_key(SOME), b"x"), "damaged"),
        (put(lambda _: b"\x05short"), "damaged"),
        (put(lambda _: b"\x03short"), "damaged"),
        (put(lambda _: rows.name_key("Account", "eve"), SOME), "which does not exist"),
        (put(lambda _: rows.name_key("Account", "eve"), b""), "which does not exist"),
        (gone(lambda id: rows.reminder_key(id, "x")), "which does not exist"),
        (gone(lambda id: rows.due_key(EPOCH, id, "x")), "would never come"),
        (put(lambda id: rows.due_key(EPOCH + 1, id, "x")), "does not have the time"),
        (gone(lambda _: rows.reply_expiry_key(EPOCH, KEPT)), "would be kept for ever"),
        (no_actor, "which is no actor"),
        (
            lambda store, _: store.put(Table.ACTORS, rows.name_key("Account", "eve"), add_task(store).id),
            "which is etl/None",
        ),
        (
            lambda store, _: store.put(
                Table.ACTORS, rows.name_key("Account", "eve"), add_task(store, State.FAILED).id
            ),
            "which is failed",
        ),
    ],
)
def test_each_kind_of_damage_is_found(home: Path, open_desk, damage: Callable[..., object], said: str):
    problems = checked(home, open_desk, damage)
    assert any(said in problem for problem in problems), problems
