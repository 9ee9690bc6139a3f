"""What is known of the methods of a class, and where paths lead."""

from __future__ import annotations

from typing import Any

import pytest

from understudy import Actor, read_only, traversable
from understudy.actors.refs.methods import attribute_at, method_of, set_attribute_at


class Part:
    inner = 1


class Thing(Actor):
    part = traversable(Part())
    closed = Part()
    number = 5

    @read_only
    def look(self, a: int, *, b: int = 2) -> int:
        return a + b

    @staticmethod
    def fixed(a: int) -> int:
        return a

    @classmethod
    def of_class(cls, a: int) -> int:
        return a

    async def later(self) -> None: ...

    @property
    def made(self) -> int:
        raise AssertionError("a property was read")


def test_methods_are_known_with_their_parameters() -> None:
    look = method_of(Thing, "look")
    assert look is not None
    assert look is method_of(Thing, "look")
    assert (look.name, look.read_only, list(look.signature.parameters)) == ("look", True, ["a", "b"])  # type: ignore[union-attr]
    for name, args in {"look": (1,), "fixed": (1,), "of_class": (1,), "later": ()}.items():
        method = method_of(Thing, name)
        assert method is not None
        method.check(args, {})
        with pytest.raises(TypeError, match=rf"^{name}\("):
            method.check((*args, 2), {})
    look.check((1,), {"b": 3})
    with pytest.raises(TypeError, match="unexpected keyword argument 'c'"):
        look.check((1,), {"c": 3})


@pytest.mark.parametrize("name", ["made", "number", "part", "nothing"])
def test_what_is_no_method_is_none(name: str) -> None:
    assert method_of(Thing, name) is None


def test_paths_lead_through_marked_parts() -> None:
    thing = Thing()
    assert (attribute_at(thing, "number"), attribute_at(thing, "part.inner")) == (5, 1)
    set_attribute_at(thing, "number", 6)
    assert thing.number == 6
    set_attribute_at(thing, "part.inner", 2)
    assert thing.part.inner == 2
    del thing.part.inner


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("nothing", "has no attribute 'nothing'"),
        ("part.nothing", "has no attribute 'nothing'"),
        ("closed.inner", r"Thing\.closed is not traversable"),
        ("look.__globals__", "no public attribute"),
        ("_understudy", "no public attribute"),
        ("look.func", "not traversable"),
    ],
)
def test_other_paths_lead_nowhere(path: str, complaint: str) -> None:
    uses: list[Any] = [lambda: attribute_at(Thing(), path)]
    if "has no" not in complaint:
        uses.append(lambda: set_attribute_at(Thing(), path, 1))
    for use in uses:
        with pytest.raises(AttributeError, match=complaint):
            use()
