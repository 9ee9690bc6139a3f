from __future__ import annotations

import math
from decimal import Decimal

import pytest

from understudy.actors.checks import is_number, is_whole


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
