"""`Limit` and `Rate`: how many attempts may run at once, and how many may begin in a time, on the whole host."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

from ..checks import check_seconds, check_whole
from ..errors import InvalidOption

#: Characters of the name of a limit, and of a key.
NAME_LIMIT: Final = 255
KEY_LIMIT: Final = 255
#: The most attempts at once, the most in one window, and the longest window in seconds.
CONCURRENCY_LIMIT: Final = 1_000_000
COUNT_LIMIT: Final = 100_000
PER_LIMIT: Final = 7 * 24 * 3600.0

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_TEXT: Final = re.compile(r"\s*(\d+)\s*/\s*([smh])\s*")


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` attempts begin in any `per` seconds."""

    count: int
    per: float = 1.0

    def __post_init__(self) -> None:
        check_whole("the count of a rate", self.count, 1, COUNT_LIMIT)
        object.__setattr__(self, "per", check_seconds("per", self.per, PER_LIMIT, positive=True))

    @classmethod
    def of(cls, given: object) -> Rate:
        """A Rate, or text such as "10/s", "100/m" and "5/h"; InvalidOption for anything else."""
        if isinstance(given, Rate):
            return given
        if isinstance(given, str) and (found := _TEXT.fullmatch(given)):
            return cls(int(found[1]), _UNITS[found[2]])
        if isinstance(given, list | tuple) and len(given) == len(("count", "per")):
            return cls(*given)
        raise InvalidOption(f'rate must be a Rate, or text such as "10/s", "100/m" or "5/h": {given!r:.80}')

    def __str__(self) -> str:
        unit = next((unit for unit, seconds in _UNITS.items() if seconds == self.per), None)
        return f"{self.count}/{unit}" if unit else f"{self.count} in {self.per:g} s"


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that tasks share by its name. It holds for the whole host, or for each key where tasks have keys."""

    name: str
    concurrency: int | None = None
    """Attempts that may be under way at once, from begin to end."""
    rate: Rate | None = None
    """Attempts that may begin in a time."""

    def __init__(
        self, name: str, concurrency: int | None = None, rate: Rate | str | tuple[int, float] | None = None
    ) -> None:
        """`rate` is a Rate or text such as "10/s". One of the two must be given."""
        if not isinstance(name, str) or not 0 < len(name) <= NAME_LIMIT or not name.isprintable():
            raise InvalidOption(
                f"the name of a limit is 1 to {NAME_LIMIT} printable characters: {name!r:.80}"
            )
        if concurrency is None and rate is None:
            raise InvalidOption(f"the limit {name!r} limits nothing: give concurrency= or rate=")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "concurrency", checked_concurrency(concurrency))
        object.__setattr__(self, "rate", None if rate is None else Rate.of(rate))

    def pack(self) -> list[Any]:
        """As plain data."""
        rate = None if self.rate is None else [self.rate.count, self.rate.per]
        return [self.name, self.concurrency, rate]

    @classmethod
    def of(cls, given: object) -> Self:
        """A Limit, or what `pack` gives; InvalidOption for anything else."""
        if isinstance(given, cls):
            return given
        if isinstance(given, list | tuple) and len(given) == len(("name", "concurrency", "rate")):
            return cls(*given)
        raise InvalidOption(f'limit must be a Limit, such as Limit("api", concurrency=4): {given!r:.80}')

    def __str__(self) -> str:
        parts = [] if self.concurrency is None else [f"{self.concurrency} at once"]
        return ", ".join([*parts, *([] if self.rate is None else [str(self.rate)])])


def checked_concurrency(value: object) -> Any:
    """The value; InvalidOption unless it is a number of attempts or None."""
    if value is not None:
        check_whole("concurrency", value, 1, CONCURRENCY_LIMIT)
    return value


def checked_limit_key(key: object, option: str = "limit_key") -> Any:
    """The key of a limit, or None; InvalidOption for anything else."""
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= KEY_LIMIT and key.isprintable()):
        raise InvalidOption(f"{option} must be 1 to {KEY_LIMIT} printable characters: {key!r:.80}")
    return key


def checked_unique_key(key: object) -> Any:
    """The key of a unique task, or None; InvalidOption for anything else."""
    return checked_limit_key(key, "unique_key")


def checked_names(option: str, given: object, *, may_be_empty: bool = False) -> tuple[str, ...] | None:
    """The names of parameters that an option was given: one text or several; None for None."""
    if given is None:
        return None
    if isinstance(given, str):
        given = (given,)
    names = tuple(given) if isinstance(given, Iterable) else (None,)
    if not (names or may_be_empty) or not all(isinstance(name, str) and name for name in names):
        raise InvalidOption(f"{option} must be the name of a parameter, or several of them: {given!r:.80}")
    return tuple(dict.fromkeys(names))
