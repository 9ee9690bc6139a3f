"""What the workers of a pool do, on one line and as data."""

from __future__ import annotations

import pytest

from understudy import PoolInfo


@pytest.mark.parametrize(
    ("info", "text"),
    [
        (PoolInfo("gpu", 1, 1, 2, 1, 1, 7_000), "gpu (1 of 2 slots used, 7,000 queued)"),
        (PoolInfo(None, 2, 2, 16, 0, 0, 0), "no pool (0 of 16 slots used, 0 queued)"),
    ],
)
def test_a_pool_on_one_line(info: PoolInfo, text: str):
    assert str(info) == text
    assert PoolInfo(**info.as_dict()) == info
