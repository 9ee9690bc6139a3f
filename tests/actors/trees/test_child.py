from __future__ import annotations

from typing import Any

import pytest

from understudy import Actor, InvalidOption, InvalidTask, UnencodableValue, child, task
from understudy.actors import values


@task(name="trees:work")
def work(source: str, *, fast: bool = False) -> None:
    """Do nothing."""


class Cart(Actor, name="trees:Cart"):
    def __init__(self, owner: str = "") -> None:
        self.owner = owner


def test_the_defaults_are_those_of_otp():
    spec = child("feed", work, "a.csv")
    assert (spec.restart, spec.shutdown, spec.ready, spec.start_timeout) == ("permanent", 5.0, False, 60.0)
    assert (spec.fresh, spec.significant) == (False, False)


def test_it_is_packed():
    packed = child("feed", work.options(priority=3), "a.csv", kwargs={"fast": True}, shutdown=None).pack()
    assert values.unpack(packed.pop("args")) == [["a.csv"], {"fast": True}]
    assert packed == {
        "id": "feed",
        "task": "trees:work",
        "options": {"priority": 3},
        "restart": "permanent",
        "shutdown": None,
        "ready": False,
        "start_timeout": 60.0,
        "fresh": False,
        "significant": False,
    }
    assert child("cart", Cart).pack()["args"] is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"restart": "always"}, "restart"),
        ({"shutdown": -1}, "shutdown"),
        ({"shutdown": "soon"}, "shutdown"),
        ({"start_timeout": 0}, "start_timeout"),
        ({"ready": 1}, "ready"),
        ({"fresh": None}, "fresh"),
        ({"significant": True}, "significant"),
    ],
)
def test_wrong_options_are_named_with_the_child(options: dict[str, Any], named: str):
    with pytest.raises(InvalidOption, match=f"'feed'.*{named}"):
        child("feed", work, "a.csv", **options)


@pytest.mark.parametrize("id", ["", "a/b", "a b", "x" * 101, None, 7])
def test_wrong_ids(id: Any):
    with pytest.raises(InvalidOption, match="the id of a child"):
        child(id, work, "a.csv")


def test_what_is_no_task():
    with pytest.raises(InvalidTask, match="'feed'"):
        child("feed", lambda: None)  # type: ignore[arg-type]
    with pytest.raises(InvalidTask, match="'feed'"):
        child("feed", task(lambda: None))


def test_wrong_arguments():
    with pytest.raises(TypeError, match="source"):
        child("feed", work)
    with pytest.raises(UnencodableValue, match="args"):
        child("feed", work, object()).pack()


def test_options_of_one_start():
    for copy in (work.options(key="k"), work.options(delay=5)):
        with pytest.raises(InvalidOption, match="'feed': key, delay and at"):
            child("feed", copy, "a.csv")


def test_an_actor_is_not_asked_whether_it_is_ready():
    with pytest.raises(InvalidOption, match="'cart'"):
        child("cart", Cart, ready=True)
