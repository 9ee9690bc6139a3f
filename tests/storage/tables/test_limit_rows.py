"""The rows of limits."""

from __future__ import annotations

import pytest

from understudy.storage.tables.limit_rows import (
    LIMIT,
    WindowRow,
    check_row,
    gate_sort,
    pack_set,
    pack_window,
    set_key,
    set_name,
    unpack_set,
    unpack_window,
    window_key,
)


@pytest.mark.parametrize("numbers", [(3, None), (None, (10, 60.0)), (1, (1, 0.5)), (None, None)])
def test_numbers_that_were_set(numbers: tuple[int | None, tuple[int, float] | None]):
    key, row = set_key("äpi"), pack_set(numbers)
    assert (set_name(key), unpack_set(row)) == ("äpi", numbers)
    check_row(key, row)


def test_a_window():
    window = WindowRow("api", "host", 2, [1.5, 2.5])
    key, row = window_key(gate_sort("api", "host")), pack_window(window)
    assert unpack_window(row) == window
    check_row(key, row)
    window = WindowRow("api", "host", 2, [1.5, 2.5], "this boot", 7.5, 60.0)
    assert unpack_window(pack_window(window)) == window
    check_row(key, pack_window(window))


def test_a_window_of_an_earlier_release():
    key, row = window_key(gate_sort("api", None)), b"\x94\xa3api\xc0\x01\x91\xcb\x3f\xf8" + bytes(6)
    assert unpack_window(row) == WindowRow("api", None, 1, [1.5])
    check_row(key, row)


def test_keys_of_a_limit_stand_apart_and_leave_room_for_the_priority():
    sorts = {gate_sort(name, key) for name in ("a", "b") for key in (None, "", "x", "a")}
    assert len(sorts) == 8
    assert all(sort % 256 == 0 for sort in sorts)


@pytest.mark.parametrize(
    ("key", "row"),
    [
        (set_key("a"), b"\xc1"),
        (set_key("a"), b"\x91\x01"),
        (set_key("a"), b"\x92\xa1x\xc0"),
        (set_key("a"), b"\x92\xc0\x91\x01"),
        (window_key(1), pack_window(WindowRow("a", None, 0, []))),
        (window_key(gate_sort("a", None)), b"\x94\xa1a\xc0\xc0\x90"),
        (window_key(gate_sort("a", None)), b"\x97\xa1a\xc0\x00\x90\xa1o\x07\x07"),
        (window_key(gate_sort("a", None)), b"\x95\xa1a\xc0\x00\x90\xa1o"),
        (window_key(gate_sort("a", None))[:-1], pack_window(WindowRow("a", None, 0, []))),
        (LIMIT + b"\x07", b""),
    ],
)
def test_a_damaged_row_is_found(key: bytes, row: bytes):
    with pytest.raises(ValueError, match=r"."):
        check_row(key, row)
