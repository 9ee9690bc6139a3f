"""The table of pools."""

from __future__ import annotations

from rich.console import Console

from understudy import PoolInfo
from understudy.supervisor.cli.display.pool_table import pools


def test_a_line_for_each_pool():
    console = Console(width=80)
    with console.capture() as capture:
        console.print(pools([PoolInfo(None, 2, 2, 16, 3, 4, 0), PoolInfo("g" * 64, 1, 0, 1, 0, 0, 7_000)]))
    head, first, second, rest = (line.split() for line in capture.get().splitlines())
    assert head == ["POOL", "WORKERS", "PROCESSES", "SLOTS", "USED", "TASKS", "QUEUED"]
    assert first == ["-", "2", "2", "3", "of", "16", "4", "0"]
    assert second[0] + rest[0] == "g" * 64
    assert second[1:] == ["1", "0", "0", "of", "1", "0", "7,000"]
