from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.errors import InvalidOption
from understudy.actors.refs import actor
from understudy.storage.memory_store import MemoryStore
from understudy.storage.tables import actor_rows as rows
from understudy.storage.tables.schema import MAX_KEY_BYTES, Table

IDS = st.binary(min_size=16, max_size=16)
SEQS = st.integers(0, 2**64 - 1)
TIMES = st.floats(0, 4e9)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=50)
#: Ids that have much in common, of which some are the prefix of other rows' keys.
NEAR_IDS = st.lists(st.sampled_from([b"\x00", b"\x01", b"\xff"]), min_size=16, max_size=16).map(b"".join)

#: What a row of an actor may be, by the part of its key behind the id.
OWN_KEYS = st.one_of(
    st.just(rows.state_key),
    TEXTS.map(lambda text: lambda id: rows.storage_key(id, text)),
    NAMES.map(lambda name: lambda id: rows.reminder_key(id, name)),
    IDS.map(lambda dead: lambda id: rows.dead_key(id, dead)),
)


@given(st.lists(st.tuples(NEAR_IDS, OWN_KEYS), max_size=30))
def test_the_rows_of_an_actor_stand_together(made: list[tuple[bytes, Callable[[bytes], bytes]]]):
    keys = sorted({make(id): id for id, make in made}.items())
    assert [id for id, _ in groupby(id for _, id in keys)] == sorted({id for id, _ in made})
    for key, id in keys:
        (start, stop), _ = rows.rows_of(id)
        assert [other for other, owner in keys if start <= other < stop] == [
            other for other, owner in keys if owner == id
        ]
        assert rows.owner_of(key) == id


@given(st.lists(st.tuples(NEAR_IDS, SEQS), max_size=30))
def test_letters_sort_by_actor_then_number(made: list[tuple[bytes, int]]):
    assert sorted(made) == [
        (key[1:17], rows.letter_seq(key)) for key in sorted(rows.letter_key(*one) for one in made)
    ]
    for id, seq in made:
        start, stop = rows.letters_of(id)
        assert start <= rows.letter_key(id, seq) < stop
        assert (start, stop) == rows.rows_of(id)[1]
        assert rows.letter_keys(id, seq, seq) == [rows.letter_key(id, seq)]


@given(st.lists(st.tuples(NAMES, NAMES), max_size=30), NAMES, TEXTS)
def test_names_sort_by_class_then_name(made: list[tuple[str, str]], class_name: str, prefix: str):
    utf8 = sorted(made, key=lambda one: (one[0].encode(), one[1].encode()))
    keys = sorted(rows.name_key(*one) for one in made)
    assert [rows.name_parts(key) for key in keys] == utf8
    for wanted, start_of_name in [(class_name, prefix), *((one, name[:1]) for one, name in made)]:
        start, stop = rows.names_range(wanted, start_of_name)
        assert [rows.name_parts(key) for key in keys if start <= key < stop] == [
            (one, name) for one, name in utf8 if one == wanted and name.startswith(start_of_name)
        ]


@given(st.lists(st.tuples(TIMES, NEAR_IDS, NAMES), max_size=30), TIMES)
def test_reminders_sort_by_time(made: list[tuple[float, bytes, str]], now: float):
    keys = sorted(rows.due_key(*one) for one in made)
    told = [rows.reminder_of_due_key(key) for key in keys]
    assert [rows.reminder_at(key) for key in keys] == [rows.reminder_key(id, name) for _, id, name in told]
    assert told == sorted(told)
    for (due, *rest), original in zip(
        sorted(told, key=lambda one: (one[1], one[2], one[0])),
        sorted(made, key=lambda one: (one[1], one[2].encode(), one[0])),
        strict=True,
    ):
        assert (due, *rest) == (pytest.approx(original[0], abs=1e-6), *original[1:])
    start, stop = rows.due_range(now)
    assert {key for key in keys if start <= key < stop} == {
        rows.due_key(*one) for one in made if rows.due_key(*one)[:9] <= rows.due_key(now, bytes(16), "x")[:9]
    }
    assert all(rows.due_range(float("inf"))[0] <= key < rows.due_range(float("inf"))[1] for key in keys)


@given(TEXTS, TEXTS, IDS)
def test_storage_keys_sort_as_python_sorts_text(one: str, other: str, id: bytes):
    assert (rows.storage_key(id, one) < rows.storage_key(id, other)) == (one < other)
    assert rows.storage_text(rows.storage_key(id, one)) == one
    start, stop = rows.storage_range(id, other)
    assert (start <= rows.storage_key(id, one) < stop) == one.startswith(other)


@given(NAMES, IDS, IDS)
def test_keys_give_back_what_they_hold(name: str, id: bytes, dead: bytes):
    assert rows.reminder_name(rows.reminder_key(id, name)) == name
    assert rows.dead_id(rows.dead_key(id, dead)) == dead
    start, stop = rows.dead_range(id, dead)
    assert start == rows.dead_key(id, dead) < stop
    assert rows.owner_of(rows.name_key(name, name)) is rows.owner_of(rows.due_key(1.0, id, name)) is None


@given(TIMES, st.none() | TIMES, st.binary(), IDS)
def test_values_give_back_what_they_hold(time: float, every: float | None, letter: bytes, id: bytes):
    reminder = rows.unpack_reminder(rows.pack_reminder(time, every, letter))
    assert (reminder.due, reminder.every, reminder.letter) == (time, every, letter)
    dead = rows.unpack_dead(rows.pack_dead(time, letter, ("ValueError", "no", "Traceback …")))
    assert (dead.time, dead.letter, dead.error) == (time, letter, ("ValueError", "no", "Traceback …"))
    for given_reply in (letter, None):
        reply = rows.unpack_reply(rows.pack_reply(id, time, given_reply))
        assert (reply.actor, reply.expires, reply.reply) == (id, time, given_reply)


