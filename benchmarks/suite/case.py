"""`Case`: what a benchmark measures, its contenders and its targets. Plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

OURS = "understudy"

#: As `against`: the best of the peers that keep their tasks on disk.
BEST_DURABLE = "best durable peer"

Measure = Callable[[], Mapping[str, float]]
"""One round: the figure of each row. It checks its results, and raises if they are wrong."""


@dataclass(frozen=True)
class Bench:
    """The means of a contender."""

    folder: Path
    """Its own folder, empty, removed afterwards."""
    sizes: Mapping[str, int]
    """The amount of work, by the names that the case gives."""


Contender = Callable[[Bench], AbstractContextManager[Measure]]
"""Sets everything up, gives a function that measures a round, and takes everything down again."""


@dataclass(frozen=True)
class Row:
    """One figure of a case."""

    name: str
    unit: str
    more: bool = False
    """Whether a larger figure is better."""


@dataclass(frozen=True)
class Target:
    """A target of a case."""

    text: str
    """The target's text."""
    row: str
    sense: Literal["at least", "at most"]
    bound: float
    against: str | None = None
    """The contender whose figure is the unit, or BEST_DURABLE. None: `bound` is in the row's own unit."""
    against_row: str | None = None
    """The row of that figure; None: the same row."""
    flat_over: tuple[str, ...] = ()
    """The largest of these rows' figures as a multiple of the smallest; then `row` is only a name."""
    given: tuple[str, float] | None = None
    """The target applies only if this contender's figure of the row is at least this."""


@dataclass(frozen=True)
class Case:
    """One benchmark program."""

    name: str
    title: str
    about: str
    """Its docstring."""
    rows: tuple[Row, ...]
    contenders: Mapping[str, Contender]
    """Measured in turn, ours first."""
    targets: tuple[Target, ...]
    sizes: Mapping[str, int]
    short: Mapping[str, int]
    """The sizes of the short form, which only shows that the program works."""
    full: Mapping[str, int] = field(default_factory=dict)
    """The sizes that are larger on request."""
    actors: Mapping[str, int] = field(default_factory=dict)
    """For peers: how many actors the calls of a row go to."""
    rounds: int = 7
    peers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of peers in `peers/`, each with the rows in which it takes part."""
    large: bool = False
    """Takes so long that it runs only on request."""
    limit: float = 180
    """Seconds after which it is stopped."""
    bounds: str = ""
    """The reason why it misses a target, according to a profile."""
