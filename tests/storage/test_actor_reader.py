from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import EPOCH, add_actor, add_task
from understudy.actors.errors import InvalidOption, StoreCorrupt
from understudy.actors.state import State
from understudy.storage import actor_reader
from understudy.storage.actor_reader import ActorName
from understudy.storage.live_rows import record_of
from understudy.storage.reader import Reader
from understudy.storage.tables import actor_rows
from understudy.storage.tables.record import Record
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
    assert reader.actors() == reader.actors(prefix="a") == reader.actor_classes() == []
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


@pytest.fixture
def troupe(fill: Fill) -> list[Record]:
    """Living actors of three classes, one in a turn and one without a name, and one that has stopped."""
    actors: list[Record] = []

    def write(store: Any) -> None:
        add_task(store, State.RUNNING, EPOCH)
        for number, (class_name, name, state) in enumerate(
            [
                ("m:Account", "bob", State.IDLE),
                ("n:Account", "ada", State.RUNNING),
                ("m:Account", "ada", State.IDLE),
                ("m:Account", "", State.IDLE),
                ("m:Feed", "adam", State.IDLE),
                ("m:Account", "adam", State.RUNNING),
                ("m:Account", "zoe", State.COMPLETED),
            ]
        ):
            actors.append(add_actor(store, name, class_name, EPOCH + 10 * number, state))

    fill(write)
    return actors


def test_an_actor_is_found_by_its_name(reader: Reader, troupe: list[Record]):
    assert reader.actor_id("m:Account", "ada") == troupe[2].id
    with pytest.raises(InvalidOption, match="name"):
        reader.actor_id("m:Account", "")
    assert reader.actor_id("m:Account", "zoe") is None, "it has stopped"
    assert reader.actor_id("o:Account", "ada") is None
    assert reader.actor_classes() == ["m:Account", "m:Feed", "n:Account"]


def test_living_actors_in_the_order_of_their_start(reader: Reader, troupe: list[Record]):
    everybody = reader.actors()
    assert everybody == [ActorName(actor.id, actor.name, actor.actor or None) for actor in troupe[:6]]
    assert [actor.name for actor in everybody] == ["bob", "ada", "ada", None, "adam", "adam"]
    for number, last in enumerate(everybody):
        assert reader.actors(after=last) == everybody[number + 1 :]
        assert reader.actors(after=last, limit=1) == everybody[number + 1 : number + 2]
    accounts = [actor for actor in everybody if actor.class_name == "m:Account"]
    assert reader.actors(["m:Account"]) == accounts
    assert reader.actors(["m:Account"], after=accounts[1]) == accounts[2:]
    assert reader.actors(["m:Account"], limit=0) == []


def test_the_actors_of_a_class_cost_no_other_ones(
    fill: Fill, reader: Reader, monkeypatch: pytest.MonkeyPatch
):
    made: list[Record] = []

    def write(store: Any) -> None:
        for number in range(40):
            add_task(store, State.RUNNING, EPOCH + number)
            add_actor(
                store, f"a{number}", "m:Many", EPOCH + number, State.IDLE if number % 2 else State.RUNNING
            )
        for number, state in enumerate((State.IDLE, State.RUNNING)):
            made.append(add_actor(store, f"b{number}", "m:Few", EPOCH + 100 + number, state))
        made.append(add_actor(store, "old", "m:Few", EPOCH + 200, sort=0))

    fill(write)
    read: list[bytes] = []

    def counted(snapshot: Any, key: bytes) -> Record:
        read.append(key)
        return record_of(snapshot, key)

    monkeypatch.setattr(actor_reader, "record_of", counted)
    assert [actor.id for actor in reader.actors(["m:Few"])] == [record.id for record in made]
    assert len(read) == 3


def test_living_actors_by_the_beginning_of_their_names(reader: Reader, troupe: list[Record]):
    def of(actors: list[ActorName]) -> list[tuple[str, str | None]]:
        return [(actor.class_name, actor.name) for actor in actors]

    found = reader.actors(prefix="ada")
    assert of(found) == [
        ("m:Account", "ada"),
        ("m:Account", "adam"),
        ("m:Feed", "adam"),
        ("n:Account", "ada"),
    ]
    for number, last in enumerate(found):
        assert reader.actors(prefix="ada", after=last) == found[number + 1 :]
    assert of(reader.actors(["n:Account", "m:Account"], prefix="ada", limit=2)) == of(found[:2])
    assert reader.actors(prefix="x") == []


@pytest.mark.parametrize(
    ("key", "row", "read"),
    [
        (actor_rows.reminder_key(ID, "x"), b"x", lambda reader: reader.reminders(ID)),
        (actor_rows.reminders_of(ID)[0] + b"\xff", b"x", lambda reader: reader.reminders(ID)),
        (actor_rows.dead_key(ID, ID), b"x", lambda reader: reader.dead_letters(ID)),
        (actor_rows.storage_range(ID)[0] + b"\xff", b"x", lambda reader: reader.storage_rows(ID)),
        (actor_rows.name_key("A", "a"), b"short", lambda reader: reader.actor_id("A", "a")),
        (actor_rows.name_key("A", "a"), b"short", lambda reader: reader.actor_classes()),
        (actor_rows.name_key("A", "a"), b"short", lambda reader: reader.actors(prefix="a")),
        (b"\x03no name", ID, lambda reader: reader.actor_classes()),
        (b"\x03" + b"c" * 201 + b"\0name", ID, lambda reader: reader.actor_classes()),
    ],
)  # fmt: skip
def test_a_damaged_row_is_named(
    fill: Fill, reader: Reader, key: bytes, row: bytes, read: Callable[..., object]
):
    fill(lambda store: store.put(Table.ACTORS, key, row))
    with pytest.raises(StoreCorrupt, match=key.hex()):
        read(reader)
