"""Methods that change nothing: what they may read, and what they are refused."""

from __future__ import annotations

from typing import Any

import pytest

from understudy import Actor, read_only
from understudy.actors.errors import ReadOnly
from understudy.actors.refs.actor import state_of
from understudy.actors.refs.read_only import is_read_only, read_only_view


class Counter(Actor):
    def __init__(self) -> None:
        self.count = 1

    def grow(self) -> None:
        self.count += 1

    @read_only
    def peek(self) -> int:
        return self.count

    @read_only
    def cheat(self) -> None:
        self.grow()

    @read_only
    async def peek_later(self) -> int:
        return self.count


class Side:
    message_id = "m"
    ref = "the reference"

    def __init__(self) -> None:
        self.storage: Any = {"a": 1}

    def reminders(self) -> dict[str, Any]:
        return {"r": 1}


def view(counter: Counter) -> Counter:
    return read_only_view(counter, Side())  # type: ignore[arg-type]


def test_methods_are_marked() -> None:
    assert [is_read_only(method) for method in (Counter.peek, Counter.peek_later, Counter.grow)] == [
        True,
        True,
        False,
    ]
    with pytest.raises(TypeError, match="goes on a method"):
        read_only(property(lambda self: 1))  # type: ignore[type-var]


def test_a_view_has_the_same_attributes_at_all_times() -> None:
    counter = Counter()
    seen = view(counter)
    counter.grow()
    assert seen.peek() == 2
    assert isinstance(seen, Counter)
    assert (type(seen).__qualname__, type(seen).__module__) == ("Counter", __name__)


def test_nothing_can_be_set_through_a_view() -> None:
    counter = Counter()
    seen = view(counter)
    with pytest.raises(ReadOnly, match=r"cannot set Counter\.count"):
        seen.cheat()
    with pytest.raises(ReadOnly, match=r"cannot set Counter\.count"):
        del seen.count
    assert state_of(counter) == {"count": 1}
    counter.grow()
    assert seen.count == 2, "the actor itself can be changed meanwhile"


def test_storage_and_reminders_can_be_read_but_not_written() -> None:
    seen = view(Counter())
    assert (seen.message_id, seen.actor_ref, seen.reminders()) == ("m", "the reference", {"r": 1})
    storage: Any = seen.storage
    assert (storage["a"], list(storage), len(storage), "b" in storage) == (1, ["a"], 1, False)
    assert (list(storage.items()), list(storage.keys()), list(storage.values())) == ([("a", 1)], ["a"], [1])
    for write in (
        lambda: storage.__setitem__("b", 1),
        lambda: storage.__delitem__("a"),
        lambda: storage.update(b=1),
        lambda: storage.pop("a"),
        storage.clear,
        lambda: seen.remind("r", Counter.grow, delay=1),
        lambda: seen.forget("r"),
        seen.passivate,
        seen.stop,
    ):
        with pytest.raises(ReadOnly, match="a @read_only method cannot"):
            write()
    assert storage["a"] == 1
