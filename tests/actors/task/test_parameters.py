from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from understudy.actors import values
from understudy.actors.task.parameters import check, pack, unpack


def plain(a: int, b: str = "x") -> None: ...
def strict(a: int, /, b: int, *, c: int, d: object = object()) -> None: ...
def free(a: int, *rest: int, **more: int) -> None: ...
def nothing() -> None: ...


def travelled(body: Callable[..., Any]) -> inspect.Signature:
    return unpack(values.unpack(values.pack(pack(inspect.signature(body)))))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (plain, "(a, b=…)"),
        (strict, "(a, /, b, *, c, d=…)"),
        (free, "(a, *rest, **more)"),
        (nothing, "()"),
    ],
)
def test_they_travel_without_annotations_and_defaults(body: Callable[..., Any], text: str) -> None:
    assert str(travelled(body)) == text


@pytest.mark.parametrize(
    ("body", "args", "kwargs"),
    [
        (plain, (1,), {}),
        (plain, (), {"b": 1, "a": 2}),
        (strict, (1, 2), {"c": 3}),
        (free, (1, 2, 3), {"x": 1}),
        (nothing, (), {}),
    ],
)
def test_what_fits(body: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    check("app:it", travelled(body), args, kwargs)


@pytest.mark.parametrize(
    ("body", "args", "kwargs", "says"),
    [
        (plain, (), {}, "missing a required argument: 'a'"),
        (plain, (1, 2, 3), {}, "too many positional arguments"),
        (plain, (1,), {"c": 1}, "got an unexpected keyword argument 'c'"),
        (strict, (1, 2), {}, "missing a required"),
        (strict, (), {"a": 1, "b": 2, "c": 3}, "'a'"),
        (nothing, (1,), {}, "too many"),
    ],
)
def test_what_does_not(
    body: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], says: str
) -> None:
    with pytest.raises(TypeError, match=says) as refused:
        check("app:it", travelled(body), args, kwargs)
    assert str(refused.value).startswith(f"app:it{travelled(body)}: ")


def test_what_python_does_not_know() -> None:
    assert pack(None) is None
