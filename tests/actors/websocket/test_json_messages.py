from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from understudy.actors.errors import UnencodableValue
from understudy.actors.websocket.json_messages import decode, encode

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(JSON) | st.dictionaries(st.text(), JSON) | st.text() | st.binary())
def test_what_is_encoded_is_decoded(value: Any) -> None:
    try:
        payload, text = encode(value)
    except UnencodableValue:
        assert "\\ud" in ascii(value)  # a lone surrogate
        return
    expected = value
    if isinstance(value, str):
        # A text that looks like an object or a list is one, whoever has sent it.
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = None
        expected = parsed if isinstance(parsed, dict | list) else value
    assert decode(payload.decode() if text else payload) == expected


@pytest.mark.parametrize("text", ["null", "1", '"x"', "true", " 1", "{", "[1", "[" * 100_000, "{}x", "", " "])
def test_text_that_is_no_object_stays_text(text: str) -> None:
    assert decode(text) == text


def test_blanks_around_an_object() -> None:
    assert decode(' \n{"a": [1]}\n') == {"a": [1]}


def test_a_value_in_itself() -> None:
    value: list[Any] = [1]
    value.append({"x": value})
    with pytest.raises(UnencodableValue) as caught:
        encode(value)
    assert caught.value.path == "data[1]['x']"


def test_a_value_too_deep() -> None:
    value: list[Any] = []
    for _ in range(10_000):
        value = [value]
    with pytest.raises(UnencodableValue):
        encode(value)
