"""Every pattern against a matcher that a reader can check: a regular expression for each."""

from __future__ import annotations

import random
import re
import time

import pytest

from understudy.actors.errors import InvalidOption
from understudy.actors.events.pattern import PatternMap, check_name, check_pattern


def matches(pattern: str, name: str) -> bool:
    return PatternMap([(pattern, 1)]).match(name) == (1,)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("order.paid", ["order.paid"], ["order", "order.paid.late", "order.pai", "order.Paid"]),
        ("order.*", ["order.paid", "order.-"], ["order", "order.paid.late", "orders.paid"]),
        ("*", ["order"], ["order.paid", "understudy"]),
        ("*.paid", ["order.paid", "bill.paid"], ["paid", "a.order.paid", "understudy.paid"]),
        ("**", ["order", "order.paid", "a.b.c.d"], ["understudy", "understudy.task.failed"]),
        ("order.**", ["order", "order.paid", "order.a.b.c"], ["orders", "a.order"]),
        ("**.paid", ["paid", "order.paid", "a.b.paid"], ["paid.late", "understudy.paid"]),
        ("a.**.z", ["a.z", "a.b.z", "a.b.c.z", "a.z.z"], ["a", "z", "a.b", "b.a.z"]),
        ("**.a.**.b.**", ["a.b", "x.a.y.b.z", "a.a.b.b"], ["b.a", "a", "b"]),
        ("**.**", ["a", "a.b.c"], ["understudy.x"]),
        ("understudy.**", ["understudy.task.failed", "understudy"], ["order"]),
        ("understudy.task.*", ["understudy.task.failed"], ["understudy.worker.died", "a.task.b"]),
    ],
)
def test_what_a_pattern_matches(pattern: str, yes: list[str], no: list[str]):
    assert check_pattern(pattern) == pattern
    assert [name for name in yes if not matches(pattern, name)] == []
    assert [name for name in no if matches(pattern, name)] == []


def test_generated_patterns_match_as_their_regular_expressions_do():
    chance = random.Random(7)
    patterns = {".".join(chance.choices(["a", "b", "*", "**"], k=chance.randint(1, 5))) for _ in range(120)}
    every = PatternMap((pattern, pattern) for pattern in patterns)
    assert len(every) == len(patterns)
    for _ in range(400):
        name = ".".join(chance.choices("abc", k=chance.randint(1, 6)))
        assert set(every.match(name)) == {pattern for pattern in patterns if reference(pattern, name)}, name
    for pattern in chance.sample(sorted(patterns), len(patterns) // 2):
        every.discard(pattern, pattern)
        patterns.remove(pattern)
    for _ in range(100):
        name = ".".join(chance.choices("abc", k=chance.randint(1, 6)))
        assert set(every.match(name)) == {pattern for pattern in patterns if reference(pattern, name)}, name
    for pattern in patterns:
        every.discard(pattern, pattern)
    assert len(every) == 0
    assert every.match("a") == ()
    assert not every._root.below


def reference(pattern: str, name: str) -> bool:
    """Each segment is written with a dot behind it, so that ** is any number of them."""
    segments = {"*": "[^.]+[.]", "**": "([^.]+[.])*"}
    text = "".join(segments.get(segment, f"{segment}[.]") for segment in pattern.split("."))
    return re.fullmatch(text, f"{name}.") is not None


def test_a_value_comes_once_and_stays_while_a_pattern_leads_to_it():
    found: PatternMap[str] = PatternMap([("a.*", "one"), ("a.b", "one"), ("**", "one"), ("a.*", "one")])
    assert len(found) == 3
    assert found.match("a.b") == ("one",)
    found.discard("a.*", "one")
    found.discard("a.*", "one")
    found.discard("a.x", "one")
    found.discard("z.x.y", "one")
    assert found.match("a.b") == ("one",)
    found.discard("a.b", "one")
    found.discard("**", "one")
    assert found.match("a.b") == ()


def test_it_says_whether_someone_wants_the_runtimes_own_events():
    found: PatternMap[int] = PatternMap([("**", 1)])
    assert not found.own
    found.add("understudy.task.*", 1)
    assert found.own
    found.discard("understudy.task.*", 1)
    assert not found.own


def test_many_patterns_and_names_that_are_hard_for_a_search_with_steps_back():
    many: PatternMap[int] = PatternMap((f"shop{number}.order.*", number) for number in range(10_000))
    many.add("**." * 15 + "x", -1)
    names = [f"shop{number}.order.paid" for number in range(2_000)] + ["a." * 31 + "a"]
    began = time.perf_counter()
    assert [many.match(name) for name in names[:3]] == [(0,), (1,), (2,)]
    for name in names:
        many.match(name)
    assert time.perf_counter() - began < 2.0


def test_names():
    for name in ("a", "order.paid", "Order-1.paid_2", ".".join("a" * 32)):
        assert check_name(name) == name
    assert check_name("understudy_app.x") == "understudy_app.x"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (7, "is text"),
        ("", "is text"),
        ("a" * 256, "is text"),
        ("a..b", "'' in 'a..b'"),
        (".a", "segments with dots"),
        ("order paid", "'order paid'"),
        ("order.*", r"'\*' in 'order.\*'"),
        ("größe", "letters, digits"),
        ("a\n", "segments with dots"),
        (".".join("a" * 33), "at most 32 segments"),
        ("understudy.task.failed", "runtime's own events"),
        ("understudy", "runtime's own events"),
    ],
)
def test_no_names(name: object, says: str):
    with pytest.raises(InvalidOption, match=says):
        check_name(name)


@pytest.mark.parametrize(
    "pattern", [None, "", "a.b*", "***", "a.?", "a..b", "a.", "[a]", "a b", "x." * 40 + "x"]
)
def test_no_patterns(pattern: object):
    with pytest.raises(InvalidOption, match="pattern of events"):
        check_pattern(pattern)
