"""Pykka's suite of references, proxies, futures, registry, stop and hooks anew, with real processes.

The same behaviour is tested in tests/actors/refs with a port that runs actors on threads. What cannot hold across
processes is in docs/from-pykka.md.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pykka
import pytest

from player_actors import AsyncPlayer, Broken, DurablePlayer, Player, Recorder, Track, Unbuildable
from theatre import PATIENCE
from understudy import (
    ActivationFailed,
    ActorDeadError,
    ActorRef,
    ActorRegistry,
    AskTimeout,
    Deadlock,
    NotInTask,
    ReadOnly,
    RemoteError,
    Runtime,
    UnencodableValue,
    get_all,
)
from waiting import until

CLASSES = [Player, DurablePlayer]


@pytest.fixture(scope="module")
def rt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home = tmp_path_factory.mktemp("h") / "home"
    with Runtime(home, app="player_actors", workers=2, durability="os", drain=1.0) as runtime:
        yield runtime


@pytest.fixture(autouse=True)
def leaves_no_process() -> None:
    """Not after each test: they share a supervisor."""


@pytest.fixture
def recorder(rt: Runtime) -> ActorRef[Recorder]:
    return Recorder.start()


@pytest.fixture(params=CLASSES, ids=lambda cls: cls.__name__)
def ref(
    rt: Runtime, recorder: ActorRef[Recorder], request: pytest.FixtureRequest
) -> Iterator[ActorRef[Player]]:
    made: ActorRef[Player] = request.param.start(recorder)
    yield made.options(timeout=PATIENCE)
    made.stop(timeout=PATIENCE)


def told(recorder: ActorRef[Recorder]) -> list[Any]:
    """What it was told, but not of starts."""
    return [each for each in recorder.proxy().told.get(timeout=PATIENCE) if each[0] != "on_start"]


# --- references ---


def test_messages(ref: ActorRef[Player]) -> None:
    assert ref.ask("ping") == "pong"
    assert ref.ask("ping", block=False).get() == "pong"
    for message in (123, 1.5, {"a": "dict"}, ["a"], None):
        assert ref.tell(message) is None
    assert ref.tell("last", block=False).get() is None
    assert ref.proxy().got.get() == [123, 1.5, {"a": "dict"}, ["a"], None, "last"]


def test_calls(ref: ActorRef[Player]) -> None:
    assert ref.call(Player.play, 3, twice=True) == 6
    assert get_all([ref.submit(Player.play, n) for n in range(20)], timeout=PATIENCE) == list(range(20))
    assert ref.cast(Player.skip) is None
    assert ref.call("peek") == "second"
    assert ref.call(Player.longer, Track("a", 1)) == Track("a", 2)
    assert ref.call(Player.urns) == [ref.actor_urn] * 2


def test_errors_have_their_own_class(ref: ActorRef[Player]) -> None:
    for use in (lambda: ref.ask("fail"), lambda: ref.call(Player.fail), ref.submit(Player.fail).get):
        with pytest.raises(Broken, match=r"^needle is broken$") as caught:
            use()
        error: Any = caught.value
        assert isinstance(error, RemoteError)
        assert (error.code, error.error.type) == (7, "Broken")
        assert "player_actors.py" in error.traceback
    assert ref.is_alive()


def test_a_timeout_leaves_the_message_where_it_is(ref: ActorRef[Player], tmp_path: Path) -> None:
    ref.cast(Player.wait, str(tmp_path / "go on"))
    ask = ref.submit(Player.play, 3)
    with pytest.raises(pykka.Timeout):
        ask.get(timeout=0)
    with pytest.raises(AskTimeout):
        ref.ask("later", timeout=0)
    (tmp_path / "go on").touch()
    assert ask.get() == 3
    assert ref.proxy().got.get() == ["later"]


def test_a_stopped_actor_is_dead(ref: ActorRef[Player], recorder: ActorRef[Recorder]) -> None:
    before = [ref.submit(Player.play, n) for n in range(3)]
    assert ref.stop() is True
    assert get_all(before) == [0, 1, 2]
    assert not ref.is_alive()
    assert ref.status().ended_already
    assert ref.stop() is False
    for use in (lambda: ref.tell("x"), lambda: ref.ask("ping"), lambda: ref.call(Player.play, 1), ref.proxy):
        with pytest.raises(pykka.ActorDeadError) as caught:
            use()
        assert isinstance(caught.value, ActorDeadError)
    assert told(recorder) == [["on_stop", ref.actor_urn]]


def test_an_actor_stops_itself(ref: ActorRef[Player], recorder: ActorRef[Recorder]) -> None:
    ref.call(Player.stop_itself)
    until(lambda: not ref.is_alive())
    until(lambda: told(recorder) == [["on_stop", ref.actor_urn]])


def test_the_value_of_on_stop_is_the_result(ref: ActorRef[Player], rt: Runtime) -> None:
    assert ref.stop()
    assert rt.result(ref.id, timeout=PATIENCE) == "stopped"


def test_a_reference_is_a_value(ref: ActorRef[Player]) -> None:
    other = Player.start(Recorder.start())
    assert ref.call(Player.play_at, other, 3) == 3
    ref.tell({"other": other})
    assert ref.proxy().got.get() == [{"other": other}]
    other.stop()


def test_what_is_no_value_is_refused(ref: ActorRef[Player]) -> None:
    with pytest.raises(UnencodableValue):
        ref.tell(Exception("an exception"))
    with pytest.raises(UnencodableValue):
        ref.call("play", object())
    with pytest.raises(TypeError, match=r"^play\("):
        ref.call("play")


# --- hooks ---


def test_on_start_runs_before_the_first_message(ref: ActorRef[Player], recorder: ActorRef[Recorder]) -> None:
    ref.ask("ping")
    until(lambda: recorder.proxy().told.get() == [["on_start", ref.actor_urn]])


def test_a_failed_message_without_an_answer(
    ref: ActorRef[Player], recorder: ActorRef[Recorder], rt: Runtime
) -> None:
    ref.proxy().fail.defer()
    until(lambda: told(recorder)[:1] == [["on_failure", "Broken", "needle is broken", True]])
    if ref.class_name.endswith(":Player"):
        until(lambda: not ref.is_alive())
    else:
        assert ref.call(Player.peek) == "first", "rolled back"
        (dead,) = rt.dead_letters(ref)
        assert dead.error.type == "Broken"


def test_a_failed_ask_is_rolled_back_if_there_is_state_on_disk(ref: ActorRef[Player]) -> None:
    with pytest.raises(Broken):
        ref.call(Player.fail)
    durable = ref.class_name.endswith("DurablePlayer")
    assert ref.call(Player.peek) == ("first" if durable else "changed before the failure")


def test_an_actor_that_cannot_be_built(rt: Runtime) -> None:
    ref = Unbuildable.start()
    with pytest.raises(ActivationFailed, match="not today") as caught:
        ref.ask("ping", timeout=PATIENCE)
    assert caught.value.error is not None
    assert caught.value.error.type == "Overdue"
    rt.cancel(ref.id)


# --- proxies ---


def test_attributes(ref: ActorRef[Player]) -> None:
    proxy = ref.proxy()
    assert (proxy.track.get(), proxy.speed.get(), proxy.title.get()) == ("first", 1.0, "title")
    proxy.track, proxy.title = "second", "another"
    assert (proxy.track.get(), proxy.title.get()) == ("second", "another")
    with pytest.raises(AttributeError):
        proxy.fixed = "x"
    with pytest.raises(AttributeError):
        proxy.missing.get()
    with pytest.raises(AttributeError):
        _ = proxy._title


def test_methods(ref: ActorRef[Player]) -> None:
    proxy = ref.proxy()
    before = proxy.track
    assert proxy.skip().get() is None
    assert (before.get(), proxy.track.get()) == ("first", "second")
    assert proxy.play(3, twice=True).map(lambda n: n + 1).get() == 7
    with pytest.raises(AttributeError):
        proxy.missing().get()
    proxy.through_itself().get()
    assert proxy.track.get() == "second"


def test_traversable_parts(ref: ActorRef[Player]) -> None:
    proxy = ref.proxy()
    assert (proxy.marked.volume.get(), proxy.part.volume.get()) == (3, 3)
    assert proxy.part.louder(2).get() == 5
    with pytest.raises(AttributeError):
        _ = proxy.unmarked.volume


# --- in methods ---


def test_circles_are_refused_at_once(ref: ActorRef[Player]) -> None:
    other = DurablePlayer.start(Recorder.start())
    with pytest.raises(Deadlock):
        ref.call(Player.ask_back, other)
    with pytest.raises(Deadlock):
        ref.call(Player.play_at, ref, 1)
    assert ref.call(Player.ask_itself) == "first", "read-only methods run meanwhile"
    other.stop()


def test_read_only_methods_set_nothing(ref: ActorRef[Player]) -> None:
    with pytest.raises(ReadOnly):
        ref.call(Player.poke)
    assert ref.call(Player.peek) == "first"


def test_tasks_own_functions_are_refused(ref: ActorRef[Player]) -> None:
    with pytest.raises(NotInTask, match="This is an actor"):
        ref.call(Player.blocks)


def test_async_actors(ref: ActorRef[Player]) -> None:
    actor = AsyncPlayer.start().options(timeout=PATIENCE)
    assert [actor.call(AsyncPlayer.play, n) for n in (1, 2)] == [1, 3]
    assert actor.call(AsyncPlayer.play_at, ref, 3) == [3, "pong", "first"]
    with pytest.raises(NotInTask, match=r"await ref\.submit"):
        actor.call(AsyncPlayer.block, ref)
    actor.stop()


def test_futures_are_awaited(ref: ActorRef[Player]) -> None:
    async def program() -> list[Any]:
        return [
            await ref.submit(Player.play, 3),
            *await asyncio.gather(*(ref.proxy().play(n) for n in range(5))),
            await ref.tell("x", block=False),
            await ref.stop(block=False),
        ]

    assert asyncio.run(program()) == [3, 0, 1, 2, 3, 4, None, True]


# --- the registry ---


def test_the_registry(rt: Runtime, recorder: ActorRef[Recorder]) -> None:
    ActorRegistry.stop_all(timeout=PATIENCE)
    heard = Recorder.start()
    refs: list[ActorRef[Any]] = [cls.start(heard) for cls in (Player, DurablePlayer, Player)]
    assert ActorRegistry.get_all() == [heard, *refs]
    assert ActorRegistry.get_by_class(Player) == refs
    assert ActorRegistry.get_by_class_name("Player") == [refs[0], refs[2]]
    assert ActorRegistry.get_by_urn(refs[1].actor_urn) == refs[1]
    ActorRegistry.broadcast("all", Player)
    assert [ref.proxy().got.get(timeout=PATIENCE) for ref in refs] == [["all"]] * 3
    assert ActorRegistry.stop_all(timeout=PATIENCE) == [True] * 4
    assert ActorRegistry.get_all() == []
    assert ActorRegistry.get_by_urn(refs[1].actor_urn) is None


# --- names ---


def test_one_name_is_one_actor(rt: Runtime, recorder: ActorRef[Recorder]) -> None:
    found: list[ActorRef[DurablePlayer]] = []

    def get() -> None:
        found.append(rt.actor(DurablePlayer, "the one", recorder))

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(found) == 8
    assert len(set(found)) == 1
    assert rt.lookup(DurablePlayer, "the one") == found[0]
    assert found[0].stop(timeout=PATIENCE)
    assert rt.lookup(DurablePlayer, "the one") is None
    assert rt.actor(DurablePlayer, "the one", recorder) != found[0]


def test_state_outlives_the_supervisor(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for expected in ("first", "second"):
        with Runtime(home, app="player_actors", workers=1, drain=1.0) as rt:
            ref = rt.actor(DurablePlayer, "ada", rt.actor(Recorder, "r")).options(timeout=PATIENCE)
            assert ref.call(Player.peek) == expected
            assert ref.options(key="skip").call(Player.skip) is None
