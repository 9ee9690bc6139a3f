from __future__ import annotations

from itertools import pairwise

import pytest

from understudy import InvalidOption
from understudy.actors.box.sizes import ALIASES, DEFAULT_SIZE, SIZES, size_name


def test_every_size_and_alias_has_its_name():
    assert [size_name(name) for name in SIZES] == list(SIZES)
    assert {alias: size_name(alias) for alias in ALIASES} == ALIASES
    assert DEFAULT_SIZE in SIZES


def test_a_size_is_never_less_than_the_one_before():
    rows = list(SIZES.values())
    for small, large in pairwise(rows):
        assert all(less <= more for less, more in zip(small, large, strict=True))


@pytest.mark.parametrize("name", ["huge", "", "Small", None, 3, "5xlarge"])
def test_another_is_refused_with_a_list(name: object):
    with pytest.raises(InvalidOption, match="the sizes are nano, micro, small"):
        size_name(name)
