"""The text of a trace context."""

from __future__ import annotations

import pytest

from understudy import InvalidOption
from understudy.actors.tracing.traceparent import checked_trace, is_traceparent

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_one_that_is() -> None:
    assert is_traceparent(GOOD)
    assert checked_trace(GOOD) == GOOD
    assert checked_trace(None) is None


@pytest.mark.parametrize(
    "bad",
    [
        "",
        7,
        GOOD.encode(),
        GOOD.upper(),
        GOOD + "\n",
        GOOD + "-x",
        GOOD.replace("00-4", "01-4"),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
    ],
)
def test_one_that_is_not(bad: object) -> None:
    assert not is_traceparent(bad)
    with pytest.raises(InvalidOption, match="traceparent"):
        checked_trace(bad)
