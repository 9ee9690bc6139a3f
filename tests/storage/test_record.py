from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.state import State
from understudy.storage.record import Record, state_of

SOME_ID = bytes(range(16))


def test_every_field_comes_back():
    record = Record(SOME_ID, "etl", 1.5, b"s" * 16, b"o" * 16, {"timeout": 3}, "key", 9.0, b"r" * 16)
    record.state = State.FAILED
    record.started, record.ended, record.attempt, record.interruptions = 2.0, 3.0, 2, 1
    record.crashes, record.alone, record.pid = 1, True, 42
    record.error = ("ValueError", "no", "Traceback …", {"pid": 42})
    record.progress, record.checkpoint = (1.0, None, "half"), (2.5, 100)
    record.closed = record.cancel = True
    again = Record.unpack(SOME_ID, record.pack())
    for name in Record.__slots__:
        assert getattr(again, name) == getattr(record, name), name


@given(st.text(max_size=70_000), st.sampled_from(State))
def test_the_state_is_read_without_the_rest(name: str, state: State):
    record = Record(SOME_ID, name, 1.5, SOME_ID)
    record.state = state
    assert state_of(record.pack()) is state


@pytest.mark.parametrize("length", [0, 31, 32, 255, 256, 65535])
def test_the_state_is_found_behind_names_of_every_length(length: int):
    assert state_of(Record(SOME_ID, "n" * length, 0.0, SOME_ID).pack()) is State.QUEUED


@given(st.binary(max_size=60))
def test_other_bytes_are_refused_with_a_value_error(row: bytes):
    with pytest.raises(ValueError, match="not a task record"):
        Record.unpack(SOME_ID, row)


@pytest.mark.parametrize(
    "row", [b"", b"\xdc", b"\xdc\x00\x15", b"\xdc\x00\x15\xa1n", b"\xdc\x00\x15\xa1n\x7f"]
)
def test_a_row_without_a_state_is_refused(row: bytes):
    with pytest.raises(ValueError, match="not a task record"):
        state_of(row)
