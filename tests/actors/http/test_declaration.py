"""`@http`: what it declares, and what it refuses at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from understudy import InvalidOption, InvalidTask, Request, Retry, github, http, stripe, task
from understudy.actors.http import declaration
from understudy.actors.http.declaration import HttpTrigger
from understudy.actors.task.declaration import registry


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    tasks, owners = dict(registry), dict(declaration._owners)
    declaration._owners.clear()
    yield
    registry.clear()
    registry.update(tasks)
    declaration._owners.clear()
    declaration._owners.update(owners)


def test_a_function_becomes_a_task_with_a_trigger():
    declare = http(
        "POST", "/hooks/github", verify=github("env:S"), ack=True, dedupe="X-GitHub-Delivery", retry=5
    )
    pushed = declare(_first)
    (trigger,) = pushed.declared()["triggers"]
    found = HttpTrigger.unpack(msgpack.unpackb(msgpack.packb(trigger)))
    assert (found.method, found.path, found.ack, found.dedupe) == (
        "POST",
        "/hooks/github",
        True,
        "x-github-delivery",
    )
    assert (found.verify, found.digest) == (github("env:S"), pushed.triggers[0].digest)
    assert pushed.options_in_force.retry == Retry(attempts=5)
    assert pushed.options_in_force.timeout == 300
    assert pushed(Request("POST", "/x")) == "/x"


def test_it_may_stand_above_a_task_and_several_times():
    several: Any = http("POST", "/a", auth="token", timeout=5)(task(timeout=10)(_first))
    http("GET", "/a", auth="none")(several)
    assert {(each.method, each.timeout) for each in several.triggers} == {("GET", 30.0), ("POST", 5.0)}
    assert several.options_in_force.timeout == 10
    assert several.options(name="another").triggers == ()


@pytest.mark.parametrize(
    ("place", "given"),
    [
        (("POST", "/a"), {}),
        (("post", "/a"), {"auth": "none"}),
        (("OPTIONS", "/a"), {"auth": "none"}),
        (("POST", "a"), {"auth": "none"}),
        (("POST", "/api/x"), {"auth": "none"}),
        (("GET", "/metrics"), {"auth": "none"}),
        (("POST", "/a"), {"auth": "basic"}),
        (("POST", "/a"), {"verify": "env:S"}),
        (("POST", "/a"), {"auth": "none", "ack": 1}),
        (("POST", "/a"), {"auth": "none", "timeout": 0}),
        (("POST", "/a"), {"auth": "none", "timeout": 3601}),
        (("POST", "/a"), {"auth": "none", "timeout": None}),
        (("POST", "/a"), {"auth": "none", "on_disconnect": "stop"}),
        (("POST", "/a"), {"auth": "none", "on_disconnect": "cancel", "ack": True}),
        (("POST", "/a"), {"auth": "none", "dedupe": ""}),
        (("POST", "/a"), {"auth": "token", "dedupe": "Authorization"}),
        (("POST", "/a"), {"verify": stripe("env:S"), "dedupe": "Stripe-Signature"}),
    ],
)
def test_what_is_wrong_is_refused_at_once(place: tuple[str, str], given: dict[str, Any]):
    with pytest.raises(InvalidOption):
        http(*place, **given)


def test_an_unknown_option_is_refused():
    with pytest.raises(InvalidOption, match="retries"):
        http("POST", "/a", auth="none", retries=5)(_first)


def test_a_handler_takes_one_request():
    bodies: list[Any] = [_none, _two, _keyword]
    for body in bodies:
        with pytest.raises(InvalidTask, match="one argument"):
            http("POST", "/a", auth="none")(body)


def test_two_triggers_cannot_have_one_place():
    http("POST", "/a/{x}", auth="none")(task(name="first")(_first))
    with pytest.raises(InvalidTask, match=r"two triggers have POST /a/\{y\}"):
        http("POST", "/a/{y}", auth="none")(task(name="second")(_second))
    http("GET", "/a/{y}", auth="none")(task(name="second")(_second))
    http("POST", "/a/b", auth="none")(task(name="second")(_second))


def test_one_task_cannot_declare_a_place_in_two_ways():
    declared = task(name="first")(_first)
    http("POST", "/a", auth="none")(declared)
    http("POST", "/a", auth="none")(declared)
    assert len(declared.triggers) == 1
    with pytest.raises(InvalidTask):
        http("POST", "/a", auth="token")(declared)


def test_the_digest_tells_definitions_apart():
    ways: list[dict[str, Any]] = [
        {"auth": "none"}, {"auth": "token"}, {"verify": github("env:A")}, {"verify": github("env:B")},
    ]  # fmt: skip
    assert len({HttpTrigger("POST", "/a", **way).digest for way in ways}) == len(ways)


def _first(request: Request) -> str:
    return request.path


def _none() -> None: ...


def _two(request: Request, more: int) -> None: ...


def _keyword(*, request: Request) -> None: ...


def _second(request: Request) -> None: ...
