"""The registry, as Pykka has it."""

from __future__ import annotations

from typing import Any

import pytest

from fake_port import PATIENCE, FakePort
from understudy import Actor, ActorRef, ActorRegistry
from understudy.actors.errors import NoRuntime

STOPPED: list[str] = []


class Base(Actor):
    def __init__(self) -> None:
        self.got: list[Any] = []

    def on_receive(self, message: Any) -> None:
        self.got.append(message)

    def on_stop(self) -> None:
        STOPPED.append(self.actor_urn)


class BeeBase(Base):
    pass


class Other(Base):
    pass


def got(ref: ActorRef[Any]) -> Any:
    return ref.proxy().got.get(timeout=PATIENCE)


@pytest.fixture
def refs(port: FakePort) -> list[ActorRef[Any]]:
    STOPPED.clear()
    return [cls.start() for cls in (Base, Other, BeeBase, Base)]


def test_actors_are_there_while_they_live(refs: list[ActorRef[Any]]) -> None:
    assert ActorRegistry.get_all() == refs
    refs[0].stop()
    assert ActorRegistry.get_all() == refs[1:]


def test_by_class(refs: list[ActorRef[Any]]) -> None:
    assert ActorRegistry.get_by_class(Other) == [refs[1]]
    assert ActorRegistry.get_by_class(Base) == refs, "derived ones as well, in the order of their start"
    assert ActorRegistry.get_by_class(Actor) == refs


def test_by_the_name_of_the_class(refs: list[ActorRef[Any]]) -> None:
    assert ActorRegistry.get_by_class_name("Base") == [refs[0], refs[3]]
    assert ActorRegistry.get_by_class_name("Nobody") == []


def test_by_urn(refs: list[ActorRef[Any]]) -> None:
    assert ActorRegistry.get_by_urn(refs[1].actor_urn) == refs[1]
    refs[1].stop()
    for urn in (refs[1].actor_urn, "urn:foo:bar", ""):
        assert ActorRegistry.get_by_urn(urn) is None


def test_broadcast(refs: list[ActorRef[Any]]) -> None:
    ActorRegistry.broadcast("all")
    ActorRegistry.broadcast("by class", BeeBase)
    ActorRegistry.broadcast("by name", "Base")
    assert [got(ref) for ref in refs] == [
        ["all", "by name"],
        ["all"],
        ["all", "by class"],
        ["all", "by name"],
    ]


def test_broadcast_leaves_out_who_dies_meanwhile(
    refs: list[ActorRef[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    refs[0].stop()
    monkeypatch.setattr(ActorRegistry, "get_all", lambda: refs)
    ActorRegistry.broadcast("all")
    assert [got(ref) for ref in refs[1:]] == [["all"]] * 3


def test_stop_all_stops_the_last_started_first(refs: list[ActorRef[Any]]) -> None:
    assert ActorRegistry.stop_all() == [True] * 4
    assert [ref.actor_urn for ref in reversed(refs)] == STOPPED
    assert ActorRegistry.get_all() == []
    assert ActorRegistry.stop_all() == []


def test_stop_all_can_give_futures(refs: list[ActorRef[Any]]) -> None:
    assert [future.get(timeout=PATIENCE) for future in ActorRegistry.stop_all(block=False)] == [True] * 4


def test_without_a_runtime_it_says_so() -> None:
    with pytest.raises(NoRuntime):
        ActorRegistry.get_all()
