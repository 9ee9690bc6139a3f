from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from understudy.actors.errors import InvalidOption
from understudy.actors.timeouts import check_timeout, deadline_of, left_of


@pytest.mark.parametrize(
    ("given", "waits"),
    [
        (None, None),
        (0, 0),
        (1.5, 1.5),
        (-1, -1),
        (threading.TIMEOUT_MAX, threading.TIMEOUT_MAX),
        (1e300, None),
        (math.inf, None),
        (-math.inf, -math.inf),
        (10**400, None),
    ],
)
def test_seconds_or_none(given: Any, waits: float | None) -> None:
    assert check_timeout(given) == waits


@pytest.mark.parametrize("given", ["x", "1", math.nan, True, [1], object(), 1j, b"1"])
def test_anything_else_is_refused(given: Any) -> None:
    with pytest.raises(InvalidOption, match="timeout must be seconds, or None"):
        check_timeout(given)
    with pytest.raises(InvalidOption, match="sleep must be"):
        check_timeout(given, "sleep")


def test_deadlines() -> None:
    assert left_of(deadline_of(None)) is None
    assert 9 < (left_of(deadline_of(10)) or 0) <= 10
