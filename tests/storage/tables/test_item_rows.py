from __future__ import annotations

import random

import msgpack
import pytest

from tasks import EPOCH, new_id
from understudy.storage.tables.item_rows import (
    END,
    ITEM,
    LOG,
    TRY,
    Head,
    head_key,
    is_item,
    item_key,
    items_of,
    lines_behind,
    pack_mark,
    place_of,
    row_head,
    stream_of,
    task_of,
    unpack_row,
)

STREAM, TASK = new_id(EPOCH), new_id(EPOCH + 1)


def item(time: object = 1.0, name: object = "token", value: object = b"value") -> bytes:
    return row_head(TASK, 1, 0) + b"".join(map(msgpack.packb, (time, name, value)))


def test_keys_sort_as_things_happen():
    places = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (300, 0), (300, 300), (2**40, 0)]
    keys = [item_key(STREAM, *place) for place in places]
    shuffled = random.sample(keys, len(keys))
    assert sorted(shuffled) == keys
    assert [place_of(key) for key in keys] == places
    assert [is_item(key) for key in keys] == [False, False, False, True, False, True, True, False, True]
    start, stop = items_of(STREAM)
    assert [start <= key < stop for key in keys] == [False] + [True] * 8
    assert keys[0] == head_key(STREAM)
    assert {stream_of(key) for key in keys} == {STREAM}


def test_rows():
    row = item()
    assert unpack_row(item_key(STREAM, 1), row) == [ITEM, TASK, 1, 0, 1.0, "token", b"value"]
    assert task_of(row) == TASK
    line = pack_mark(LOG, TASK, 2, 1, 1.5, 7, 3, 10)
    assert unpack_row(item_key(STREAM, 1, 1), line) == [LOG, TASK, 2, 1, 1.5, 7, 3, 10]
    assert (task_of(line), lines_behind(line), lines_behind(row)) == (TASK, 13, 0)
    for kind in (TRY, END):
        mark = pack_mark(kind, TASK, 2, 1, 1.5, "failed", None, None)
        assert unpack_row(item_key(STREAM, 1, 1), mark)[5:] == ["failed", None, None]
        assert (task_of(mark), lines_behind(mark)) == (TASK, 0)


@pytest.mark.parametrize(
    ("mark", "row"),
    [
        (1, item()),
        (0, pack_mark(LOG, TASK, 2, 1, 1.5, 7, 3, 10)),
        (1, pack_mark(LOG, TASK, 2, 1, 1.5, 7, 3)),
        (1, pack_mark(LOG, TASK, 2, 1, 1.5, 7, 3, "10")),
        (1, pack_mark(TRY, TASK, 2, 1, 1.5, "retry", 1, None)),
        (1, pack_mark(9, TASK, 2, 1, 1.5, "retry", None, None)),
        (1, pack_mark(TRY, b"short", 2, 1, 1.5, "retry", None, None)),
        (0, item(time="now")),
        (0, item(name=7)),
        (0, item(value="text")),
        (0, row_head(TASK, 1, 0)),
        (0, item() + b"\0"),
        (0, b""),
        (0, b"\x93\0\0\0"),
        (0, b"\xc0"),
    ],
    ids=lambda _: "row",  # the ids in rows are random
)
def test_damaged_rows(mark: int, row: bytes):
    with pytest.raises(ValueError, match="not an item"):
        unpack_row(item_key(STREAM, 1, mark), row)


def test_heads():
    head = Head(1, 2, 3, 4, 5)
    assert Head.unpack(head.pack()) == head
    assert Head.unpack(None) == Head(0, 0, 0, 0, 0)
    assert head.after(2, 1, 9) == Head(1, 2, 3, 9, 5)
    assert head.after(3, 0, 0) == Head(1, 3, 0, 4, 5)
    for damaged in (b"", b"\x91\x01\x01", msgpack.packb(["a"] * 5), msgpack.packb([-1] * 5), b"\xc0"):
        with pytest.raises(ValueError, match="head of a stream"):
            Head.unpack(damaged)


def test_lines_of_a_damaged_mark_are_not_counted():
    assert lines_behind(pack_mark(LOG, TASK, 2, 1, 1.5, 7, 3, 10)[:-1]) == 0
