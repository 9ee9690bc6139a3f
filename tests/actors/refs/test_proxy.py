"""Proxies, as Pykka has them: attributes, methods, what can be traversed, and a proxy of the actor to itself."""

from __future__ import annotations

import functools
import pickle
from typing import Any

import pykka
import pytest

from fake_port import PATIENCE, FakePort
from understudy import Actor, ActorProxy, ActorRef, traversable
from understudy.actors.errors import RemoteError
from understudy.actors.ids import new_id


class Unmarked:
    inner = "unmarked"


@traversable
class Marked:
    inner = "marked"

    def play(self, n: int) -> int:
        return n + 1


class MarkedByAttribute:
    pykka_traversable = True
    inner = "by attribute"


class MarkedWithSlots:
    __slots__ = ("inner", "pykka_traversable")

    def __init__(self) -> None:
        self.pykka_traversable = True
        self.inner = "with slots"


class Player(Actor):
    volume = 3
    unmarked = Unmarked()
    marked_object = traversable(Unmarked())
    marked_by_pykka = pykka.traversable(Unmarked())
    marked = Marked()
    by_attribute = MarkedByAttribute()
    with_slots = MarkedWithSlots()
    _private = "secret"

    def __init__(self) -> None:
        self.track = "first"
        self.part = Marked()
        self._title = "title"
        self.failures: list[str] = []

    def play(self, n: int) -> int:
        return n + self.volume

    @classmethod
    def kind(cls) -> str:
        return cls.__name__

    @property
    def expensive(self) -> str:
        return "property"

    @property
    def title(self) -> str:
        return self._title

    @title.setter
    def title(self, title: str) -> None:
        self._title = title

    @functools.cached_property
    def cached(self) -> str:
        return "cached"

    @property
    def made(self) -> Any:
        return Marked()

    def fail(self) -> None:
        raise ValueError("boom")

    def add_method(self, name: str) -> None:
        setattr(self, name, lambda: f"returned by {name}")

    def through_itself(self) -> None:
        self.actor_ref.proxy().set_later("by itself")

    def set_later(self, track: str) -> None:
        self.track = track

    def on_failure(self, kind: Any, value: Any, traceback: Any) -> None:
        FAILED.append(str(value))


FAILED: list[str] = []


@pytest.fixture
def proxy(port: FakePort) -> ActorProxy[Player]:
    return Player.start().proxy()


def test_what_a_proxy_is(proxy: ActorProxy[Player]) -> None:
    assert repr(proxy) == f"<ActorProxy for {proxy.actor_ref}, attr_path=()>"
    assert proxy == proxy.actor_ref.proxy() == ActorProxy(actor_ref=proxy.actor_ref)
    assert hash(proxy) == hash(proxy.actor_ref.proxy())
    assert proxy != Player.start().proxy()
    assert proxy != proxy.marked
    assert proxy != "something else"
    assert {"volume", "play", "actor_ref", "__class__", "title"} <= set(dir(proxy))
    assert "_private" not in dir(proxy)
    assert "inner" in dir(proxy.marked)


def test_it_is_no_value(proxy: ActorProxy[Player]) -> None:
    with pytest.raises(TypeError, match="pass its actor_ref on"):
        pickle.dumps(proxy)


def test_there_is_none_of_a_dead_actor(port: FakePort) -> None:
    ref = Player.start()
    proxy = ref.proxy()
    ref.stop()
    with pytest.raises(pykka.ActorDeadError, match="not found"):
        ActorProxy(ref)
    assert not proxy.actor_ref.is_alive()
    with pytest.raises(pykka.ActorDeadError):
        proxy.volume.get()


# --- attributes ---


def test_attributes_are_read_and_set(proxy: ActorProxy[Player]) -> None:
    assert (proxy.volume.get(), proxy.track.get()) == (3, "first")
    proxy.volume = 4
    proxy.track = "second"
    assert (proxy.volume.get(), proxy.track.get()) == (4, "second")


def test_an_attribute_is_read_when_it_is_named(proxy: ActorProxy[Player]) -> None:
    before = proxy.track
    proxy.set_later("second")
    assert (before.get(), proxy.track.get()) == ("first", "second")


def test_properties_are_read_and_set(proxy: ActorProxy[Player]) -> None:
    assert (proxy.title.get(), proxy.expensive.get(), proxy.cached.get()) == ("title", "property", "cached")
    proxy.title = "another"
    assert proxy.title.get() == "another"
    with pytest.raises(AttributeError):
        proxy.expensive = "x"


