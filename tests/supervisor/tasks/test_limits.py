"""The numbers of limits on a real store: those declared, those that were set, and what a restart keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from room import room
from understudy import InvalidOption, Limit, LimitNotFound, Rate
from understudy.storage.tables.limit_rows import SET, set_key
from understudy.storage.tables.schema import Table
from understudy.supervisor.tasks.catalog import LimitedBy, TaskCatalog
from understudy.supervisor.tasks.limits import Limits

API = Limit("api", concurrency=4, rate=Rate(100, per=60))


def catalog(*limits: Limit) -> TaskCatalog:
    """Of an app whose tasks have these limits."""
    found = TaskCatalog()
    found.limits = {f"task of {limit.name}": LimitedBy(limit) for limit in limits}
    return found


def told(home: Path, story: Callable[[Limits], None], app: TaskCatalog, rows: int) -> None:
    """Have a story with limits; then so many rows are on disk."""

    async def main() -> None:
        async with room(home) as it:
            story(Limits(it.commits, app))
            await it.settle()
            assert len(it.rows(Table.ACTORS, SET)) == rows

    asyncio.run(main())


def test_what_is_declared_holds_until_other_numbers_are_set(home: Path) -> None:
    app = catalog(API)

    def story(limits: Limits) -> None:
        assert [numbers.name for numbers in limits.declare()] == ["api"]
        assert limits.declare() == []
        numbers = limits.of("api")
        assert (numbers.concurrency, numbers.rate) == (4, Rate(100, per=60))
        assert limits.set("api", {"concurrency": 1}) is numbers
        assert (numbers.concurrency, numbers.rate) == (1, Rate(100, per=60))
        limits.set("api", {"rate": "5/s"})
        assert (numbers.concurrency, numbers.rate) == (1, Rate(5, per=1))
        app.limits = catalog(Limit("api", concurrency=9)).limits
        assert limits.declare() == [numbers]
        assert numbers.concurrency == 1, "what was set holds over a deploy"
        limits.set("api", {})
        assert (numbers.concurrency, numbers.rate) == (9, None)

    told(home, story, app, 0)


def test_numbers_that_were_set_outlive_a_restart_and_a_gap_in_the_app(home: Path) -> None:
    def first(limits: Limits) -> None:
        limits.declare()
        limits.set("api", {"concurrency": None, "rate": "1/m"})

    def without(limits: Limits) -> None:
        assert limits.declare() == []
        assert list(limits.declared()) == []
        with pytest.raises(LimitNotFound, match="no task has the limit 'api'; the limits are none"):
            limits.set("api", {"concurrency": 2})

    def again(limits: Limits) -> None:
        limits.declare()
        assert (limits.of("api").concurrency, limits.of("api").rate) == (None, Rate(1, per=60))

    told(home, first, catalog(API), 1)
    told(home, without, catalog(), 1)
    told(home, again, catalog(API), 1)


@pytest.mark.parametrize("given", [{"concurrency": 0}, {"concurrency": "2"}, {"rate": "often"}, {"rate": 3}])
def test_numbers_that_cannot_be_change_nothing(home: Path, given: dict[str, object]) -> None:
    def story(limits: Limits) -> None:
        limits.declare()
        with pytest.raises(InvalidOption):
            limits.set("api", given)
        assert (limits.of("api").concurrency, limits.of("api").rate) == (4, Rate(100, per=60))

    told(home, story, catalog(API), 0)


def test_a_damaged_row_is_passed_over(home: Path) -> None:
    async def main() -> None:
        async with room(home) as it:
            it.commits.put(Table.ACTORS, set_key("api"), b"\xc1")
            await it.settle()
            limits = Limits(it.commits, catalog(API))
            limits.declare()
            assert limits.of("api").concurrency == 4

    asyncio.run(main())
