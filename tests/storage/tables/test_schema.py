from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.errors import InvalidOption
from understudy.storage.tables.schema import (
    MAX_KEY_BYTES,
    Lane,
    Table,
    after_prefix,
    due_of,
    due_sort,
    expiry_ids,
    expiry_key,
    idempotency_key,
    live_id,
    live_key,
    live_lane,
    log_key,
    log_seq,
    mail_key,
    mail_seq,
    ready_sort,
)

IDS = st.binary(min_size=16, max_size=16)
SEQS = st.integers(0, 2**64 - 1)


def test_the_names_of_tables_and_lanes_stay_what_is_on_disk():
    assert [table.value for table in Table] == (
        [
            "tasks",
            "args",
            "live",
            "mail",
            "checkpoints",
            "results",
            "logs",
            "keys",
            "expiry",
            "schedules",
            "actors",
            "index",
            "counts",
            "events",
            "items",
            "attempts",
            "failures",
            "stats",
            "meta",
        ]
    )
    assert list(Lane) == [*range(14)]


@given(st.sampled_from(Lane), SEQS, IDS)
def test_live_keys_give_back_what_they_hold(lane: Lane, sort: int, id: bytes):
    key = live_key(lane, sort, id)
    assert len(key) == 25
    assert (live_lane(key), live_id(key)) == (lane, id)


@given(st.tuples(st.sampled_from(Lane), SEQS, IDS), st.tuples(st.sampled_from(Lane), SEQS, IDS))
def test_live_keys_sort_by_lane_then_sort_then_age(one, other):
    assert (live_key(*one) < live_key(*other)) == (one < other)


def test_higher_priority_runs_first():
    assert sorted([-100, 0, 100, 7], key=ready_sort) == [100, 7, 0, -100]


@pytest.mark.parametrize("priority", [-101, 101])
def test_a_priority_out_of_range_is_refused(priority: int):
    with pytest.raises(InvalidOption, match="priority"):
        ready_sort(priority)


@given(st.floats(0, 4e9))
def test_due_times_are_kept_to_the_microsecond(at: float):
    assert due_of(live_key(Lane.DELAYED, due_sort(at), bytes(16))) == pytest.approx(at, abs=1e-6)


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_due_times_sort(one: float, other: float):
    if one <= other:
        assert due_sort(one) <= due_sort(other)


def test_times_out_of_range_are_taken_as_the_nearest():
    assert due_sort(-1) == 0
    assert due_sort(1e30) == 2**64 - 1
    assert expiry_key(-1, b"") == bytes(8)


@given(IDS, SEQS)
def test_sequence_keys_give_back_what_they_hold(id: bytes, seq: int):
    assert mail_seq(mail_key(id, seq)) == seq
    assert log_seq(log_key(id, seq)) == seq
    assert mail_key(id, seq)[:16] == id


@given(st.floats(0, 4e9), IDS)
def test_expiry_keys_give_back_the_id(at: float, id: bytes):
    assert expiry_ids(expiry_key(at, id), b"") == [id]
    assert expiry_ids(expiry_key(at, id), id + bytes(16)) == [id, id, bytes(16)]


@given(st.text(min_size=1).filter(lambda text: text.isascii() or max(text) < "\ud800"))
def test_a_short_idempotency_key_is_its_utf8(text: str):
    if len(text.encode()) <= MAX_KEY_BYTES:
        assert idempotency_key(text) == text.encode()


def test_a_long_idempotency_key_is_a_hash_that_no_text_can_be():
    longest = "ü" * 255 + "x"
    assert idempotency_key(longest) == longest.encode()
    hashed = idempotency_key(longest + "x")
    assert len(hashed) == 33
    assert hashed != idempotency_key(longest + "y")
    with pytest.raises(UnicodeDecodeError):
        hashed.decode()


@pytest.mark.parametrize("text", ["", "\ud800"])
def test_an_idempotency_key_that_cannot_be_written_is_refused(text: str):
    with pytest.raises(InvalidOption):
        idempotency_key(text)


@given(st.binary(max_size=6), st.binary(max_size=6), st.binary(max_size=6))
def test_after_prefix_is_above_the_prefix_and_below_the_rest(prefix: bytes, tail: bytes, other: bytes):
    stop = after_prefix(prefix)
    assert prefix + tail < stop
    if other > prefix and not other.startswith(prefix):
        assert other >= stop


def test_after_prefix_of_the_highest_prefix_is_above_every_key():
    assert after_prefix(b"\xff\xff") > b"\xff" * MAX_KEY_BYTES
    assert after_prefix(os.urandom(0)) > b"\xff" * MAX_KEY_BYTES
