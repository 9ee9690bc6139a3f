from __future__ import annotations

import pytest

from understudy.actors import values
from understudy.actors.attempt.item import NAME_BYTES, check_item_name, item_bodies, item_body
from understudy.actors.errors import InvalidOption, UnencodableValue, ValueTooLarge
from understudy.actors.ids import new_id
from understudy.storage.tables.item_rows import ITEM, item_key, row_head, unpack_row


def test_a_head_and_a_body_are_a_row():
    task, stream = new_id(), new_id()
    row = row_head(task, 3, 1) + item_body("token", {"n": 1}, 12.5, 100)
    *fields, packed = unpack_row(item_key(stream, 9), row)
    assert fields == [ITEM, task, 3, 1, 12.5, "token"]
    assert values.unpack(packed) == {"n": 1}


@pytest.mark.parametrize("name", ["n", "n" * NAME_BYTES, "ü" * (NAME_BYTES // 2), "any text, with spaces"])
def test_names(name: str):
    check_item_name(name)


@pytest.mark.parametrize(
    "name", ["", "n" * (NAME_BYTES + 1), "ü" * (NAME_BYTES // 2 + 1), "\ud800", 7, None, b"n"]
)
def test_what_is_no_name(name: object):
    with pytest.raises(InvalidOption, match="name of an item"):
        item_body(name, 1, 0.0, 100)


def test_values_are_checked_and_named():
    item_body("x", b"x" * 94, 0.0, 100)
    with pytest.raises(ValueTooLarge, match="value takes"):
        item_body("x", b"x" * 100, 0.0, 100)
    with pytest.raises(UnencodableValue, match=r"publish\[1\]"):
        item_bodies([("a", 1), ("b", object())], 0.0, 100)


def test_the_items_of_a_checkpoint_are_pairs():
    assert len(item_bodies(iter([("a", 1), ["b", 2]]), 0.0, 100)) == 2
    for wrong in ("ab", ("a",), ("a", 1, 2), 7):
        with pytest.raises(InvalidOption, match="name, value"):
            item_bodies([wrong], 0.0, 100)
