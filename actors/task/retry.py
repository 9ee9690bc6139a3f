"""The retry policy of a task: how many retries, and the delay before each. No clock is read here.

`attempts` counts retries after the first try: `Retry(attempts=3)` means up to four tries.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from .. import errors
from ..checks import check_choice, check_flag, check_seconds, check_whole
from ..errors import InvalidOption
from ..qualified_names import class_name

Backoff = Literal["fixed", "linear", "exponential"]

#: The largest `attempts`: retries after the first try.
ATTEMPTS_LIMIT: Final = 1_000_000
#: The package that exports the exceptions under a shorter name than that of their module.
PACKAGE: Final = "understudy"
#: `jitter` changes a delay by up to this fraction, up or down.
JITTER: Final = 0.10

_MULTIPLIER: Final[dict[str, Callable[[int], float]]] = {
    "fixed": lambda n: 1.0,
    "linear": lambda n: n + 1.0,
    # 2.0**n overflows for n ≥ 1024; past 64 doublings any delay is at its cap.
    "exponential": lambda n: 2.0 ** min(n, 64),
}


def lineage(kind: type[BaseException]) -> list[str]:
    """The names of an exception class and of all its bases, as `Retry.wants` compares them."""
    return [class_name(base) for base in kind.__mro__ if issubclass(base, BaseException)]


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and when a task is tried again after a failed or timed-out attempt. Seconds are floats.

    `attempts` counts retries after the first try: `Retry(attempts=3)` means up to four tries. With n = 0 for
    the first retry, the delay is `delay` (fixed), `delay·(n+1)` (linear) or `delay·2ⁿ` (exponential), at most
    `max_delay`. Then `jitter` changes it by up to ±10 %.
    """

    attempts: int = 0
    """Retries after the first try; 0 means one try and no retry, 3 means up to four tries."""
    delay: float = 1.0
    backoff: Backoff = "fixed"
    max_delay: float = 300.0
    jitter: bool = False
    on: tuple[type[BaseException] | str, ...] = (Exception,)
    """Exception classes that are retried, or their names as `module:qualname`, where `module` defines the
    class. A timeout counts as TimeoutError, the death of a worker as Exception. An exception of Understudy
    may also be named `understudy:Name`."""

    def __post_init__(self) -> None:
        check_whole("retry attempts", self.attempts, 0, ATTEMPTS_LIMIT)
        for field in ("delay", "max_delay"):
            object.__setattr__(self, field, check_seconds(f"retry {field}", getattr(self, field)))
        check_choice("retry backoff", self.backoff, _MULTIPLIER)
        check_flag("retry jitter", self.jitter)
        object.__setattr__(self, "on", _kinds(self.on))

    @classmethod
    def of(cls, value: Retry | int) -> Retry:
        """A policy; an int n means `cls(attempts=n)`, n retries after the first try."""
        return value if isinstance(value, Retry) else cls(attempts=value)

    def wait(self, n: int, rng: random.Random | None = None) -> float:
        """Seconds before retry number n, counted from 0. `rng` gives the jitter (default: the module's)."""
        seconds = min(self.delay * _MULTIPLIER[self.backoff](n), self.max_delay)
        if self.jitter:
            seconds *= 1 + JITTER * (2 * (rng or random).random() - 1)
        return seconds

    def wants(self, names: Iterable[str]) -> bool:
        """Whether an error is retried if its class and bases have these names."""
        wanted = {kind if isinstance(kind, str) else class_name(kind) for kind in self.on}
        return not wanted.isdisjoint(names)

    def pack(self) -> list[Any]:
        """As plain data, exception classes by name."""
        names = [kind if isinstance(kind, str) else class_name(kind) for kind in self.on]
        return [self.attempts, self.delay, self.backoff, self.max_delay, self.jitter, names]

    @classmethod
    def unpack(cls, data: Any) -> Retry:
        """The inverse of `pack`; InvalidOption for anything else."""
        try:
            attempts, delay, backoff, max_delay, jitter, names = data
            return cls(attempts, delay, backoff, max_delay, jitter, tuple(names))
        except (TypeError, ValueError) as error:
            raise InvalidOption(f"not a retry policy: {data!r}") from error


def _kinds(on: object) -> tuple[type[BaseException] | str, ...]:
    """The classes and names in `on=`: one or several. A name without a module is refused."""
    kinds = tuple(on) if isinstance(on, Iterable) and not isinstance(on, str | type) else (on,)
    kinds = tuple(_own(kind) if isinstance(kind, str) else kind for kind in kinds)
    for kind in kinds:
        if isinstance(kind, str) and ":" in kind:
            continue
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise InvalidOption(
                f"retry on= takes exception classes, or their names as module:qualname: {kind!r:.80}"
            )
    return kinds


def _own(name: str) -> type[BaseException] | str:
    """The class for the public name of an exception of Understudy; any other name stays a name."""
    package, _, kind = name.partition(":")
    if package != PACKAGE:
        return name
    found = getattr(errors, kind, None)
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise InvalidOption(f"retry on={name!r:.80}: {PACKAGE} has no exception of that name")
    return found
