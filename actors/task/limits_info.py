"""`LimitInfo`: what a limit does just now."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .limit import Rate


@dataclass(frozen=True, slots=True)
class LimitInfo:
    """A limit, or one key of it."""

    name: str
    key: str | None
    """None for a limit without keys, and for one of which no key is in use."""
    concurrency: int | None
    """Attempts that may be under way at once; None for any number."""
    rate: Rate | None
    """Attempts that may begin in a time; None for any number."""
    used: int
    """Attempts that hold a place: they are under way, or may begin as soon as a worker is free."""
    waiting: int
    """Ready tasks that wait at the limit."""
    opens: float | None
    """Seconds until the rate lets the next one begin; None if it lets one begin now."""

    def __str__(self) -> str:
        at = f" for {self.key}" if self.key is not None else ""
        numbers = [] if self.concurrency is None else [f"{self.concurrency:,} at once"]
        if self.rate is not None:
            numbers.append(str(self.rate))
        opens = "" if self.opens is None else f", the next one in {self.opens:.3g} s"
        return f"{self.name}{at} ({', '.join(numbers) or 'no limit'}; {self.used:,} used{opens})"

    def as_dict(self) -> dict[str, Any]:
        """As plain data. The rate is a text."""
        return {**asdict(self), "rate": None if self.rate is None else str(self.rate)}
