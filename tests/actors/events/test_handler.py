from __future__ import annotations

from typing import Any

import pytest

from understudy.actors.errors import InvalidOption, InvalidTask
from understudy.actors.events.event import Event
from understudy.actors.events.handler import PATTERNS_LIMIT, on
from understudy.actors.task.declaration import Task, task


@on("order.*", retry=5)
def bill(event: Event) -> str:
    return event.name


@on("order.**")
@on("audit.*")
@on("order.**")
@task(name="test_handler.audit", timeout=10)
async def audit(event: Event) -> None: ...


@on("a", timeout=1)
def whole(event: Event, more: int = 2, *rest: int) -> None: ...


def nothing() -> None: ...


def two(event: Event, other: int) -> None: ...


def named(event: Event, *, other: int) -> None: ...


def fits(event: Event) -> None: ...


def streams(event: Event) -> Any:
    yield event


class Shop:
    def handle(self, event: Event) -> None: ...


def test_a_plain_function_becomes_a_task():
    assert isinstance(bill, Task)
    assert bill.patterns == ("order.*",)
    assert (bill.options_in_force.timeout, bill.options_in_force.retry.attempts) == (300.0, 5)
    assert bill.declared()["patterns"] == ["order.*"]
    assert bill(Event("1", "order.paid", None, 0.0, "s")) == "order.paid"
    assert whole.options_in_force.timeout == 1.0  # type: ignore[attr-defined]


def test_a_task_stays_what_it_is():
    assert audit.patterns == ("order.**", "audit.*")
    assert (audit.name, audit.options_in_force.timeout) == ("test_handler.audit", 10.0)
    assert audit.options(priority=3).patterns == audit.patterns
    assert audit.options(name="test_handler.copy").patterns == ()
    assert "patterns" not in task(fits).declared()


@pytest.mark.parametrize("function", [nothing, two, named])
def test_what_cannot_take_one_event_is_refused_by_name(function: Any):
    with pytest.raises(InvalidTask, match=f"{function.__name__} cannot take one argument"):
        on("a")(function)


def test_what_is_no_handler():
    for wrong in (Shop, streams, Shop.handle, 7):
        with pytest.raises(InvalidTask):
            on("a")(wrong)  # type: ignore[call-overload]

    def inner(event: Event) -> None: ...

    with pytest.raises(InvalidTask, match="inside a function"):
        on("a")(inner)
    with pytest.raises(InvalidTask, match="not on a copy"):
        on("a")(audit.options(priority=1))
    with pytest.raises(InvalidTask, match=r"not on named\.only"):
        on("a")(Task.named("named.only"))


def test_options_belong_to_the_lowest_declaration():
    with pytest.raises(InvalidOption, match="give retry there"):
        on("b.*", retry=2)(audit)
    with pytest.raises(InvalidOption, match="unknown option"):
        on("b.*", retries=2)(fits)


@pytest.mark.parametrize("pattern", ["", "a..b", "a*", None, 7])
def test_patterns_that_no_name_matches(pattern: Any):
    with pytest.raises(InvalidOption, match="pattern of events"):
        on(pattern)


def test_a_pattern_is_missing():
    with pytest.raises(InvalidOption, match="write @on"):
        on(fits)  # type: ignore[arg-type]


def test_a_handler_has_a_limited_number_of_patterns():
    handler = task(name="test_handler.many")(fits)
    for number in range(PATTERNS_LIMIT):
        on(f"a{number}")(handler)
    on("a0")(handler)
    with pytest.raises(InvalidOption, match="100 patterns"):
        on("one.more")(handler)
