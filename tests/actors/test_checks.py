from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

import pytest

from understudy.actors.checks import (
    check_choice,
    check_flag,
    check_seconds,
    check_whole,
    is_number,
    is_whole,
)
from understudy.actors.errors import InvalidOption


@pytest.mark.parametrize("value", [0, -1, 10**30])
def test_an_int_is_a_number_and_whole(value: object):
    assert is_number(value)
    assert is_whole(value)


@pytest.mark.parametrize("value", [0.0, -1.5, math.inf])
def test_a_float_is_a_number_and_not_whole(value: object):
    assert is_number(value)
    assert not is_whole(value)


@pytest.mark.parametrize("value", [True, False, None, "1", Decimal(1), 1j])
def test_nothing_else_is(value: object):
    assert not is_number(value)
    assert not is_whole(value)


def test_good_options_pass():
    assert check_seconds("wait", 0) == 0.0
    assert isinstance(check_seconds("wait", 3), float)
    assert check_seconds("wait", None, optional=True) is None
    check_whole("count", 1, 1)
    check_whole("count", 7, 1, 7)
    check_flag("loud", False)
    check_choice("pull", "never", ("always", "never"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_seconds("wait", -1), "wait must be seconds, 0 or more: -1"),
        (lambda: check_seconds("wait", 0, positive=True), "wait must be seconds, more than 0: 0"),
        (lambda: check_seconds("wait", 9, 8), "wait must be seconds, 0 or more, at most 8: 9"),
        (lambda: check_seconds("wait", "x", optional=True), "wait must be seconds, 0 or more, or None: 'x'"),
        (lambda: check_seconds("wait", None), "wait must be seconds, 0 or more: None"),
        (lambda: check_seconds("wait", math.nan), "wait must be seconds, 0 or more: nan"),
        (lambda: check_seconds("wait", math.inf), "wait must be seconds, 0 or more: inf"),
        (lambda: check_whole("count", 0, 1), "count must be a whole number, at least 1: 0"),
        (lambda: check_whole("count", 8_000, 1, 7_000), "count must be a whole number from 1 to 7,000: 8000"),
        (lambda: check_whole("count", True, 1), "count must be a whole number, at least 1: True"),
        (lambda: check_flag("loud", 1), "loud must be True or False: 1"),
        (lambda: check_choice("pull", [], ("a", "b")), "pull must be 'a' or 'b': []"),
    ],
)
def test_an_option_out_of_range_is_named(call: Callable[[], object], message: str):
    with pytest.raises(InvalidOption) as caught:
        call()
    assert str(caught.value) == message
