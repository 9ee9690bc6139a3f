from __future__ import annotations

import pickle
import random
import re
import string

import pytest

from understudy.actors.errors import InvalidQuery
from understudy.actors.ids import id_text
from understudy.actors.state import TERMINAL, State
from understudy.storage.query import FIELDS, MAX_LENGTH, MAX_TERMS, Value, parse

ID = bytes(range(16))


def texts(query: str) -> list[tuple[bool, str, list[str]]]:
    """Whether it excludes, the field and the values of each term."""
    return [(term.exclude, term.field, [value.text for value in term.values]) for term in parse(query)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", []),
        ("   ", []),
        ("reset", [(False, "", ["reset"])]),
        ("-reset", [(True, "", ["reset"])]),
        ("'connection reset'", [(False, "", ["connection reset"])]),
        ('"it\'s" x', [(False, "", ["it's"]), (False, "", ["x"])]),
        ("'a:b'", [(False, "", ["a:b"])]),
        ("task:etl*,load", [(False, "task", ["etl*", "load"])]),
        ("task:'a,b',c", [(False, "task", ["a,b", "c"])]),
        ("task:app:etl", [(False, "task", ["app:etl"])]),
        ("-error:TimeoutError", [(True, "error", ["TimeoutError"])]),
        ("a,b", [(False, "", ["a,b"])]),
        (" key:ship/7\tevent:order.* ", [(False, "key", ["ship/7"]), (False, "event", ["order.*"])]),
        ("key:''", [(False, "key", [""])]),
        ("'-'", [(False, "", ["-"])]),
        ("http://x", None),
    ],
)
def test_terms(query: str, found):
    if found is None:
        with pytest.raises(InvalidQuery, match="there is no field 'http'"):
            parse(query)
    else:
        assert texts(query) == found


def test_what_the_values_of_a_field_mean():
    [state, excluded, stream, attempt, newer, older, day, args] = parse(
        f"state:failed,t* -state:queued stream:{id_text(ID)} attempt:>1 newer:1d12h older:90s "
        "older:1970-01-02T00:00:00+00:00 args.customer.id:17"
    )
    assert state.states == {State.FAILED, State.TIMED_OUT}
    assert (excluded.exclude, excluded.states) == (True, {State.QUEUED})
    assert stream.ids == (ID,)
    assert attempt.compare is not None
    compare, number = attempt.compare
    assert [compare(tries, number) for tries in (1, 2, 3)] == [False, True, True]
    assert newer.time(200_000.0) == 200_000 - 129_600
    assert older.time(100.0) == 10
    assert day.time(5.0) == 86_400
    assert (args.field, args.path, args.values[0].text) == ("args", "customer.id", "17")
    assert parse("state:*")[0].states > TERMINAL


@pytest.mark.parametrize(
    ("attempt", "fitting"), [("2", [2]), ("=2", [2]), ("<2", [1]), ("<=2", [1, 2]), (">=2", [2, 3])]
)
def test_comparisons(attempt: str, fitting: list[int]):
    [term] = parse(f"attempt:{attempt}")
    assert term.compare is not None
    compare, number = term.compare
    assert [tries for tries in (1, 2, 3) if compare(tries, number)] == fitting


@pytest.mark.parametrize(
    ("value", "text", "fits"),
    [
        (Value("etl*", 1), "etl", True),
        (Value("etl*", 1), "etl_daily\n", True),
        (Value("etl*", 1), "an etl", False),
        (Value("e?l", 1), "etl", True),
        (Value("e?l", 1), "el", False),
        (Value("a[1]", 1), "a[1]", True),
        (Value("a.c", 1), "abc", False),
        (Value("a*", 1, quoted=True), "ab", False),
        (Value("a*", 1, quoted=True), "a*", True),
    ],
)
def test_patterns(value: Value, text: str, fits: bool):
    assert value.fits(text) is fits


