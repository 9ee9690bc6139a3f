from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tasks import EPOCH, add_task, new_id
from understudy.actors.state import State
from understudy.storage.check import check
from understudy.storage.tables.item_rows import TRY, Head, head_key, item_key, pack_mark, row_head
from understudy.storage.tables.schema import Table

BODY = b"".join(map(msgpack.packb, (1.0, "token", b"\x01")))


@pytest.fixture
def problems(home: Path, open_desk) -> Callable[[Callable[[Any, bytes], object]], list[str]]:
    """The problems of a store with a stream after a change of it."""

    def problems(damage: Callable[[Any, bytes], object]) -> list[str]:
        desk = open_desk()
        task = add_task(desk.store, State.COMPLETED, EPOCH).id
        for number in (3, 4):
            desk.store.put(Table.ITEMS, item_key(task, number), row_head(task, 1, 0) + BODY)
        desk.store.put(
            Table.ITEMS, item_key(task, 1, 1), pack_mark(TRY, task, 1, 0, 1.0, "retry", None, None)
        )
        desk.store.put(Table.ITEMS, head_key(task), Head(dropped=2, item=4).pack())
        damage(desk.store, task)
        desk.flush()
        desk.store.close(10)
        return check(home).problems

    return problems


def test_a_sound_stream_is_sound(problems):
    assert problems(lambda store, task: None) == []


def test_an_item_of_a_pruned_task_in_a_stream_that_goes_on(problems):
    def other(store, task):
        store.put(Table.ITEMS, item_key(task, 5), row_head(new_id(EPOCH), 1, 0) + BODY)

    assert problems(other) == []


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda store, task: store.put(Table.ITEMS, b"short", b""), "malformed"),
        (lambda store, task: store.put(Table.ITEMS, item_key(task, 4), b"\xc1"), "not an item"),
        (lambda store, task: store.put(Table.ITEMS, head_key(task), b"\xc1"), "not the head"),
        (
            lambda store, task: store.put(Table.ITEMS, item_key(task, 2), row_head(task, 1, 0) + BODY),
            "was dropped",
        ),
        (
            lambda store, task: store.put(
                Table.ITEMS, item_key(new_id(EPOCH), 1), row_head(new_id(EPOCH), 1, 0) + BODY
            ),
            "neither a task nor",
        ),
        (lambda store, task: store.put(Table.ITEMS, head_key(new_id(EPOCH)), Head().pack()), "without tasks"),
    ],
)
def test_what_does_not_agree_is_found(problems, damage, says: str):
    (problem,) = problems(damage)
    assert says in problem
