from __future__ import annotations

import msgpack
import pytest

from understudy.actors.step_label import NAME_BYTES, call_label, key_label
from understudy.storage.tables import actor_rows
from understudy.storage.tables.schema import MAX_KEY_BYTES
from understudy.storage.tables.task_step_rows import (
    StepRow,
    label_in,
    pack_step,
    step_key,
    steps_of,
    unpack_step,
)

TASK, OTHER, LETTER = bytes(15) + b"\1", bytes(15) + b"\2", b"\xff" * 16


def test_a_row() -> None:
    assert unpack_step(pack_step(2.5, "app:work", b"value")) == StepRow(2.5, "app:work", b"value")


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"\xc1",
        msgpack.packb([1.0, "name"]),
        msgpack.packb([1.0, "name", "text"]),
        msgpack.packb(["x", "n", b""]),
    ],
)
def test_no_row(row: bytes) -> None:
    with pytest.raises(ValueError, match="not a step"):
        unpack_step(row)


def test_keys_are_among_those_of_their_task() -> None:
    label = call_label(b"app:work", 3)
    key, of_letter = step_key(TASK, label), step_key(TASK, label, LETTER)
    assert (label_in(key), label_in(of_letter)) == (label, LETTER + label)
    for each in (key, of_letter):
        assert actor_rows.owner_of(each) == TASK
        start, stop = actor_rows.rows_of(TASK)[0]
        assert start <= each < stop
    start, stop = steps_of(TASK)
    assert start <= key < of_letter < stop
    start, stop = steps_of(TASK, LETTER)
    assert not start <= key < stop
    assert start <= of_letter < stop <= step_key(OTHER, b"")


def test_they_are_no_other_row_of_an_actor() -> None:
    start, stop = steps_of(TASK)
    for other in (
        actor_rows.state_key(TASK),
        actor_rows.storage_key(TASK, "k"),
        actor_rows.reminder_key(TASK, "r"),
        actor_rows.dead_key(TASK, LETTER),
    ):
        assert not start <= other < stop


def test_the_longest_key_fits() -> None:
    assert len(step_key(TASK, call_label(b"x" * NAME_BYTES, 1), LETTER)) <= MAX_KEY_BYTES
    assert len(step_key(TASK, key_label("x" * 400), LETTER)) <= MAX_KEY_BYTES
