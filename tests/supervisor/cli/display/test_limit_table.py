"""The table of limits."""

from __future__ import annotations

from rich.console import Console

from understudy import LimitInfo, Rate
from understudy.supervisor.cli.display.limit_table import limits


def test_a_line_for_each_limit_and_key():
    console = Console(width=120)
    infos = [
        LimitInfo("api", "h\x1b", 2, Rate(3, 60), 1, 7_000, 4.5),
        LimitInfo("own", None, None, None, 0, 0, None),
    ]
    with console.capture() as capture:
        console.print(limits(infos, 120))
    head, api, own = capture.get().splitlines()
    assert head.split() == ["LIMIT", "KEY", "AT", "ONCE", "RATE", "USED", "WAITING", "NEXT"]
    assert api.split()[:2] == ["api", "h\\x1b"]
    assert "3/m" in api
    assert "7,000" in api
    assert own.split() == ["own", "0", "0"]
