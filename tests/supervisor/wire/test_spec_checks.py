from __future__ import annotations

from typing import Any

import pytest

from understudy import InvalidOption, InvalidValue, Retry, Supervisor, child, task
from understudy.supervisor.wire.spec_checks import check_spec


@task(name="specs:idle")
def idle(n: int = 0) -> None:
    """Do nothing."""


def tree() -> dict[str, Any]:
    inner = Supervisor("in", children=[child("x", idle, 1, shutdown=None)], backoff=Retry(1))
    return Supervisor("shop", children=[child("a", idle), inner]).pack()


def test_what_programs_send():
    check_spec(tree())
    check_spec(child("a", idle, 1).pack())


@pytest.mark.parametrize("packed", [None, 7, [], {}, {"id": "a"}, "shop"])
def test_other_things(packed: Any):
    with pytest.raises(InvalidValue):
        check_spec(packed)


#: Fields with another value of a type that they may have.
NULLABLE = {"args", "options", "shutdown", "backoff"}


@pytest.mark.parametrize("wrong", [None, -7.5, "", {1: 2}], ids=["none", "number", "text", "map"])
def test_each_wrong_field(wrong: Any):
    leaf, inner = tree()["children"]
    for sound in (tree(), leaf, inner):
        for field in sound:
            if (wrong is None and field in NULLABLE) or (isinstance(wrong, dict) and field == "options"):
                continue
            if (field, wrong) == ("task", ""):
                continue  # It is looked up among the declared ones.
            with pytest.raises((InvalidValue, InvalidOption)):
                check_spec({**sound, field: wrong})


def test_two_of_one_id():
    packed = tree()
    packed["children"][1]["id"] = "a"
    with pytest.raises(InvalidValue, match="same id"):
        check_spec(packed)
