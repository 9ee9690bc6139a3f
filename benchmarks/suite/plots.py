"""The plots of docs/PERFORMANCE.md, as SVG and PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from suite.case import OURS
from suite.figures import number

OURS_COLOUR, FLOOR_COLOUR, DURABLE_COLOUR, OTHER_COLOUR = "#b03a2e", "#7f8c8d", "#2e6da4", "#a9bcd0"


def draw(cases: dict[str, Any], folder: Path) -> list[str]:
    """Draw the plots that have figures; returns their names."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {
            "font.size": 9,
            "svg.fonttype": "none",  # text stays text: small files
            "svg.hashsalt": "understudy",  # the same figures give the same bytes
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    if "throughput" in cases:
        _save(_throughput(cases["throughput"]), folder / "throughput")
        drawn.append("throughput")
    if "growth" in cases:
        _save(_growth(cases["growth"]), folder / "growth")
        drawn.append("growth")
    return drawn


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=110)


def _throughput(found: dict[str, Any]) -> Any:
    """Bars, with 2 workers each; the scale is logarithmic."""
    from matplotlib.figure import Figure

    cells = found["rows"]["2 workers"]["figures"]
    names = sorted(cells, key=lambda name: float(cells[name]["median"]))
    medians = [cells[name]["median"] for name in names]
    figure = Figure(figsize=(7, 0.5 + 0.3 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(names, medians, color=[_colour(name, found["peers"]) for name in names], height=0.7)
    for name in names:
        axes.annotate(
            number(cells[name]["median"]),
            (cells[name]["high"], name),
            xytext=(4, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    axes.errorbar(
        medians,
        names,
        xerr=[
            [cells[name]["median"] - cells[name]["low"] for name in names],
            [cells[name]["high"] - cells[name]["median"] for name in names],
        ],
        fmt="none",
        ecolor="black",
        elinewidth=0.7,
    )
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_xlabel("no-op tasks per second, 2 workers (dark: every task on disk; pale: nothing is kept)")
    return figure


def _colour(name: str, peers: dict[str, Any]) -> str:
    if name == OURS:
        return OURS_COLOUR
    if name == "floor":
        return FLOOR_COLOUR
    return DURABLE_COLOUR if peers.get(name, {}).get("durable") else OTHER_COLOUR


def _growth(found: dict[str, Any]) -> Any:
    """Cost of a task along each axis of growth."""
    from matplotlib.figure import Figure

    axes_of: dict[str, list[tuple[str, dict[str, float]]]] = {}
    for row, told in found["rows"].items():
        count, _, what = row.partition(" ")
        axes_of.setdefault(what.rstrip("s") + "s", []).append((count, told["figures"][OURS]))
    figure = Figure(figsize=(7, 2.4), layout="constrained")
    for n, (what, cells) in enumerate(axes_of.items()):
        axes = figure.add_subplot(1, len(axes_of), n + 1)
        counts = [count.replace(",000,000", " M").replace(",000", " k") for count, _ in cells]
        medians = [cell["median"] for _, cell in cells]
        axes.plot(counts, medians, "o-", color=OURS_COLOUR)
        axes.fill_between(
            counts,
            [cell["low"] for _, cell in cells],
            [cell["high"] for _, cell in cells],
            color=OURS_COLOUR,
            alpha=0.15,
            linewidth=0,
        )
        axes.set_ylim(0, 1.4 * max(cell["high"] for _, cell in cells))
        axes.set_xlabel(what)
        if n == 0:
            axes.set_ylabel("µs for a task")
    return figure
