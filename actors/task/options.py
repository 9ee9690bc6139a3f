"""The options of a task, with their defaults and limits."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

from ..checks import check_choice, check_flag, check_names, check_seconds, check_whole
from ..errors import InvalidOption
from .limit import Limit, Rate, checked_concurrency, checked_names
from .pool import checked_pool
from .retry import Retry

#: Seconds an attempt may run, unless the task says otherwise.
TIMEOUT_DEFAULT: Final = 30 * 60.0
#: The longest timeout; `None` means no timeout at all.
TIMEOUT_LIMIT: Final = 7 * 24 * 3600.0
#: Seconds between asking a task to stop and killing it.
GRACE_DEFAULT: Final = 10.0
GRACE_LIMIT: Final = 24 * 3600.0
#: Seconds that an ended task is kept; `None` means for ever.
KEEP_DEFAULT: Final = 7 * 24 * 3600.0
#: Priorities run from -PRIORITY_LIMIT to PRIORITY_LIMIT; higher ones run first.
PRIORITY_LIMIT: Final = 100
#: The smallest memory limit in bytes; a Python process needs as much.
MEMORY_LIMIT_MIN: Final = 16 * 1024 * 1024

#: The longest time for which a task is unique, in seconds: a year.
UNIQUE_LIMIT: Final = 366 * 24 * 3600.0

Ack = Literal["receive", "checkpoint"]
OnConflict = Literal["return", "raise", "replace"]
CONFLICTS: Final = ("return", "raise", "replace")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a task. Seconds are floats, sizes are bytes."""

    timeout: float | None = TIMEOUT_DEFAULT
    """Seconds one attempt may run, counted from its start; None for no limit."""
    retry: Retry = Retry()  # noqa: RUF009 - frozen, so one shared instance is safe
    """`Retry.attempts` counts retries after the first try; the default is none."""
    grace: float = GRACE_DEFAULT
    """Seconds between the signal (cancel or timeout) and the kill."""
    priority: int = 0
    """A higher one runs first; the older task runs first if they are equal."""
    isolate: bool = False
    """Run in a worker process of its own, on its main thread."""
    main_thread: bool = False
    """Needs the main thread of its process; only with `isolate`."""
    memory_limit: int | None = None
    """Bytes of memory that its worker may use; implies `isolate`."""
    keep: float | None = KEEP_DEFAULT
    """Seconds that the ended task is kept; None for ever."""
    capture_output: bool = False
    """Whether the file descriptors 1 and 2 go to the task's log; implies `isolate`."""
    ack: Ack | None = None
    """When a message is acknowledged. With None, checkpoints acknowledge once the task uses them."""
    concurrency: int | None = None
    """Attempts at the task that may be under way at once on the whole host; None for any number."""
    rate: Rate | None = None
    """Attempts at the task that may begin in a time; text such as "10/s" is short for a Rate."""
    limit: Limit | None = None
    """A limit that it shares with other tasks, instead of one of its own."""
    limit_by: tuple[str, ...] | None = None
    """Parameters whose values make the key: the limit holds for each key."""
    unique: float | bool = False
    """True: there is no other task with the same key while it has not ended. A number: for so many seconds."""
    unique_by: tuple[str, ...] | None = None
    """Parameters whose values make that key; None for all of them, none for the name of the task alone."""
    on_conflict: OnConflict = "return"
    """What a start does if there is another task with the key: return it, raise NotUnique, or replace its arguments."""
    pool: str | None = None
    """The pool whose workers run it; None for the workers of all tasks without a pool."""

    def __post_init__(self) -> None:
        seconds = {
            "timeout": check_seconds("timeout", self.timeout, TIMEOUT_LIMIT, optional=True, positive=True),
            "grace": check_seconds("grace", self.grace, GRACE_LIMIT),
            "keep": check_seconds("keep", self.keep, optional=True),
        }
        for name, value in seconds.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "retry", Retry.of(self.retry))  # an int n is Retry(attempts=n)
        check_whole("priority", self.priority, -PRIORITY_LIMIT, PRIORITY_LIMIT)
        check_flag("isolate", self.isolate)
        check_flag("capture_output", self.capture_output)
        check_flag("main_thread", self.main_thread)
        if self.memory_limit is not None:
            check_whole("memory_limit in bytes", self.memory_limit, MEMORY_LIMIT_MIN)
        if self.main_thread and not self.alone:
            raise InvalidOption(
                "main_thread=True needs isolate=True: the workers of other tasks read orders on their main thread"
            )
        if self.ack not in (None, "receive", "checkpoint"):
            raise InvalidOption(f"ack must be 'receive', 'checkpoint' or None: {self.ack!r}")
        if self.pool is not None:
            checked_pool(self.pool)
        self._check_limits()
        if self.unique is not False or self.unique_by is not None or self.on_conflict != "return":
            self._check_unique()

    def _check_unique(self) -> None:
        if not isinstance(self.unique, bool):
            seconds = check_seconds(
                "unique, unless it is True or False,", self.unique, UNIQUE_LIMIT, positive=True
            )
            object.__setattr__(self, "unique", seconds)
        if self.unique_by is not None:
            names = checked_names("unique_by", self.unique_by, may_be_empty=True)
            object.__setattr__(self, "unique_by", names)
        check_choice("on_conflict", self.on_conflict, CONFLICTS)

    def _check_limits(self) -> None:
        if all(value is None for value in (self.concurrency, self.rate, self.limit, self.limit_by)):
            return
        checked_concurrency(self.concurrency)
        if self.rate is not None:
            object.__setattr__(self, "rate", Rate.of(self.rate))
        own = self.concurrency is not None or self.rate is not None
        if self.limit is not None:
            object.__setattr__(self, "limit", Limit.of(self.limit))
            if own:
                raise InvalidOption(
                    "give limit=, or concurrency= and rate=, not both: a shared limit has its own numbers"
                )
        if self.limit_by is not None:
            object.__setattr__(self, "limit_by", checked_names("limit_by", self.limit_by))
            if self.limit is None and not own:
                raise InvalidOption("limit_by needs a limit to part: give limit=, concurrency= or rate=")

    def limit_of(self, name: str) -> Limit | None:
        """The limit at which tasks of this name wait; None if they have none."""
        if self.limit is not None or (self.concurrency is None and self.rate is None):
            return self.limit
        return Limit(name, self.concurrency, self.rate)

    @property
    def alone(self) -> bool:
        """Whether it needs a worker of its own."""
        return self.isolate or self.memory_limit is not None or self.capture_output

    def changed(self, changes: dict[str, Any]) -> Options:
        """A copy with these fields changed; InvalidOption names an unknown one."""
        check_names(changes, NAMES, "a task")
        return replace(self, **changes) if changes else self

    def pack(self, only: set[str] | None = None) -> dict[str, Any]:
        """The fields (or those in `only`) as plain data."""
        packed = {field: getattr(self, field) for field in NAMES if only is None or field in only}
        if "retry" in packed:
            packed["retry"] = self.retry.pack()
        if packed.get("rate") is not None:
            packed["rate"] = [self.rate.count, self.rate.per] if self.rate else None
        if packed.get("limit") is not None:
            packed["limit"] = self.limit.pack() if self.limit else None
        if packed.get("limit_by") is not None:
            packed["limit_by"] = list(self.limit_by or ())
        if packed.get("unique_by") is not None:
            packed["unique_by"] = list(self.unique_by or ())
        return packed

    @classmethod
    def unpack(cls, data: Any, base: Options | None = None) -> Options:
        """The inverse of `pack`, on top of `base` (default: the defaults)."""
        if not isinstance(data, dict):
            raise InvalidOption(f"options must be a mapping: {data!r}")
        changes = dict(data)
        if "retry" in changes:
            changes["retry"] = Retry.unpack(changes["retry"])
        return (base or cls()).changed(changes)


NAMES: Final = tuple(field.name for field in fields(Options))

LIMITS: Final = ("concurrency", "rate", "limit", "limit_by")
"""The options that a task has by its declaration only."""

UNIQUE: Final = ("unique", "unique_by", "on_conflict")
"""The options of unique tasks."""
