from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import add_task, new_id
from understudy.actors.errors import InvalidOption, StoreCorrupt
from understudy.actors.state import State
from understudy.storage.reader import Reader
from understudy.storage.tables import actor_rows
from understudy.storage.tables.schema import Table, mail_key

Fill = Callable[[Callable[[Any], object]], None]

ID, OTHER = b"\1" * 16, b"\1" * 15 + b"\2"


@pytest.fixture
def fill(open_desk) -> Fill:
    """Writes to the store and closes it, for a reader of this process may not share it with a writer."""

    def fill(write: Callable[[Any], object]) -> None:
        desk = open_desk()
        write(desk.store)
        assert desk.store.close(10) is None

    return fill


@pytest.fixture
def reader(home: Path):
    with Reader(home) as reader:
        yield reader


def put(store: Any, rows: dict[bytes, bytes]) -> None:
    for key, value in rows.items():
        store.put(Table.ACTORS, key, value)


def everything(id: bytes) -> dict[bytes, bytes]:
    """Rows of every kind."""
    return {
        actor_rows.state_key(id): b"state of " + id,
        **{actor_rows.storage_key(id, key): key.encode() for key in ("", "a/1", "a/2", "b/1")},
        **{
            actor_rows.reminder_key(id, name): actor_rows.pack_reminder(9.5, 60.0, b"r")
            for name in ("x", "y")
        },
        **{
            actor_rows.dead_key(id, bytes([n]) * 16): actor_rows.pack_dead(n, b"d", ("E", "", ""))
            for n in (1, 2)
        },
        **{actor_rows.letter_key(id, seq): b"letter" for seq in (4, 5, 6)},
    }


def test_a_home_without_a_store_reads_as_empty(home: Path, reader: Reader):
    assert reader.actor_id("Account", "ada") is reader.state(ID) is None
    assert reader.actors() == reader.actors("Account") == []
    assert reader.storage_rows(ID) == reader.reminders(ID) == reader.dead_letters(ID) == []
    assert reader.mail_depth(ID) == 0
    assert not home.exists()


def test_the_rows_of_an_actor_are_its_own(fill: Fill, reader: Reader):
    fill(lambda store: put(store, everything(ID) | everything(OTHER)))
    assert reader.state(ID) == b"state of " + ID
    assert reader.storage_rows(ID) == [("", b""), ("a/1", b"a/1"), ("a/2", b"a/2"), ("b/1", b"b/1")]
    assert reader.storage_rows(ID, "a/") == [("a/1", b"a/1"), ("a/2", b"a/2")]
    assert reader.storage_rows(ID, "a/", 1) == [("a/1", b"a/1")]
    assert reader.storage_rows(ID, "a/", after="a/1") == [("a/2", b"a/2")]
    assert reader.storage_rows(ID, "a/", after="Z") == [("a/1", b"a/1"), ("a/2", b"a/2")]
    assert reader.storage_rows(ID, limit=0) == reader.storage_rows(ID, after="b/1") == []
    assert reader.reminders(ID) == [("x", (9.5, 60.0, b"r")), ("y", (9.5, 60.0, b"r"))]
    dead = [(bytes([n]) * 16, (n, b"d", ("E", "", ""))) for n in (1, 2)]
    assert reader.dead_letters(ID) == reader.dead_letters(ID, None) == dead
    assert reader.dead_letters(ID, 1) == dead[:1]
    assert reader.mail_depth(ID) == 3


def test_the_depth_of_a_mailbox_counts_letters(fill: Fill, reader: Reader):
    made = []

    def write(store: Any) -> None:
        made.append(add_task(store, State.IDLE))
        put(store, everything(made[0].id))
        store.put(Table.MAIL, mail_key(made[0].id, 1), b"message")

    fill(write)
    found = reader.record_and_depth(made[0].id)
    assert found is not None
    assert found[1] == reader.mailbox_depth(made[0].id) == 4


NAMES = sorted(
    (class_name, name)
    for class_name in ("Acc", "Account", "Bank", "ä:Ö")
    for name in ("a", "ada", "adb", "b/1", "é")
)


@pytest.fixture
def named(fill: Fill) -> dict[tuple[str, str], bytes]:
    """Actors by class and name; the order of their ids is another one."""
    ids = {one: new_id(2e9 - number) for number, one in enumerate(NAMES)}
    fill(
        lambda store: put(store, {actor_rows.name_key(*one): id for one, id in ids.items()} | everything(ID))
    )
    return ids


def test_actors_are_found_by_class_and_name(named: dict[tuple[str, str], bytes], reader: Reader):
    for one, id in named.items():
        assert reader.actor_id(*one) == id
    assert reader.actor_id("Account", "ad") is reader.actor_id("Accoun", "ada") is None
    with pytest.raises(InvalidOption, match="name"):
        reader.actor_id("Account", "")


@pytest.mark.parametrize("limit", [1, 3, 100, None])
@pytest.mark.parametrize("prefix", ["", "a", "ad", "z"])
@pytest.mark.parametrize("class_name", [None, "Acc", "Account", "Nobody"])
def test_pages_of_actors_join_to_the_whole(
    named: dict[tuple[str, str], bytes],
    reader: Reader,
    class_name: str | None,
    prefix: str,
    limit: int | None,
):
    expected = [
        (*one, id) for one, id in named.items() if class_name in (None, one[0]) and one[1].startswith(prefix)
    ]
    found: list[tuple[str, str, bytes]] = []
    while page := reader.actors(class_name, prefix, limit, found[-1][:2] if found else None):
        assert limit is None or len(page) <= limit
        found += page
    assert found == expected
    assert reader.actors(class_name, prefix, 0) == []


@pytest.mark.parametrize(
    ("key", "row", "read"),
    [
        (actor_rows.reminder_key(ID, "x"), b"x", lambda reader: reader.reminders(ID)),
        (actor_rows.reminders_of(ID)[0] + b"\xff", b"x", lambda reader: reader.reminders(ID)),
        (actor_rows.dead_key(ID, ID), b"x", lambda reader: reader.dead_letters(ID)),
        (actor_rows.storage_range(ID)[0] + b"\xff", b"x", lambda reader: reader.storage_rows(ID)),
        (actor_rows.name_key("A", "a"), b"short", lambda reader: reader.actor_id("A", "a")),
        (actor_rows.name_key("A", "a"), b"short", lambda reader: reader.actors()),
        (b"\x03no name", ID, lambda reader: reader.actors()),
        (b"\x03" + b"c" * 201 + b"\0name", ID, lambda reader: reader.actors()),
    ],
)  # fmt: skip
def test_a_damaged_row_is_named(
    fill: Fill, reader: Reader, key: bytes, row: bytes, read: Callable[..., object]
):
    fill(lambda store: store.put(Table.ACTORS, key, row))
    with pytest.raises(StoreCorrupt, match=key.hex()):
        read(reader)
