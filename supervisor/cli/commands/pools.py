"""The command `pools`: what the workers of each pool do just now."""

from __future__ import annotations

from ..command import command
from ..display import screen
from ..params import json_option
from ..session import current


@command("pools", short_help="Show what the workers of each pool do.")
@json_option("Print a JSON array of pools. The name of the workers without a pool is null.")
def pools(as_json: bool) -> None:
    """Show the pools of workers: how many slots are used, and how many tasks wait for a worker.

    The first line is that of the workers of all tasks without a pool. A task that waits at a limit is shown by
    "understudy limits".
    """
    with current().runtime() as rt:
        found = rt.pools()
    if as_json:
        screen.json([info.as_dict() for info in found])
    else:
        from ..display import pool_table

        screen.show(pool_table.pools(found))
