"""Letters: any letter comes back as it was, and bytes that are no letter are refused."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.errors import InvalidValue
from understudy.actors.ids import new_id
from understudy.actors.refs.letter import (
    HEAD,
    KEPT,
    READ_ONLY,
    WAITS,
    Kind,
    Letter,
    Op,
    asked_id,
    flags_of,
    id_of_letter,
    keyed_id,
    kind_of,
    sender_of,
    what_is_asked,
)

ids = st.binary(min_size=16, max_size=16)
bodies = st.one_of(
    st.tuples(st.just(Op.MESSAGE), st.none()),
    st.tuples(st.sampled_from([Op.CALL, Op.GET, Op.SET]), st.text(min_size=1)),
)
letters = st.builds(
    lambda kind, flags, id, sender, body, payload, stream, keep: Letter(
        kind, flags, id, sender, *body, payload, stream, keep
    ),
    st.sampled_from(Kind),
    st.integers(0, 7),
    ids,
    st.none() | ids.filter(any),
    bodies,
    st.none() | st.binary(),
    st.none() | ids,
    st.none() | st.floats(0, 1e9),
)


@given(letters)
def test_a_letter_comes_back_as_it_was(letter: Letter) -> None:
    assert Letter.unpack(letter.pack()) == letter


@given(letters)
def test_its_head_is_read_without_the_rest(letter: Letter) -> None:
    head = letter.pack()[: HEAD.size]
    assert (kind_of(head), flags_of(head), id_of_letter(head), sender_of(head)) == letter[:4]


@given(st.binary(max_size=80))
def test_any_bytes_are_a_letter_or_are_refused(data: bytes) -> None:
    try:
        letter = Letter.unpack(data)
    except InvalidValue:
        return
    assert Letter.unpack(letter.pack()) == letter


def body(*fields: object) -> bytes:
    return HEAD.pack(1, 0, b"i" * 16, bytes(16)) + msgpack.packb(fields)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(HEAD.size - 1),
        bytes(HEAD.size),
        HEAD.pack(4, 0, b"i" * 16, bytes(16)) + msgpack.packb((0, None, None, None, None)),
        HEAD.pack(0, 8, b"i" * 16, bytes(16)) + msgpack.packb((0, None, None, None, None)),
        body(0, None, None, None),
        body(0, None, None, None, None, None),
        body(4, "x", None, None, None),
        body(-1, "x", None, None, None),
        body(True, "x", None, None, None),
        body(0, "x", None, None, None),
        body(1, None, None, None, None),
        body(1, "", None, None, None),
        body(1, b"x", None, None, None),
        body(0, None, "x", None, None),
        body(0, None, None, b"x", None),
        body(0, None, None, None, -1),
        body(0, None, None, None, "x"),
        body(0, None, None, None, float("nan")),
        body(0, None, None, None, None) + b"\x00",
    ],
)
def test_what_is_no_letter_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidValue, match="not a letter"):
        Letter.unpack(data)


def test_heads_that_are_too_short_are_refused() -> None:
    for read in (kind_of, flags_of, id_of_letter, sender_of):
        with pytest.raises(InvalidValue, match="not a letter"):
            read(bytes(HEAD.size - 1))


def test_the_flags_are_bits() -> None:
    assert (READ_ONLY, WAITS, KEPT) == (1, 2, 4)


def test_a_key_gives_the_same_id_for_the_same_actor_only() -> None:
    ada, bob = new_id(), new_id()
    assert keyed_id(ada, "order-17") == keyed_id(ada, "order-17")
    assert len({keyed_id(ada, "a"), keyed_id(ada, "b"), keyed_id(bob, "a")}) == 3
    assert len(keyed_id(ada, "a")) == 16
    assert keyed_id(ada, "a")[:6] == b"\xff" * 6


def test_a_method_that_runs_again_asks_under_the_same_ids() -> None:
    handled = new_id()
    actor = new_id()
    what = what_is_asked(actor, Kind.ASK, Op.CALL, "deposit")
    asked = [asked_id(handled, what, ordinal) for ordinal in range(3)]
    assert asked == [asked_id(handled, what, ordinal) for ordinal in range(3)]
    assert len({*asked, handled}) == 4
    assert {id[:6] for id in asked} == {handled[:6]}
    assert asked_id(new_id(), what) != asked[0]


def test_another_ask_has_another_id() -> None:
    handled, actor = new_id(), new_id()
    asks = [
        (actor, Kind.ASK, Op.CALL, "deposit"),
        (actor, Kind.ASK, Op.CALL, "withdraw"),
        (actor, Kind.ASK, Op.GET, "deposit"),
        (actor, Kind.ASK, Op.MESSAGE, None),
        (actor, Kind.STOP, Op.MESSAGE, None),
        (new_id(), Kind.ASK, Op.CALL, "deposit"),
    ]
    assert len({asked_id(handled, what_is_asked(*ask)) for ask in asks}) == len(asks)
