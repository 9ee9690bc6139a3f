"""Following a container of an engine that can be made to fail; with a real one in the scenarios."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from understudy import EngineAbsent, EngineError
from understudy.supervisor.boxes import follower as follower_module
from understudy.supervisor.boxes.docker_engine import Missing
from understudy.supervisor.boxes.follower import Follower
from understudy.supervisor.boxes.output import Line
from waiting import until

ENTRIES = [(1 + n % 2, b"2030-01-01T00:00:%02d.0Z line %d\n" % (n, n)) for n in range(6)]
ENTRIES.append((1, b"2030-01-01T00:00:30.0Z no end"))
TEXTS = [*(f"line {n}" for n in range(6)), "no end"]


class Logs:
    """Entries, and then a wait until it is closed or the container's end."""

    def __init__(self, entries: list[tuple[int, bytes]], end: threading.Event) -> None:
        self._entries = entries
        self._end = end
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        yield from self._entries
        while not self._end.wait(0.002) and not self.closed.is_set():
            pass

    def close(self) -> None:
        self.closed.set()


class Container:
    """What an engine tells of one container. `reads` says how many entries each reading gets before it breaks off."""

    def __init__(self, *reads: int) -> None:
        self.reads = list(reads)
        self.end = threading.Event()
        self.absent: Callable[[], BaseException | None] = lambda: None
        self.opened = 0

    def _there(self) -> None:
        if (error := self.absent()) is not None:
            raise error

    def logs(self, _id: str) -> Logs:
        self._there()
        self.opened += 1
        if self.reads:
            broken = threading.Event()
            broken.set()
            return Logs(ENTRIES[: self.reads.pop(0)], broken)
        return Logs(ENTRIES, self.end)

    def wait(self, _id: str, _seconds: float) -> bool:
        self._there()
        return self.end.is_set()

    def inspect(self, _id: str) -> dict[str, Any]:
        return {"State": {"ExitCode": 3}}


def followed(container: Container, **seen: float) -> tuple[Follower, list[Line], threading.Event]:
    lines: list[Line] = []
    over = threading.Event()
    return Follower(cast("Any", container), "id", seen, lines.append, over.set), lines, over


def test_to_the_end():
    container = Container()
    follower, lines, over = followed(container)
    until(lambda: len(lines) == 6)
    assert not follower.done
    container.end.set()
    assert over.wait(10)
    assert follower.state == {"ExitCode": 3}
    assert [line.text for line in lines] == TEXTS
    follower.close()


def test_a_connection_that_breaks_off_costs_no_line_and_doubles_none():
    container = Container(3, 1, 0, 6)
    follower, lines, over = followed(container)
    container.end.wait(0)
    until(lambda: container.opened == 5)
    container.end.set()
    assert over.wait(10)
    assert [line.text for line in lines] == TEXTS
    assert follower.output.text("stdout") == "line 0\nline 2\nline 4\nno end"
    follower.close()


def test_what_is_known_is_left_out():
    container = Container()
    container.end.set()
    _, whole, over = followed(container)
    assert over.wait(10)
    seen = {line.level: line.at for line in whole[:3]}
    follower, lines, over = followed(container, **seen)
    assert over.wait(10)
    assert lines == whole[3:]
    follower.close()


def test_it_can_be_left_at_any_time():
    container = Container()
    follower, lines, over = followed(container)
    until(lambda: len(lines) == 6)
    follower.close()
    assert over.is_set()
    assert not follower.done
    assert len(lines) == 6


def test_an_engine_that_comes_back_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follower_module, "AGAIN", 0.001)
    container = Container()
    refusals = [EngineAbsent("restarting")] * 5
    container.absent = lambda: refusals.pop() if refusals else None
    container.end.set()
    follower, lines, over = followed(container)
    assert over.wait(10)
    assert follower.error is None
    assert [line.text for line in lines] == TEXTS


def test_but_not_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follower_module, "AGAIN", 0.001)
    monkeypatch.setattr(follower_module, "ENGINE_AWAY", 0.02)
    container = Container()
    container.absent = lambda: EngineAbsent("gone")
    follower, _, over = followed(container)
    assert over.wait(10)
    assert isinstance(follower.error, EngineAbsent)
    assert follower.done


def test_one_that_somebody_removes():
    container = Container()
    container.absent = lambda: Missing("no such container")
    follower, _, over = followed(container)
    assert over.wait(10)
    assert isinstance(follower.error, EngineError)
    assert "removed from outside" in str(follower.error)
