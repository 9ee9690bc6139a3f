from __future__ import annotations

from typing import Any

import pytest

from understudy import InvalidOption, Retry, Supervisor, child, task


@task(name="trees:idle")
def idle() -> None:
    """Do nothing."""


def test_the_defaults_are_those_of_otp():
    tree = Supervisor("shop", children=[])
    assert (tree.strategy, tree.intensity, tree.period) == ("one_for_one", 3, 5.0)
    assert (tree.auto_shutdown, tree.backoff, tree.depth) == ("never", None, 1)


def test_it_is_packed_with_all_that_is_in_it():
    tree = Supervisor(
        "shop",
        strategy="rest_for_one",
        backoff=Retry(1, delay=0.5),
        children=[child("a", idle), Supervisor("w", children=[child("b", idle)], restart="transient")],
    )
    packed = tree.pack()
    assert (packed["id"], packed["strategy"], packed["restart"]) == ("shop", "rest_for_one", "permanent")
    assert Retry.unpack(packed["backoff"]).delay == 0.5
    first, second = packed["children"]
    assert first["task"] == "trees:idle"
    assert (second["id"], second["restart"], [each["id"] for each in second["children"]]) == (
        "w",
        "transient",
        ["b"],
    )
    assert tree.depth == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"strategy": "all_for_one"}, "strategy"),
        ({"intensity": -1}, "intensity"),
        ({"intensity": 1.5}, "intensity"),
        ({"period": 0}, "period"),
        ({"auto_shutdown": "always"}, "auto_shutdown"),
        ({"backoff": 3}, "backoff"),
        ({"restart": "never"}, "restart"),
        ({"significant": True}, "significant"),
    ],
)
def test_wrong_options_are_named_with_the_tree(options: dict[str, Any], named: str):
    with pytest.raises(InvalidOption, match=f"'shop'.*{named}"):
        Supervisor("shop", children=[], **options)


def test_children_are_specs_with_ids_of_their_own():
    with pytest.raises(InvalidOption, match="'shop': two children have the id 'a'"):
        Supervisor("shop", children=[child("a", idle), Supervisor("a", children=[])])
    with pytest.raises(InvalidOption, match=r"'shop': children are made by child\(…\)"):
        Supervisor("shop", children=[idle])  # type: ignore[list-item]


def test_significant_needs_auto_shutdown():
    one = child("a", idle, restart="transient", significant=True)
    with pytest.raises(InvalidOption, match="'shop': child 'a' is significant"):
        Supervisor("shop", children=[one])
    Supervisor("shop", children=[one], auto_shutdown="any_significant")


def test_how_deep_they_may_be_nested():
    tree = Supervisor("t", children=[])
    for _ in range(15):
        tree = Supervisor("t", children=[tree])
    with pytest.raises(InvalidOption, match="at most 16"):
        Supervisor("t", children=[tree])
