"""Actor classes of the tests that are Pykka's suite anew, with real processes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import understudy
from understudy import Actor, ActorRef, read_only, traversable


@dataclass
class Track:
    title: str
    seconds: int


class Broken(Exception):
    """Takes something else than it passes on, and has data of its own."""

    def __init__(self, part: str, code: int) -> None:
        super().__init__(f"{part} is broken")
        self.code = code


class Playback:
    volume = 3

    def louder(self, by: int) -> int:
        self.volume += by
        return self.volume


class Recorder(Actor, durable=True):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_receive(self, message: Any) -> None:
        self.told.append(message)


class Player(Actor):
    transient = ("part",)
    speed = 1.0
    marked = traversable(Playback())
    unmarked = Playback()

    def __init__(self, recorder: ActorRef[Recorder], track: str = "first") -> None:
        self.recorder = recorder
        self.track = track
        self.got: list[Any] = []
        self._title = "title"

    def on_start(self) -> None:
        self.part = traversable(Playback())
        self.recorder.tell(["on_start", self.actor_urn])

    def on_stop(self) -> str:
        self.recorder.tell(["on_stop", self.actor_urn])
        return "stopped"

    def on_failure(self, kind: Any, value: Any, traceback: Any) -> None:
        self.recorder.tell(["on_failure", kind.__name__, str(value), traceback is not None])

    def on_receive(self, message: Any) -> Any:
        if message == "ping":
            return "pong"
        if message == "fail":
            raise Broken("needle", 7)
        self.got.append(message)
        return None

    @property
    def title(self) -> str:
        return self._title

    @title.setter
    def title(self, title: str) -> None:
        self._title = title

    @property
    def fixed(self) -> str:
        return "fixed"

    def play(self, seconds: int, *, twice: bool = False) -> int:
        return seconds * (2 if twice else 1)

    def longer(self, track: Track) -> Track:
        return Track(track.title, track.seconds + 1)

    def fail(self) -> None:
        self.track = "changed before the failure"
        raise Broken("needle", 7)

    def skip(self) -> None:
        self.track = "second"

    @read_only
    def peek(self) -> str:
        return self.track

    @read_only
    def poke(self) -> None:
        self.track = "poked"

    def wait(self, path: str) -> None:
        """Until the file is there."""
        while not Path(path).exists():
            time.sleep(0.005)

    def urns(self) -> list[str]:
        return [self.actor_urn, self.actor_ref.actor_urn]

    def through_itself(self) -> None:
        self.actor_ref.proxy().skip()

    def stop_itself(self) -> None:
        self.stop()

    def ask_itself(self) -> Any:
        return self.actor_ref.call(Player.peek)

    def play_at(self, other: ActorRef[Player], seconds: int) -> int:
        return other.call(Player.play, seconds)

    def ask_back(self, other: ActorRef[Player]) -> Any:
        return other.call(Player.play_at, self.actor_ref, 1)

    def blocks(self) -> Any:
        return understudy.receive()


class DurablePlayer(Player, durable=True):
    pass


class AsyncPlayer(Actor, durable=True):
    """One whose methods are coroutine functions."""

    def __init__(self) -> None:
        self.played = 0

    async def play(self, seconds: int) -> int:
        self.played += seconds
        return self.played

    async def play_at(self, other: ActorRef[Any], seconds: int) -> list[Any]:
        return [
            await other.submit("play", seconds),
            await other.ask("ping", block=False),
            await other.proxy().peek(),
        ]

    async def block(self, other: ActorRef[Any]) -> Any:
        return other.ask("ping")


class Overdue(Exception):
    pass


class Unbuildable(Actor, durable=True):
    def __init__(self) -> None:
        raise Overdue("not today")
