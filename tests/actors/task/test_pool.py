"""The names of pools."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.errors import InvalidOption
from understudy.actors.task.pool import POOL_NAME_LIMIT, checked_pool

LETTERS = "abcXYZ019_"


@given(st.sampled_from(LETTERS), st.text(LETTERS + "-.", max_size=POOL_NAME_LIMIT - 1))
def test_good_names(first: str, rest: str):
    assert checked_pool(first + rest) == first + rest


def test_none_is_no_pool():
    assert checked_pool(None) is None


@given(st.one_of(st.text(st.characters(exclude_characters=LETTERS)), st.integers(), st.binary()))
def test_anything_else_is_refused(name: object):
    if isinstance(name, str) and set(name) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-."
    ):
        name += ":"
    with pytest.raises(InvalidOption, match="the name of a pool is 1 to 64"):
        checked_pool(name)


@pytest.mark.parametrize(
    "name", ["", "x" * (POOL_NAME_LIMIT + 1), "-x", ".x", "a b", "a=1", "a:b", "a\n", "a\x00"]
)
def test_bad_names(name: str):
    with pytest.raises(InvalidOption):
        checked_pool(name)