def test_private_attributes_are_not_there(proxy: ActorProxy[Player], port: FakePort) -> None:
    for use in (
        lambda: proxy._private,
        lambda: proxy.marked._private,
        lambda: proxy.part._private,
        lambda: setattr(proxy, "_private", 1),
        lambda: setattr(proxy, "actor_ref", 1),
    ):
        with pytest.raises(AttributeError, match=r"has no attribute '_private'|cannot be set"):
            use()
    assert {letter.path for _, letter in port.letters} <= {"part"}


def test_a_missing_attribute_is_an_error_of_its_future(proxy: ActorProxy[Player]) -> None:
    missing = proxy.missing
    with pytest.raises(AttributeError, match="has no attribute 'missing'") as caught:
        missing.get()
    assert isinstance(caught.value, RemoteError)


# --- methods ---


def test_methods_give_futures(proxy: ActorProxy[Player]) -> None:
    assert proxy.play(1).get(timeout=PATIENCE) == 4
    assert proxy.play(n=1).get() == 4
    assert proxy.kind().get() == "Player"
    assert repr(proxy.play) == f"<CallableProxy for {proxy.actor_ref}, attr_path=('play',)>"


def test_deferred_calls_give_nothing(proxy: ActorProxy[Player]) -> None:
    assert proxy.set_later.defer("second") is None
    assert proxy.track.get() == "second"


def test_an_error_is_raised_by_the_future(proxy: ActorProxy[Player]) -> None:
    future = proxy.fail()
    with pytest.raises(ValueError, match="boom"):
        future.get()
    assert proxy.actor_ref.is_alive()


def test_an_error_of_a_deferred_call_goes_to_on_failure(proxy: ActorProxy[Player]) -> None:
    FAILED.clear()
    proxy.fail.defer()
    assert proxy.actor_ref.stop() is False, "it has died of it: it is not durable"
    assert FAILED == ["boom"]


def test_an_unknown_method_is_an_error_of_its_future(proxy: ActorProxy[Player]) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'missing'"):
        proxy.missing().get()


def test_a_method_that_the_object_got_later(proxy: ActorProxy[Player]) -> None:
    proxy.add_method("foo").get()
    assert proxy.foo().get() == "returned by foo"
    assert proxy.foo.defer() is None


def test_a_proxy_of_the_actor_to_itself(proxy: ActorProxy[Player]) -> None:
    proxy.through_itself().get()
    assert proxy.track.get() == "by itself"


def test_a_method_of_pykka_stops_it(proxy: ActorProxy[Player]) -> None:
    proxy.stop().get()
    assert proxy.actor_ref.stop() is False


# --- what can be traversed ---


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("marked_object", "unmarked"),
        ("marked_by_pykka", "unmarked"),
        ("marked", "marked"),
        ("by_attribute", "by attribute"),
        ("with_slots", "with slots"),
        ("part", "marked"),
    ],
)
def test_marked_attributes_are_traversed(proxy: ActorProxy[Player], name: str, inner: str) -> None:
    assert getattr(proxy, name).inner.get() == inner


def test_methods_of_marked_attributes_are_called(proxy: ActorProxy[Player]) -> None:
    assert (proxy.marked.play(1).get(), proxy.part.play(1).get()) == (2, 2)
    proxy.marked.play.defer(1)


def test_an_attribute_of_a_part_that_only_the_object_has_is_set(proxy: ActorProxy[Player]) -> None:
    proxy.part.inner = "new"
    assert proxy.part.inner.get() == "new"
    with pytest.raises(AttributeError, match="not traversable"):
        proxy.track.inner = "new"


def test_other_attributes_are_not_traversed(proxy: ActorProxy[Player]) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'inner'"):
        proxy.unmarked.inner  # noqa: B018
    with pytest.raises(AttributeError, match="not traversable"):
        proxy.track.inner.get()


def test_what_a_property_gives_is_not_traversed(proxy: ActorProxy[Player]) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'inner'"):
        proxy.made.inner  # noqa: B018


def test_objects_with_slots_cannot_be_marked() -> None:
    with pytest.raises(ValueError, match="cannot be used to mark an object using slots"):
        traversable(MarkedWithSlots())


def test_without_the_class_everything_is_asked(port: FakePort) -> None:
    known = Player.start()
    proxy: Any = ActorProxy(ActorRef(known.id_bytes, "no.such:Class"))
    assert (proxy.volume.get(), proxy.play(1).get(), proxy.marked.inner.get()) == (3, 4, "marked")
    assert "actor_ref" in dir(proxy)
    with pytest.raises(pykka.ActorDeadError):
        ActorProxy(ActorRef(new_id(), "no.such:Class"))
