from __future__ import annotations

from typing import Any

import pytest

from understudy.actors.errors import InvalidOption
from understudy.actors.events.condition import check_where, holds

DATA = {"order": 7, "customer": {"id": 1, "name": "Ada", "vip": True}, "note": None, "price": 2.5}


@pytest.mark.parametrize(
    ("where", "data", "result"),
    [
        (None, DATA, True),
        ({}, None, True),
        ({"order": 7}, DATA, True),
        ({"order": 7.0}, DATA, True),
        ({"order": 8}, DATA, False),
        ({"order": "7"}, DATA, False),
        ({"order": 7, "customer.name": "Ada"}, DATA, True),
        ({"order": 7, "customer.name": "Bob"}, DATA, False),
        ({"customer.vip": True}, DATA, True),
        ({"customer.vip": 1}, DATA, False),
        ({"customer.id": True}, DATA, False),
        ({"note": None}, DATA, True),
        ({"absent": None}, DATA, False),
        ({"order.id": 7}, DATA, False),
        ({"order": 7}, None, False),
        ({"order": 7}, [7], False),
        ({"customer": "Ada"}, DATA, False),
    ],
)
def test_what_holds(where: Any, data: Any, result: bool):
    assert holds(check_where(where), data) is result


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("order", "mapping"),
        ([("a", 1)], "mapping"),
        ({str(n): n for n in range(17)}, "at most 16"),
        ({7: 1}, "path of names"),
        ({"": 1}, "path of names"),
        ({"a..b": 1}, "path of names"),
        ({"a": [1]}, r"where\['a'\] compares"),
        ({"a": b"x"}, "compares with text"),
        ({"a": "x" * 1001}, "at most 1,000 characters"),
    ],
)
def test_what_cannot_be_compared(where: Any, says: str):
    with pytest.raises(InvalidOption, match=says):
        check_where(where)


def test_the_limit_of_fields():
    assert len(check_where({str(n): n for n in range(16)})) == 16