@pytest.mark.parametrize(
    ("query", "column", "said"),
    [
        ("a stat:failed", 3, "there is no field 'stat'; the fields are state, task"),
        ("state:faild", 7, "there is no state 'faild'; the states are queued"),
        ("state:failed,x", 14, "there is no state 'x'"),
        ("state:", 7, "a value must follow here"),
        ("task:a,,b", 8, "a value must follow here"),
        ("task:a, b", 8, "a value must follow here"),
        ("-", 1, "a term must follow the '-'"),
        ("x - y", 3, "a term must follow the '-'"),
        ("x 'open", 3, "the quote ' is not closed"),
        ('task:"open', 6, 'the quote " is not closed'),
        ("task:'a'b", 9, "a space must follow the closing quote"),
        ("''", 1, "an empty text fits every task"),
        ("stream:12", 8, "the whole id of a task"),
        ("origin:x", 8, "the whole id of a task"),
        ("attempt:>", 9, "attempt takes a number"),
        ("attempt:two", 9, "attempt takes a number"),
        ("attempt:1,2", 11, "attempt takes one value"),
        ("newer:1", 7, "newer takes an age"),
        ("newer:20260301", 7, "newer takes an age"),
        ("older:yesterday", 7, "older takes an age, as in older:90s"),
        ("ended:soon", 7, "ended takes an age, as in ended:90s"),
        ("cause:12", 7, "cause takes a fingerprint of 16"),
        ("cause:0123456789abcdef,x", 24, "cause takes a fingerprint"),
        ("args.:1", 1, "needs the name of an argument"),
        ("args.a..b:1", 1, "needs the name of an argument"),
        ("args:1", 1, "there is no field 'args'"),
    ],
)
def test_a_mistake_is_pointed_at(query: str, column: int, said: str):
    with pytest.raises(InvalidQuery, match=re.escape(said)) as caught:
        parse(query)
    assert (caught.value.column, caught.value.query) == (column, query)
    *_, shown, mark = str(caught.value).splitlines()
    assert shown == f"  {query}"
    assert mark.index("^") == column + 1
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.column, again.query) == (column, query)


def test_limits():
    assert len(parse(" ".join(["x"] * MAX_TERMS))) == MAX_TERMS
    with pytest.raises(InvalidQuery, match="at most 64 terms") as caught:
        parse(" ".join(["x"] * (MAX_TERMS + 1)))
    assert caught.value.column == 2 * MAX_TERMS + 1
    assert len(parse("task:" + ",".join(["x"] * MAX_TERMS))[0].values) == MAX_TERMS
    with pytest.raises(InvalidQuery, match="at most 64 values"):
        parse("task:" + ",".join(["x"] * (MAX_TERMS + 1)))
    assert parse("x" * MAX_LENGTH)
    with pytest.raises(InvalidQuery, match="at most 4096 characters"):
        parse("x" * (MAX_LENGTH + 1))


@pytest.mark.parametrize("query", [None, 5, b"x", ["x"]])
def test_what_is_no_text_is_refused(query):
    with pytest.raises(InvalidQuery, match="a query is a text"):
        parse(query)


def test_any_text_is_parsed_or_refused():
    chance = random.Random(3)
    parts = [
        *(f"{name}:" for name in FIELDS),
        "args.a:",
        "'",
        '"',
        ",",
        "-",
        " ",
        "*",
        ">",
        "1d",
        "\0",
        "é",
        "²",
    ]
    for _ in range(5_000):
        query = "".join(
            chance.choice([*parts, *string.ascii_letters[:4]]) for _ in range(chance.randrange(12))
        )
        assert all(1 <= column <= len(query) + 1 for column in columns_of(query)), query


def columns_of(query: str) -> list[int]:
    """The columns of the terms, or that of the mistake."""
    try:
        return [term.column for term in parse(query)]
    except InvalidQuery as error:
        return [error.column]