@pytest.mark.parametrize("unpack", [rows.unpack_reminder, rows.unpack_dead, rows.unpack_reply])
@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"\xc1",
        b"\x93\x01",
        *map(
            msgpack.packb,
            [
                None,
                {},
                [],
                [1.0, None, "text"],
                [1.0, None, b"", b""],
                ["x", None, b""],
                [1.0, b"", [b"a", "b", "c"]],
                [1.0, b"", ["a"]],
                [b"short", 1.0, b""],
                [True, 1.0, b""],
            ],
        ),
    ],
)
def test_bytes_that_are_no_such_row(unpack: Callable[[bytes], object], row: bytes):
    with pytest.raises(ValueError, match="not a "):
        unpack(row)


@pytest.mark.parametrize(
    "key", [b"\x03", b"\x03class", b"\x03class\0", b"\x03\0name", b"\x03\xff\0name", b"\x03c\0\xff"]
)
def test_a_key_that_is_no_name(key: bytes):
    with pytest.raises(ValueError, match=r"not a name|utf-8"):
        rows.name_parts(key)


@pytest.mark.parametrize("key", [b"\x05", b"\x05" + bytes(24), b"\x05" + bytes(24) + b"\xff"])
def test_a_key_that_is_no_time_of_a_reminder(key: bytes):
    with pytest.raises(ValueError, match=r"not a reminder|utf-8"):
        rows.reminder_of_due_key(key)
    if len(key) < 26:
        with pytest.raises(ValueError, match="not a reminder"):
            rows.reminder_at(key)


ID = bytes(range(16))


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (lambda text: rows.name_key(text, "a"), rows.CLASS_NAME_BYTES),
        (lambda text: rows.name_key("a", text), rows.ACTOR_NAME_BYTES),
        (lambda text: rows.reminder_key(ID, text), rows.REMINDER_NAME_BYTES),
        (lambda text: rows.due_key(1.0, ID, text), rows.REMINDER_NAME_BYTES),
        (lambda text: rows.storage_key(ID, text), rows.STORAGE_KEY_BYTES),
    ],
)
def test_texts_of_keys_have_a_longest_length(make: Callable[[str], bytes], most: int):
    longest = "ü" * (most // 2)
    assert len(make(longest)) <= MAX_KEY_BYTES
    with pytest.raises(InvalidOption, match=f"to {most} bytes as UTF-8, not {most + 1}"):
        make(longest + "x")


def test_names_that_may_be_declared_fit_into_keys():
    assert (actor.CLASS_NAME_LIMIT, actor.NAME_LIMIT) == (rows.CLASS_NAME_BYTES, rows.ACTOR_NAME_BYTES)
    assert actor.REMINDER_NAME_LIMIT == rows.REMINDER_NAME_BYTES


@pytest.mark.parametrize("text", [None, b"bytes", 7, "\ud800"])
@pytest.mark.parametrize(
    "make",
    [
        lambda text: rows.name_key(text, "a"),
        lambda text: rows.name_key("a", text),
        lambda text: rows.names_range("a", text),
        lambda text: rows.reminder_key(ID, text),
        lambda text: rows.storage_key(ID, text),
    ],
)
def test_what_is_no_text_is_refused(make: Callable[[object], bytes], text: object):
    with pytest.raises(InvalidOption, match="must be text"):
        make(text)


@pytest.mark.parametrize("text", ["", "a\0b"])
def test_names_are_not_empty_and_have_no_nul(text: str):
    for make in (
        lambda: rows.name_key(text, "a"),
        lambda: rows.name_key("a", text),
        lambda: rows.reminder_key(ID, text),
    ):
        with pytest.raises(InvalidOption, match=r"must have 1 to|must not contain NUL"):
            make()
    assert rows.storage_key(ID, text) > rows.state_key(ID)


def test_only_replies_without_a_time_in_their_id_are_listed_by_time():
    timed, kept = ID, rows.KEPT + bytes(10)
    assert rows.reply_rows(timed, ID, 5.0, b"r") == {rows.reply_key(timed): rows.pack_reply(ID, 5.0, b"r")}
    assert rows.reply_rows(kept, ID, 5.0, None) == {
        rows.reply_key(kept): rows.pack_reply(ID, 5.0, None),
        rows.reply_expiry_key(5.0, kept): b"",
    }


@given(st.sets(NEAR_IDS, max_size=8), st.integers(1, 3))
def test_actors_with_letters_are_found_a_few_at_a_time(ids: set[bytes], most: int):
    store = MemoryStore.open(Path(), on_commit=lambda _batch: None)
    reads = 0
    for id in ids:
        for seq in (1, 2, 2**64 - 1):
            store.put(Table.ACTORS, rows.letter_key(id, seq), b"letter")
        store.put(Table.ACTORS, rows.state_key(id), b"")
        store.put(Table.ACTORS, rows.name_key("class", id.hex()), id)
    batch = store.batch
    if store.seal():
        store.committed(batch)

    def scan(*args: object) -> list[tuple[bytes, bytes]]:
        nonlocal reads
        found = store.scan(*args)
        assert len(found) <= 1
        reads += 1
        return found

    found: list[bytes] = []
    while some := rows.letter_ids(scan, found[-1] if found else b"", most):
        assert len(some) <= most
        found += some
    assert found == sorted(ids)
    assert reads <= 2 * len(ids) + 2
