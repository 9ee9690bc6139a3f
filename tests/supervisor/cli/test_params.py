from __future__ import annotations

import math
from typing import Any

import click
import pytest

from understudy.supervisor.cli import params


def convert(kind: Any, text: str) -> Any:
    return kind.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("-2.5", -2.5), ('"x"', "x"), ('{"a": [null]}', {"a": [None]})]
)
def test_json_is_a_value(text: str, value: Any):
    assert convert(params.JSON, text) == value


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("data.csv", """'"data.csv"'"""),
        ("{a: 1}", "single quotes"),
        ("--kwarg", "no such option"),
        ("NaN", "double quotes inside"),
        ("[" * 100_000, "single quotes"),
    ],
)
def test_what_is_not_json_gets_advice(text: str, advice: str):
    with pytest.raises(click.BadParameter) as raised:
        convert(params.JSON, text)
    assert advice in raised.value.message
    assert len(raised.value.message) < 1000


def test_durations_sizes_and_times():
    assert convert(params.DURATION, "2m") == 120
    assert convert(params.DURATION_OR_NONE, "none") == math.inf
    assert convert(params.SIZE, "1K") == 1024
    assert convert(params.MOMENT, "2030-01-31T08:00Z") == 1896076800
    with pytest.raises(click.BadParameter, match="10m"):
        convert(params.DURATION, "none")


def test_states_have_no_fussy_spelling():
    assert convert(params.STATE, "Timed-Out") == "timed_out"
    with pytest.raises(click.BadParameter):
        convert(params.STATE, "lost")


def test_a_keyword_argument_has_a_name_and_a_value():
    assert convert(params.KEYWORD, 'query={"a": "b=c"}') == ("query", {"a": "b=c"})
    for text in ("query", "=1", "a b=1", "query=text"):
        with pytest.raises(click.BadParameter):
            convert(params.KEYWORD, text)


def test_a_method_is_public():
    assert convert(params.METHOD, "playback.play") == "playback.play"
    for text in ("", "_play", "playback._play", "play()", "a..b"):
        with pytest.raises(click.BadParameter, match="public method"):
            convert(params.METHOD, text)
