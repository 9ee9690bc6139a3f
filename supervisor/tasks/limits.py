"""The limits of the app, and the numbers that hold for each: those declared, unless others were set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...actors.errors import InvalidOption, LimitNotFound
from ...actors.qualified_names import some_of
from ...actors.task.limit import Limit, Rate, checked_concurrency
from ...storage.tables.limit_rows import SET, pack_set, set_key, set_name, unpack_set
from ...storage.tables.schema import Table, after_prefix
from .catalog import TaskCatalog
from .commit_loop import CommitLoop


class LimitNumbers:
    """The numbers of one limit: as declared, unless others were set."""

    __slots__ = ("concurrency", "declared", "name", "rate", "set")

    def __init__(self, name: str) -> None:
        self.name = name
        self.declared: Limit | None = None
        self.set: tuple[int | None, Rate | None] | None = None
        self.concurrency: int | None = None
        self.rate: Rate | None = None

    @property
    def is_known(self) -> bool:
        """Whether the app declares it, or numbers were set."""
        return self.set is not None or self.declared is not None

    def settle(self) -> None:
        """Work out the numbers in force."""
        if self.set is not None:
            self.concurrency, self.rate = self.set
        elif self.declared is not None:
            self.concurrency, self.rate = self.declared.concurrency, self.declared.rate


class Limits:
    """All limits by name. Numbers that were set are on disk."""

    def __init__(self, commits: CommitLoop, catalog: TaskCatalog) -> None:
        self._commits = commits
        self._catalog = catalog
        self._by_name: dict[str, LimitNumbers] = {}
        for key, row in commits.scan(Table.ACTORS, SET, after_prefix(SET)):
            try:
                concurrency, rate = unpack_set(row)
                given = None if rate is None else Rate(*rate)
            except (ValueError, TypeError, InvalidOption):
                continue  # `understudy check` tells of it
            numbers = self.of(set_name(key))
            numbers.set = concurrency, given
            numbers.settle()

    def of(self, name: str) -> LimitNumbers:
        """The numbers of a limit, also of one that the app does not declare."""
        numbers = self._by_name.get(name)
        if numbers is None:
            numbers = self._by_name[name] = LimitNumbers(name)
        return numbers

    def declared(self) -> Iterator[LimitNumbers]:
        """The limits that the app declares."""
        return (numbers for numbers in self._by_name.values() if numbers.declared is not None)

    def declare(self) -> list[LimitNumbers]:
        """Take in the limits of the app, as its tasks say now; those that are new or have changed."""
        changed = []
        for name, limit in self._catalog.all_limits().items():
            numbers = self.of(name)
            if numbers.declared != limit:
                numbers.declared = limit
                numbers.settle()
                changed.append(numbers)
        return changed

    def set(self, name: str, given: Mapping[str, Any]) -> LimitNumbers:
        """Set `concurrency` and `rate`, or one of them; with neither, those that are declared hold again.

        LimitNotFound if the app has no such limit, InvalidOption if a number cannot be.
        """
        numbers = self._by_name.get(name)
        if numbers is None or (numbers.declared is None and given):
            known = sorted(each.name for each in self.declared())
            raise LimitNotFound(
                f"no task has the limit {name!r:.80}; the limits are {some_of(str(name), known) or 'none'}",
                str(name),
            )
        if not given:
            numbers.set = None
            self._commits.delete(Table.ACTORS, set_key(name))
        else:
            concurrency = checked_concurrency(given.get("concurrency", numbers.concurrency))
            new_rate = given.get("rate", numbers.rate)
            rate = None if new_rate is None else Rate.of(new_rate)
            numbers.set = concurrency, rate
            packed = pack_set((concurrency, None if rate is None else (rate.count, rate.per)))
            self._commits.put(Table.ACTORS, set_key(name), packed)
        numbers.settle()
        return numbers
