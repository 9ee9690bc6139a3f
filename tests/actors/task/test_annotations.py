from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from understudy.actors.errors import InvalidValue, UnencodableValue
from understudy.actors.task.annotations import NONE, Annotations
from understudy.actors.task.declaration import Task, task


@dataclass
class Point:
    x: int


def of(body: Callable[..., Any]) -> Annotations:
    return Annotations.of(body, inspect.signature(body), body)


def test_each_parameter_has_its_own_shape():
    def body(a: Point, b: int, /, c: Path, *rest: Point, d: Point, e: str = "", **more: Path) -> Point: ...

    found = of(body)
    assert found.typed
    args = (Point(1), 2, Path("c"), Point(3), Point(4))
    kwargs = {"d": Point(5), "e": "e", "f": Path("f"), "g": Path("g")}
    plain = found.lower(args, kwargs)
    assert plain == (
        [{"x": 1}, 2, "c", {"x": 3}, {"x": 4}],
        {"d": {"x": 5}, "e": "e", "f": "f", "g": "g"},
    )
    assert found.lift(*plain) == (list(args), kwargs)
    assert found.result is not None
    with pytest.raises(UnencodableValue) as caught:
        found.lower(args, {"d": 5})
    assert caught.value.path == "kwargs['d']"
    with pytest.raises(InvalidValue, match=r"args\[0\]: Point has no field 'y'"):
        found.lift([{"y": 1}], {})


def test_plain_annotations_cost_nothing():
    def plain(a: int, *b: str, c: dict[str, Any] | None = None) -> list[int]: ...
    def bare(a, *b, c=None): ...  # type: ignore[no-untyped-def]

    for body in (plain, bare):
        assert (of(body).typed, of(body).result) == (False, None)
    assert (NONE.typed, Annotations.of(len, None, len).typed) == (False, False)


def test_the_annotations_of_a_decorated_function_are_looked_up_where_it_was_written():
    @functools.wraps(documented)
    def wrapper(*args: Any) -> Any: ...

    assert of(wrapper).lower((Point(1),), {}) == ([{"x": 1}], {})


def documented(a: Point) -> None: ...


def test_what_contains_itself_is_refused():
    def body(a: list[list[Point]]) -> None: ...

    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(UnencodableValue):
        of(body).lower((ring,), {})


@task
def work(a: Point) -> None: ...


def test_copies_of_a_task_share_what_was_looked_up():
    copy = work.options(priority=1)
    assert work.options(key="k").annotations is copy.annotations is work.annotations
    assert Task.named("elsewhere:task").annotations is NONE
