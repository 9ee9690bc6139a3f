from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from understudy.actors.errors import InvalidOption
from understudy.actors.task import metadata


def test_a_copy_of_plain_texts():
    given = {"k" * metadata.KEY_LIMIT: "v" * metadata.VALUE_LIMIT, "empty": ""}
    made = metadata.checked(MappingProxyType(given))
    assert made == given
    assert made is not given
    assert metadata.checked(None) is metadata.checked({}) is None
    assert (
        len(metadata.checked({str(n): "" for n in range(metadata.ENTRIES_LIMIT)}) or {})
        == metadata.ENTRIES_LIMIT
    )


@pytest.mark.parametrize(
    "given",
    [
        "a=b",
        [("a", "b")],
        {"a": 1},
        {1: "a"},
        {"": "a"},
        {"k" * (metadata.KEY_LIMIT + 1): ""},
        {"k": "v" * (metadata.VALUE_LIMIT + 1)},
        {"k": "\ud800"},
        {str(n): "" for n in range(metadata.ENTRIES_LIMIT + 1)},
    ],
)
def test_anything_else_is_refused(given: Any):
    with pytest.raises(InvalidOption, match="metadata"):
        metadata.checked(given)
