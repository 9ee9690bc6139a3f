"""docs/PERFORMANCE.md: text between its marks is made from the figures, the rest is written by hand.

python benchmarks/page.py            # from docs/performance/figures.json; measures nothing
python benchmarks/page.py --check    # only checks that the page matches the figures
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from suite.case import OURS, Case
from suite.catalogue import CASES, load
from suite.figures import number

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
PAGE = DOCS / "PERFORMANCE.md"
FIGURES = DOCS / "performance" / "figures.json"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"

REACHED = {True: "reached", False: "**not reached**", None: "not asked"}


def main() -> int:
    """See the module."""
    if "--check" in sys.argv[1:]:
        found = faults()
        print("\n".join(found), file=sys.stderr)
        return len(found)
    write(json.loads(FIGURES.read_text(encoding="utf-8")))
    return 0


def write(kept: dict[str, Any]) -> None:
    """The page and its plots."""
    from suite.plots import draw

    plots = draw(kept["cases"], DOCS / "performance")
    assert set(plots) == plotted(kept["cases"])
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), section(kept)), encoding="utf-8")


def replaced(page: str, made: str) -> str:
    """The page with its marked section replaced."""
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"the page has no section between {BEGIN.strip()} and {END.strip()}")
    return before + BEGIN + made + END + after


def plotted(cases: dict[str, Any]) -> set[str]:
    """The cases whose plot shows more than their table."""
    return {name for name in ("throughput", "growth") if name in cases}


def section(kept: dict[str, Any]) -> str:
    """The whole generated section."""
    cases = {name: kept["cases"][name] for name in CASES if name in kept["cases"]}
    parts = [_machine(kept["machine"], cases), _targets(cases), _missed(cases)]
    parts += [_case(load(name), found, name in plotted(cases)) for name, found in cases.items()]
    return "\n".join(parts)


def _machine(machine: dict[str, str], cases: dict[str, Any]) -> str:
    dates = sorted(found["date"] for found in cases.values())
    rows = [
        *machine.items(),
        ("measured", f"{dates[0]} to {dates[-1]}" if dates else "not yet"),
        ("durability", "disk: every acknowledged write has had its fsync; the floors' as well"),
    ]
    return "## Machine\n\n| | |\n| --- | --- |\n" + "".join(f"| {name} | {what} |\n" for name, what in rows)


def _targets(cases: dict[str, Any]) -> str:
    lines = ["## Targets\n", "| case | to reach | measured | |", "| --- | --- | --- | --- |"]
    for name, found in cases.items():
        for end in found["targets"]:
            note = f"; {end['note']}" if end["note"] else ""
            lines.append(
                f"| [{_plain(found['title'])}](#{name.replace('_', '-')}) | {end['text']} | {_measured(end)} "
                f"| {REACHED[end['reached']]}{note} |"
            )
    return "\n".join(lines) + "\n"


def _measured(end: dict[str, Any]) -> str:
    found = end["measured"]
    if found is None:
        return ""
    if found["low"] == found["high"]:
        return f"{number(found['median'])} {end['unit']}"
    return f"{number(found['median'])} {end['unit']} ({number(found['low'])} to {number(found['high'])})"


def _missed(cases: dict[str, Any]) -> str:
    lines = ["## Not reached\n"]
    for name, found in cases.items():
        ends = [end for end in found["targets"] if end["reached"] is False]
        if ends:
            said = "; ".join(f"{end['text']} (is {_measured(end)})" for end in ends)
            lines.append(f"- **{_plain(found['title'])}**: {said}. {load(name).bounds}".rstrip())
    return "\n".join(lines) + "\n" if len(lines) > 1 else lines[0] + "\nNothing.\n"


def _case(case: Case, found: dict[str, Any], plot: bool) -> str:
    lines = [f"## {case.name.replace('_', ' ').capitalize()}\n", case.about.strip() + "\n"]
    lines += [
        "| | | median | least to most | understudy is, pair by pair |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for name, row in found["rows"].items():
        for who, cell in row["figures"].items():
            pair = cell.get("ours")
            ours = f"**{who}**" if who == OURS else who
            ratio = (
                f"{number(pair['median'])} × ({number(pair['low'])} to {number(pair['high'])})"
                if pair
                else ""
            )
            lines.append(
                f"| {name} | {ours} | {number(cell['median'])} {row['unit']} "
                f"| {number(cell['low'])} to {number(cell['high'])} | {ratio} |"
            )
    if plot:
        lines.append(f"\n![{_plain(case.title)}](performance/{case.name}.svg)")
    if found["peers"]:
        lines += ["\n| peer | version | processes | keeps |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {name} | {peer['version']} | {peer['processes']} | {peer['keeps']} |"
            for name, peer in found["peers"].items()
        ]
    lines += [f"\nMissing: {name}: {reason}." for name, reason in found["missing"].items()]
    sizes = ", ".join(f"{name} {number(size)}" for name, size in found["sizes"].items())
    rounds = len(found["rounds"])
    lines.append(f"\nSizes: {sizes}. {rounds} rounds, {found['date']}; `python benchmarks/{case.name}.py`.\n")
    return "\n".join(lines)


def _plain(title: str) -> str:
    return title.replace("`", "")


def faults() -> list[str]:
    """The faults of the existing page."""
    kept = json.loads(FIGURES.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    found = []
    if replaced(page, section(kept)) != page:
        found.append(
            "docs/PERFORMANCE.md is not what docs/performance/figures.json makes: run benchmarks/page.py"
        )
    for name, case in kept["cases"].items():
        if not load(name).bounds and any(end["reached"] is False for end in case["targets"]):
            found.append(f"benchmarks/{name}.py: something is not reached, and `bounds` does not say why")
    missing = [name for name in CASES if name not in kept["cases"]]
    found += [f"not measured yet: {name}" for name in missing]
    for name in plotted(kept["cases"]):
        found += [
            f"docs/performance/{name}{kind} is missing"
            for kind in (".svg", ".png")
            if not (FIGURES.parent / f"{name}{kind}").exists()
        ]
    return found
