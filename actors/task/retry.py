"""The retry policy of a task: how many retries, and the delay before each. No clock is read here.

`attempts` counts retries after the first try: `Retry(attempts=3)` means up to four tries.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
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


Kind = type[BaseException] | str
"""An exception class, or its name as `module:qualname`."""
Predicate = Callable[[BaseException], object]
"""Asked about an exception whether a rule covers it."""
Names = Sequence[str]
"""The names of an exception class, of its bases, and of the groups around it."""

#: Stand for the predicates of `on` and `not_on` in a stored policy and in the names of an error that they cover.
ON_PREDICATE: Final = "understudy:retry-on"
NOT_ON_PREDICATE: Final = "understudy:retry-not-on"
#: Different exceptions of a group that are told to the supervisor.
GROUP_LIMIT: Final = 1_000


def lineage(kind: type[BaseException]) -> list[str]:
    """The names of an exception class and of all its bases, as `Retry.wants` compares them."""
    return [class_name(base) for base in kind.__mro__ if issubclass(base, BaseException)]


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions of a group and of the groups in it; of any other exception, itself."""
    waiting = [error]
    while waiting:
        part = waiting.pop()
        if isinstance(part, BaseExceptionGroup):
            waiting.extend(reversed(part.exceptions))
        else:
            yield part


def lineages(error: BaseException) -> list[list[str]]:
    """The names of an error: one list for each different exception of a group, which has the groups' names, too."""
    found: dict[tuple[str, ...], None] = {}
    waiting: list[tuple[BaseException, list[str]]] = [(error, [])]
    while waiting and len(found) < GROUP_LIMIT:
        part, around = waiting.pop()
        names = list(dict.fromkeys([*lineage(type(part)), *around]))
        if isinstance(part, BaseExceptionGroup):
            waiting.extend((inner, names) for inner in part.exceptions)
        else:
            found[tuple(names)] = None
    return [list(names) for names in found]


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
    on: tuple[Kind | Predicate, ...] = (Exception,)
    """Exception classes that are retried, or their names as `module:qualname`, where `module` defines the
    class. A timeout counts as TimeoutError, the death of a worker as Exception. An exception of Understudy
    may also be named `understudy:Name`. A group is retried if each exception in it is.

    A function is asked about an exception of the task's code, in the worker, whether it is retried. A policy
    with a function belongs to a declaration: one start cannot have it."""
    not_on: tuple[Kind | Predicate, ...] = ()
    """Exceptions that are not retried although `on` covers them, given as in `on`. A group is not retried if
    one exception in it is not."""

    def __post_init__(self) -> None:
        check_whole("retry attempts", self.attempts, 0, ATTEMPTS_LIMIT)
        for field in ("delay", "max_delay"):
            object.__setattr__(self, field, check_seconds(f"retry {field}", getattr(self, field)))
        check_choice("retry backoff", self.backoff, _MULTIPLIER)
        check_flag("retry jitter", self.jitter)
        object.__setattr__(self, "on", _kinds("on", self.on))
        object.__setattr__(self, "not_on", _kinds("not_on", self.not_on))

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

    def wants(self, errors: Iterable[Names]) -> bool:
        """Whether an error with these names is retried; see `lineages`."""
        on, not_on = set(_names(self.on, ON_PREDICATE)), set(_names(self.not_on, NOT_ON_PREDICATE))
        every = list(errors)
        return (
            bool(every)
            and not any(on.isdisjoint(names) for names in every)
            and all(not_on.isdisjoint(names) for names in every)
        )

    def names_of(self, error: BaseException) -> list[list[str]]:
        """The names of an error for `wants`, with what the predicates say of it."""
        names = lineages(error)
        for predicates, told in ((self.on, ON_PREDICATE), (self.not_on, NOT_ON_PREDICATE)):
            if any(_covers(predicate, error) for predicate in predicates if _is_predicate(predicate)):
                for row in names:
                    row.append(told)
        return names

    @property
    def has_predicates(self) -> bool:
        """Whether a function decides on retries, which only the code of the task has."""
        return any(map(_is_predicate, (*self.on, *self.not_on)))

    def pack(self) -> list[Any]:
        """As plain data, exception classes by name."""
        packed = [
            self.attempts,
            self.delay,
            self.backoff,
            self.max_delay,
            self.jitter,
            _names(self.on, ON_PREDICATE),
        ]
        return [*packed, _names(self.not_on, NOT_ON_PREDICATE)] if self.not_on else packed

    @classmethod
    def unpack(cls, data: Any) -> Retry:
        """The inverse of `pack`; InvalidOption for anything else."""
        try:
            attempts, delay, backoff, max_delay, jitter, on, *not_on = data
            return cls(attempts, delay, backoff, max_delay, jitter, tuple(on), *map(tuple, not_on))
        except (TypeError, ValueError) as error:
            raise InvalidOption(f"not a retry policy: {data!r}") from error


def _kinds(field: str, given: object) -> tuple[Kind | Predicate, ...]:
    """The classes, names and functions in `on=`: one or several. A name without a module is refused."""
    several = isinstance(given, Iterable) and not isinstance(given, str | type)
    kinds = [_own(kind) if isinstance(kind, str) else kind for kind in (given if several else (given,))]  # type: ignore[attr-defined]
    for kind in kinds:
        if isinstance(kind, str) and ":" in kind:
            continue
        if inspect.iscoroutinefunction(kind):
            raise InvalidOption(f"retry {field}= asks a function at once, so {kind!r:.80} cannot be async")
        if not (_is_predicate(kind) or (isinstance(kind, type) and issubclass(kind, BaseException))):
            raise InvalidOption(
                f"retry {field}= takes exception classes, their names as module:qualname, or functions that take an "
                f"exception: {kind!r:.80}"
            )
    return tuple(kinds)


def _is_predicate(kind: object) -> bool:
    return callable(kind) and not isinstance(kind, type)


def _covers(predicate: Any, error: BaseException) -> bool:
    try:
        return bool(predicate(error))
    except Exception as broken:  # noqa: BLE001 - a user's function; the error of the task counts, with this note
        error.add_note(f"The retry policy's {predicate!r:.80} raised {broken!r:.200}: taken as no.")
        return False


def _names(kinds: Iterable[Kind | Predicate], predicate: str) -> list[str]:
    """Classes by name, and one name for all predicates."""
    return list(
        dict.fromkeys(
            kind if isinstance(kind, str) else class_name(kind) if isinstance(kind, type) else predicate
            for kind in kinds
        )
    )


def _own(name: str) -> Kind:
    """The class for the public name of an exception of Understudy; any other name stays a name."""
    package, _, kind = name.partition(":")
    if package != PACKAGE or name in (ON_PREDICATE, NOT_ON_PREDICATE):
        return name
    found = getattr(errors, kind, None)
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise InvalidOption(f"retry on={name!r:.80}: {PACKAGE} has no exception of that name")
    return found
