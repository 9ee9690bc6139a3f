from __future__ import annotations

from typing import Any

import pytest

from understudy.actors.errors import InvalidOption
from understudy.actors.step_label import (
    KEY_BYTES,
    LABEL_BYTES,
    NAME_BYTES,
    Known,
    call_label,
    checked_name,
    has_key,
    key_label,
    unpack_label,
)


@pytest.mark.parametrize("name", ["app:work", "é", "x" * NAME_BYTES])
@pytest.mark.parametrize("number", [1, 255, 256, 65_536, 2**32 - 1])
def test_a_call(name: str, number: int) -> None:
    label = call_label(checked_name(name), number)
    assert unpack_label(label) == Known(name, number, None)
    assert not has_key(label)
    assert len(label) <= LABEL_BYTES


@pytest.mark.parametrize("key", ["k", "a\0b", "é", "x" * KEY_BYTES])
def test_a_key(key: str) -> None:
    label = key_label(key)
    assert unpack_label(label) == Known(None, None, key)
    assert has_key(label)
    assert len(label) <= LABEL_BYTES


def test_calls_of_one_name_stand_in_their_order() -> None:
    labels = [call_label(b"name", number) for number in (1, 2, 255, 256, 70_000)]
    assert sorted(labels) == labels
    assert len({*labels, call_label(b"nam", 1), key_label("name"), key_label("name\0")}) == 8


@pytest.mark.parametrize("name", ["", "x" * (NAME_BYTES + 1), "a\0b", "\ud800", 7, None])
def test_no_name(name: Any) -> None:
    with pytest.raises(InvalidOption, match="the name of a step"):
        checked_name(name)


@pytest.mark.parametrize("key", ["", "x" * (KEY_BYTES + 1), "\ud800", 7, b"k"])
def test_no_key(key: Any) -> None:
    with pytest.raises(InvalidOption, match="the key of a step"):
        key_label(key)


@pytest.mark.parametrize(
    "label",
    [
        *(b"", b"\0", b"\1", b"\2key", b"\0name", b"\0name\0", b"\0\0\0\0\0\1", b"\0na\0me\0\0\0\0\1"),
        *(b"\1\xff", b"\0\xff\0\0\0\0\1"),
    ],
)
def test_no_label(label: bytes) -> None:
    with pytest.raises(ValueError, match=r"not the label of a step|can't decode"):
        unpack_label(label)
