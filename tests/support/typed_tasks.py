"""Tasks whose arguments and results are more than plain data."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from understudy import receive, task


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(NamedTuple):
    width: int
    height: int


@dataclass
class Picture:
    path: Path
    size: Size
    taken: datetime | None = None
    colours: set[Colour] = field(default_factory=set)


@task
def turn(picture: Picture, *others: Picture, by: Colour = Colour.RED, **sizes: Size) -> list[Picture]:
    """Turns pictures, which only works if each argument is what its annotation says."""
    assert all(isinstance(size, Size) for size in sizes.values())
    return [
        Picture(
            one.path.with_suffix(".turned"),
            Size(one.size.height, one.size.width),
            one.taken,
            one.colours | {by},
        )
        for one in (picture, *others)
    ]


@task
async def largest(pictures: list[Picture]) -> Picture | None:
    return max(pictures, key=lambda one: one.size.width, default=None)


@task
def says(value: Any) -> str:
    return repr(value)


@task
def wrong() -> Picture:
    return object()  # type: ignore[return-value]


@task
def album(first: Picture) -> tuple[Picture, ...]:
    pictures = [first]
    while (message := receive()) is not None:
        pictures.append(Picture(Path(message), Size(1, 1)))
    return tuple(pictures)


@task
def kept_when_cancelled(picture: Picture) -> Picture:
    receive()
    return picture
