from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.state import State
from understudy.storage.tables.record import Record, end_of, is_bare, state_of

SOME_ID = bytes(range(16))


def test_every_field_comes_back():
    record = Record(SOME_ID, "etl", 1.5, b"s" * 16, b"o" * 16, {"timeout": 3}, "key", 9.0, b"r" * 16)
    record.state = State.FAILED
    record.started, record.ended, record.attempt, record.interruptions = 2.0, 3.0, 2, 1
    record.crashes, record.alone, record.pid = 1, True, 42
    record.error = ("ValueError", "no", "Traceback …", {"pid": 42})
    record.progress, record.checkpoint = (1.0, None, "half"), (2.5, 100)
    record.closed = record.cancel = True
    record.place, record.result, record.tries = (4, 9), 77, 4
    record.metadata = {"customer": "acme"}
    record.actor = "ada"
    again = Record.unpack(SOME_ID, record.pack())
    for name in (*Record.__slots__[1:], *Record.__annotations__):
        assert getattr(again, name) == getattr(record, name), name


@given(st.text(max_size=70_000), st.sampled_from(State))
def test_the_state_is_read_without_the_rest(name: str, state: State):
    record = Record(SOME_ID, name, 1.5, SOME_ID)
    record.state = state
    assert state_of(record.pack()) is state


def test_the_codes_of_states_stay_what_is_on_disk():
    record = Record(SOME_ID, "etl", 1.5, SOME_ID)
    codes = {}
    for record.state in State:
        codes[record.pack()[1]] = str(record.state)
    assert codes == {
        0: "queued",
        1: "running",
        2: "completed",
        3: "failed",
        4: "timed_out",
        5: "cancelled",
        6: "idle",
    }


def test_an_actor_without_a_name_is_an_actor():
    record = Record(SOME_ID, "Account", 1.5, SOME_ID)
    assert Record.unpack(SOME_ID, record.pack()).actor is None
    record.actor = ""
    assert Record.unpack(SOME_ID, record.pack()).actor == ""


def test_a_bare_row_has_only_what_every_row_has():
    record = Record(SOME_ID, "etl", 1.5, SOME_ID)
    record.state, record.started, record.ended, record.pid = State.COMPLETED, 2.0, 3.0, 7
    assert is_bare(record.pack())
    record.progress = None  # as it is anyway
    assert is_bare(record.pack())
    record.result = 0
    assert not is_bare(record.pack())
    assert Record.unpack(SOME_ID, record.pack()).result == 0


def test_an_end_is_read_without_the_rest():
    record = Record(bytes(16), "t", 1.0, bytes(16))
    record.state = State.FAILED
    assert end_of(record.pack()) == (State.FAILED, None, None)
    record.result, record.error = 7, ("ValueError", "no", "", {"a": 1})
    assert end_of(record.pack()) == (State.FAILED, 7, ("ValueError", "no", "", {"a": 1}))


@pytest.mark.parametrize("rest", [{"result": "7"}, {"error": 1}, [1], 5])
def test_a_damaged_end_is_refused(rest: object):
    with pytest.raises(ValueError, match="not a task record"):
        end_of(msgpack.packb([2, rest, *[None] * 9]))


def test_a_stream_of_its_own_takes_no_room():
    alone, of_another = (len(Record(SOME_ID, "etl", 1.5, stream).pack()) for stream in (SOME_ID, bytes(16)))
    assert of_another - alone == 17
    assert Record.unpack(SOME_ID, Record(SOME_ID, "etl", 1.5, SOME_ID).pack()).stream == SOME_ID


def test_a_field_that_no_record_has_is_refused():
    row = msgpack.unpackb(Record(SOME_ID, "etl", 1.5, SOME_ID).pack())
    with pytest.raises(ValueError, match="not a task record"):
        Record.unpack(SOME_ID, msgpack.packb([row[0], {"pack": 1}, *row[2:]]))


@given(st.binary(max_size=60))
def test_other_bytes_are_refused_with_a_value_error(row: bytes):
    with pytest.raises(ValueError, match="not a task record"):
        Record.unpack(SOME_ID, row)


@pytest.mark.parametrize("row", [b"", b"\x9b", b"\x9b\x7f", b"\xdc\x00\x15\xa1n"])
def test_a_row_without_a_state_is_refused(row: bytes):
    with pytest.raises(ValueError, match="not a task record"):
        state_of(row)


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", 1), ("attempt", "1"), ("created", None), ("place", (1,)), ("place", ("a", 0)), ("crashes", "3"),
     ("options", [1]), ("key", b"k"), ("due", "soon"), ("deaths", 5), ("cancel", 2),
     ("actor", 1)],
)  # fmt: skip
def test_a_field_of_the_wrong_type_is_damage(field: str, value: object) -> None:
    record = Record(bytes(16), "name", 1.0, bytes(16))
    setattr(record, field, value)
    with pytest.raises(ValueError, match="not a task record"):
        Record.unpack(record.id, record.pack())
