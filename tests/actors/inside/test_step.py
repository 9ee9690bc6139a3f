from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import pytest

from understudy import InvalidOption, Retry, aio, step, task
from understudy.actors.inside.step import _name_of, _shape_of, is_async


def function() -> int:
    return 1


async def coroutine() -> int:
    return 1


@task
def a_task() -> int:
    return 1


@task(name="named")
async def async_task() -> int:
    return 1


class Thing:
    def method(self) -> int:
        return 1

    async def async_method(self) -> int:
        return 1

    def __call__(self) -> int:
        return 1


class AsyncThing:
    async def __call__(self) -> int:
        return 1


@dataclass
class Row:
    n: int


def row() -> Row:
    return Row(1)


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (function, f"{__name__}:function"),
        (Thing().method, f"{__name__}:Thing.method"),
        (Thing, f"{__name__}:Thing"),
        (len, "builtins:len"),
        (a_task, f"{__name__}:a_task"),
        (a_task.start, f"{__name__}:a_task.start"),
        (async_task, "named"),
    ],
)
def test_names(fn: Any, name: str) -> None:
    assert _name_of(fn, has_key=False) == name


@pytest.mark.parametrize("fn", [lambda: 1, functools.partial(function), Thing()])
def test_what_has_no_name(fn: Any) -> None:
    with pytest.raises(InvalidOption, match=r"step\.options\(name=…\)"):
        _name_of(fn, has_key=False)
    assert _name_of(fn, has_key=True)


@pytest.mark.parametrize("of", [step, aio.step])
def test_options(of: Any) -> None:
    changed = of.options(name="n").options(key="k").options(retry=3)
    assert type(changed) is type(of)
    assert (changed._name, changed._key, changed._retry) == ("n", "k", Retry(3))
    assert (of._name, of._key, of._retry) == (None, None, None)
    policy = Retry(2, delay=5)
    assert of.options(retry=policy)._retry is policy


@pytest.mark.parametrize(
    "options", [{"name": ""}, {"name": 7}, {"name": "x" * 401}, {"key": ""}, {"key": b"k"}, {"retry": -1}]
)
def test_bad_options(options: Any) -> None:
    with pytest.raises(InvalidOption):
        step.options(**options)


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (function, False),
        (coroutine, True),
        (functools.partial(coroutine), True),
        (Thing().method, False),
        (Thing().async_method, True),
        (Thing(), False),
        (AsyncThing(), True),
        (a_task, False),
        (async_task, True),
        (len, False),
    ],
)
def test_what_is_async(fn: Any, expected: bool) -> None:
    assert is_async(fn) is expected


def test_the_shape_of_what_it_returns() -> None:
    for fn in (row, functools.partial(row)):
        shape = _shape_of(fn)
        assert shape is not None
        assert shape.lift(shape.lower(Row(2), "it"), "it") == Row(2)
        assert _shape_of(fn) is shape or isinstance(fn, functools.partial)
    for fn in (function, len, Thing(), Thing, Thing().method, a_task):
        assert _shape_of(fn) is None
