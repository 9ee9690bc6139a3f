from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from understudy import Actor, cron, http, on, task
from understudy.actors.http import declaration as triggers
from understudy.actors.schedules import declaration as schedules
from understudy.actors.task import declaration
from understudy.supervisor.kit.declarations import declared_here
from understudy.supervisor.tasks.catalog import Declared


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """An app of its own."""
    monkeypatch.setattr(declaration, "_former", {})
    monkeypatch.setattr(schedules, "_owners", {})
    monkeypatch.setattr(triggers, "_owners", {})
    kept = dict(declaration.registry)
    declaration.registry.clear()
    yield declaration.registry
    declaration.registry.clear()
    declaration.registry.update(kept)


def plain(order: int = 1) -> None:
    """A body."""


class Declares(Actor):
    pass


def test_tasks_and_classes_are_told_as_a_fork_server_tells_them(registry: dict[str, Any]) -> None:
    made = task(retry=3, aliases=["old name"], concurrency=2)(plain)
    registry[Declares._understudy_task.name] = Declares._understudy_task
    found = declared_here()
    assert found == {name: Declared.of(each.declared()) for name, each in registry.items()}
    assert found[made.name].options.retry.attempts == 3
    assert found[made.name].aliases == ("old name",)
    assert found[made.name].parameters is not None
    assert found[Declares._understudy_task.name].rules is not None


def test_nothing_is_unpacked_twice(registry: dict[str, Any]) -> None:
    made = task(plain)
    assert declared_here()[made.name] is declared_here()[made.name]


def test_what_is_added_later_counts(registry: dict[str, Any]) -> None:
    made = task(plain)
    assert declared_here()[made.name].patterns == ()
    on("order.*")(made)
    assert declared_here()[made.name].patterns == ("order.*",)
    cron("0 2 * * *", key="nightly")(made)
    assert [key for key, _ in declared_here()[made.name].schedules] == ["nightly"]
    http("POST", "/declared", auth="none")(made)
    assert [each.path for each in declared_here()[made.name].triggers] == ["/declared"]


def test_a_new_declaration_in_its_place_counts(registry: dict[str, Any]) -> None:
    first = task(priority=1)(plain)
    assert declared_here()[first.name].options.priority == 1
    registry.clear()
    second = task(priority=2)(plain)
    assert second.name == first.name
    assert declared_here()[second.name].options.priority == 2


def test_a_name_without_code_is_left_out(registry: dict[str, Any]) -> None:
    registry["elsewhere:name"] = declaration.Task.named("elsewhere:name")
    assert declared_here() == {}
