"""Figures computed from rounds: medians, spread, pairwise ratios and reached targets. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from suite.case import BEST_DURABLE, OURS, Case, Target

Round = Mapping[str, Mapping[str, float]]
"""By contender and row."""


class Spread(NamedTuple):
    """Median, least and greatest of some values."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """ValueError (as of statistics) if there are none."""
    return Spread(statistics.median(values), min(values), max(values))


def quantile(samples: Iterable[float], share: float) -> float:
    """The smallest sample such that at least this share of the samples is no larger."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


def figures(rounds: Iterable[Round], contender: str, row: str) -> list[float]:
    """The figures of this contender in this row, round by round."""
    return [done[contender][row] for done in rounds if row in done.get(contender, {})]


def ratios(
    rounds: Iterable[Round], row: str, against: str, against_row: str | None = None, ours: str = OURS
) -> list[float]:
    """Ours as a multiple of another figure of the same round."""
    other = against_row or row
    return [
        done[ours][row] / done[against][other]
        for done in rounds
        if row in done.get(ours, {}) and done.get(against, {}).get(other)
    ]


class Outcome(NamedTuple):
    """The outcome of a target."""

    text: str
    reached: bool | None
    """None: not asked here, or not measured; `note` says which."""
    measured: Spread | None
    unit: str
    note: str


def outcome(case: Case, target: Target, rounds: Sequence[Round], durable: Iterable[str]) -> Outcome:
    """Whether the rounds reach the target, by the median."""
    unit, against, note = "×", target.against, ""
    if against == BEST_DURABLE:
        found = {
            name: statistics.median(done) for name in durable if (done := figures(rounds, name, target.row))
        }
        if not found:
            return Outcome(target.text, None, None, unit, "no such peer was measured")
        against = max(found, key=lambda name: found[name])
        note = f"the best is {against}"
    if target.flat_over:
        medians = [
            statistics.median(done) for row in target.flat_over if (done := figures(rounds, OURS, row))
        ]
        values = [max(medians) / min(medians)] if medians else []
    elif against is not None:
        values = ratios(rounds, target.row, against, target.against_row)
    else:
        values = figures(rounds, OURS, target.row)
        unit = next(row.unit for row in case.rows if row.name == target.row)
    if not values:
        return Outcome(target.text, None, None, unit, "not measured")
    measured = spread(values)
    if target.given is not None:
        contender, least = target.given
        does = statistics.median(figures(rounds, contender, target.row) or [0])
        if does < least:
            return Outcome(
                target.text, None, measured, unit, f"not asked here: {contender} does {number(does)}"
            )
    enough = (
        measured.median >= target.bound if target.sense == "at least" else measured.median <= target.bound
    )
    return Outcome(target.text, enough, measured, unit, note)


def summary(case: Case, rounds: Sequence[Round], durable: Iterable[str]) -> dict[str, Any]:
    """All data of a case's rounds, as plain data."""
    names = list(dict.fromkeys(name for done in rounds for name in done))
    rows: dict[str, Any] = {}
    for row in case.rows:
        cells: dict[str, Any] = {}
        for name in names:
            if not (values := figures(rounds, name, row.name)):
                continue
            cells[name] = rounded(spread(values))
            if name != OURS and (pairs := ratios(rounds, row.name, name)):
                cells[name]["ours"] = rounded(spread(pairs))
        rows[row.name] = {"unit": row.unit, "more": row.more, "figures": cells}
    durable = list(durable)
    ends = [outcome(case, target, rounds, durable) for target in case.targets]
    return {
        "rows": rows,
        "targets": [
            {**end._asdict(), "measured": None if end.measured is None else rounded(end.measured)}
            for end in ends
        ],
    }


def rounded(found: Spread) -> dict[str, float]:
    """As plain data, with a sensible number of digits."""
    return {name: significant(value) for name, value in found._asdict().items()}


def significant(value: float, digits: int = 4) -> float:
    """Rounded to this many significant digits."""
    return float(f"{value:.{digits}g}")


def number(value: float) -> str:
    """For people: three significant digits, and separators of thousands."""
    if abs(value) >= 100:
        return f"{round(float(f'{value:.3g}')):,}"
    text = f"{value:.3g}"
    return f"{value:.4f}".rstrip("0").rstrip(".") if "e" in text else text
