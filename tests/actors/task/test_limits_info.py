"""What a limit does, as text and as data."""

from __future__ import annotations

import pytest

from understudy import LimitInfo, Rate


@pytest.mark.parametrize(
    ("info", "text"),
    [
        (LimitInfo("a", None, 2, None, 2, 7, None), "a (2 at once; 2 used)"),
        (LimitInfo("a", "k", None, Rate(3, 60), 0, 7, 4.5), "a for k (3/m; 0 used, the next one in 4.5 s)"),
        (LimitInfo("a", None, None, None, 0, 0, None), "a (no limit; 0 used)"),
    ],
)
def test_a_limit_on_one_line(info: LimitInfo, text: str):
    assert str(info) == text
    assert info.as_dict()["name"] == "a"
