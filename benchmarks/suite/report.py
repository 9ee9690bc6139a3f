"""A case's figures as tables on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from suite.case import OURS, Case
from suite.figures import number

WORDS = {True: "[green]reached[/]", False: "[red]not reached[/]", None: "[yellow]not asked[/]"}


def wide() -> Console:
    """The width of tables if the output is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=110)


def show(case: Case, found: dict[str, Any], console: Console | None = None) -> None:
    """Print the figures, then the targets."""
    console = console or wide()
    table = Table(title=case.title, title_justify="left")
    for heading in ("", "", "median", "min to max", f"{OURS} is", "pair by pair"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, row in found["rows"].items():
        for n, (who, cell) in enumerate(row["figures"].items()):
            pair = cell.get("ours")
            table.add_row(
                f"{name}, {row['unit']}" if n == 0 else "",
                who,
                number(cell["median"]),
                f"{number(cell['low'])} to {number(cell['high'])}",
                f"{number(pair['median'])} ×" if pair else "",
                f"{number(pair['low'])} to {number(pair['high'])}" if pair else "",
            )
        table.add_section()
    console.print(table)
    for end in found["targets"]:
        measured = end["measured"]
        said = "" if measured is None else f": {number(measured['median'])} {end['unit']}"
        note = f" ({end['note']})" if end["note"] else ""
        console.print(f"  {WORDS[end['reached']]}  {end['text']}{said}{note}", highlight=False)
    for name, reason in found["missing"].items():
        console.print(f"  [yellow]missing[/]  {name}: {reason}", highlight=False)
    console.print()
