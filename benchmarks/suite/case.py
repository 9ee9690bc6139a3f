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
    """What a contender gets to work with."""

    folder: Path
    """Its own, empty, removed afterwards."""
    sizes: Mapping[str, int]
    """How much to do, by the names that the case has given."""


Contender = Callable[[Bench], AbstractContextManager[Measure]]
"""Sets everything up, gives what measures a round, and takes everything down again."""


@dataclass(frozen=True)
class Row:
    """One figure of a case."""

    name: str
    unit: str
    more: bool = False
    """Whether more of it is better."""


@dataclass(frozen=True)
class Target:
    """What was set to be reached."""

    text: str
    """As it was set."""
    row: str
    sense: Literal["at least", "at most"]
    bound: float
    against: str | None = None
    """Whose figure is the unit: a contender, or BEST_DURABLE. None: `bound` is in the row's own unit."""
    against_row: str | None = None
    """The row of that figure; None: the same row."""
    flat_over: tuple[str, ...] = ()
    """The largest of these rows' figures as a multiple of the smallest; `row` then only names the whole."""
    given: tuple[str, float] | None = None
    """It is asked only where this contender's figure of the row is at least that."""


@dataclass(frozen=True)
class Case:
    """One program."""

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
    """The sizes of the short form, in which nothing is to be learnt but that the program works."""
    rounds: int = 7
    peers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Peers' names in `peers/`, each with the rows in which it takes part."""
    large: bool = False
    """Takes too long to be run unless it is asked for."""
    limit: float = 180
    """Seconds after which it is stopped."""
    bounds: str = ""
    """What keeps it from what it does not reach, as a profile showed."""
