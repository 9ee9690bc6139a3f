from __future__ import annotations

from typing import Any

import pytest

from understudy.actors.errors import InvalidOption, InvalidTask
from understudy.actors.schedules.declaration import MOST, _owners, cron, every
from understudy.actors.task.declaration import Task, registry, task


@pytest.fixture(autouse=True)
def forget():
    """No other test of this process finds what is declared here."""
    names, owners = set(registry), set(_owners)
    yield
    for name in set(registry) - names:
        del registry[name]
    for key in set(_owners) - owners:
        del _owners[key]


def plain() -> str:
    return "plain"


def other(more: int = 2, *rest: int, word: str = "") -> None: ...


def needs_one(one: int) -> None: ...


def needs_keyword(*, one: int) -> None: ...


def third() -> None: ...


class Desk:
    pass


def test_a_plain_function_becomes_a_task():
    report: Any = cron("0 9 * * mon-fri", tz="Europe/Zurich", retry=5)(plain)
    assert isinstance(report, Task)
    assert (report.options_in_force.timeout, report.options_in_force.retry.attempts) == (300.0, 5)
    key, definition = report.schedules[0]
    assert (key, definition.cron, definition.tz) == (report.name, "0 9 * * mon-fri", "Europe/Zurich")
    assert report.declared()["schedules"] == [
        (report.name, {"cron": "0 9 * * mon-fri", "tz": "Europe/Zurich"})
    ]
    assert report() == "plain"


def test_a_task_stays_what_it_is_and_may_have_several():
    made: Any = every(60, key="test_declaration/minutely")(cron("@daily")(task(name="x.y", timeout=5)(other)))
    assert (made.name, made.options_in_force.timeout) == ("x.y", 5.0)
    assert [key for key, _ in made.schedules] == ["x.y", "test_declaration/minutely"]
    assert made.options(timeout=7).schedules == made.schedules
    assert made.options(name="x.z").schedules == ()


def test_the_same_declaration_again_is_one():
    for _ in range(2):
        made: Any = every(5)(task(name="x.again")(plain))
    assert len(every(5)(made).schedules) == 1


def test_two_of_one_key_are_refused():
    first: Any = every(5)(task(name="x.first")(plain))
    with pytest.raises(InvalidTask, match=r"two schedules have the key x.first: give one of them another"):
        every(6)(first)
    with pytest.raises(
        InvalidTask, match=r"two schedules have the key x.first, that of x.first and that of x.second"
    ):
        every(5, key="x.first")(task(name="x.second")(third))


@pytest.mark.parametrize("body", [needs_one, needs_keyword])
def test_a_function_that_needs_arguments_is_refused(body: Any):
    with pytest.raises(InvalidTask, match=r"needs arguments.*Runtime.schedule\(task, \*args\)"):
        every(5)(body)


def test_what_has_no_place_for_a_schedule_is_refused():
    made: Any = task(name="x.made")(plain)
    with pytest.raises(InvalidTask, match=r"not on a copy made by \.options"):
        every(5)(made.options(timeout=7))
    with pytest.raises(InvalidOption, match="declared below already: give timeout there"):
        every(5, timeout=7)(made)
    with pytest.raises(InvalidTask):
        every(5)(lambda: None)
    with pytest.raises(InvalidTask):
        every(5)(Desk)
    for decorator in (cron, every):
        with pytest.raises(InvalidOption, match="in parentheses"):
            decorator(plain)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="every must be seconds, 1 or more"):
        every(0.5)
    with pytest.raises(InvalidOption, match="never matches"):
        cron("0 0 31 2 *")
    with pytest.raises(InvalidOption, match="key of a schedule"):
        cron("@daily", key="")
    for number in range(MOST):
        every(5, key=f"test_declaration/{number}")(made)
    with pytest.raises(InvalidOption, match=f"has {MOST} schedules"):
        every(5, key="test_declaration/more")(made)
