"""Pools as a table. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from ....actors.task.pool_info import PoolInfo
from . import task_table

#: What stands for the workers of all tasks without a pool. No pool has this name.
NO_POOL: Final = "-"


def pools(rows: Sequence[PoolInfo]) -> Table:
    """The table of pools."""
    table = task_table.plain_table()
    table.add_column("POOL", overflow="fold")
    for title in ("WORKERS", "PROCESSES", "SLOTS USED", "TASKS", "QUEUED"):
        table.add_column(title, justify="right", no_wrap=True)
    for each in rows:
        table.add_row(
            Text(NO_POOL if each.name is None else each.name),
            f"{each.workers:,}",
            f"{each.processes:,}",
            f"{each.used:,} of {each.slots:,}",
            f"{each.tasks:,}",
            f"{each.queued:,}",
        )
    return table
