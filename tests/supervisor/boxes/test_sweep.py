from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from understudy import EngineAbsent, EngineError
from understudy.actors.errors import StoreCorrupt
from understudy.actors.ids import id_text, new_id
from understudy.actors.state import State
from understudy.storage.tables.record import Record
from understudy.supervisor.boxes import spec, sweep
from understudy.supervisor.boxes.sweep import BoxSweep, is_over

COOKIE = "ab-1-2"


def record(*, attempt: int = 1, ended: bool = False) -> Record:
    id = new_id()
    made = Record(id, "understudy.box", time.time(), id)
    made.attempt = attempt
    if ended:
        made.state, made.ended = State.COMPLETED, time.time()
    return made


def test_who_is_over():
    assert is_over(None, "1")
    assert is_over(record(ended=True), "1")
    assert is_over(record(attempt=2), "1")
    assert not is_over(record(attempt=2), "2")
    # One that is known to the engine and not yet here: dispatch does not wait for what follows from it.
    assert not is_over(record(attempt=2), "3")
    assert not is_over(record(), "none of ours")


class Shelf:
    """An engine with containers that need not be real."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.asked: list[dict[str, str]] = []
        self.removed: list[str] = []
        self.absent = False

    def put(self, id: str, task: str, attempt: int = 1) -> None:
        self.rows.append({"Id": id, "Labels": spec.labels_of(COOKIE, task, attempt)})

    def find(self, labels: dict[str, str]) -> list[dict[str, Any]]:
        if self.absent:
            raise EngineAbsent("gone")
        self.asked.append(dict(labels))
        return self.rows

    def remove(self, id: str) -> None:
        self.removed.append(id)


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    made = Shelf()
    monkeypatch.setattr(sweep, "DockerEngine", lambda _patience: made)
    return made


def test_what_is_removed(home: Path, shelf: Shelf):
    lives, ended = record(), record(ended=True)
    records = {each.id: each for each in (lives, ended)}
    pruned = new_id()
    for id in (lives.id, ended.id, pruned):
        shelf.put(f"box of {id.hex()}", id_text(id))
        (home / "boxes" / id_text(id)).mkdir(parents=True)
    shelf.put("no task of ours", "nonsense")
    (home / "boxes" / "somebody's own").mkdir()
    removed = asyncio.run(BoxSweep(home, COOKIE, records.get).sweep())
    assert removed == shelf.removed == [f"box of {ended.id.hex()}", f"box of {pruned.hex()}"]
    assert shelf.asked == [{spec.HOME_LABEL: COOKIE}]
    left = {path.name for path in (home / "boxes").iterdir()}
    assert left == {id_text(lives.id), id_text(ended.id), "somebody's own"}


def test_a_home_without_containers_asks_no_engine(home: Path, shelf: Shelf):
    home.mkdir()
    assert asyncio.run(BoxSweep(home, COOKIE, lambda _id: None).sweep()) == []
    assert shelf.asked == []


@pytest.mark.parametrize("turns", range(6))
def test_it_ends_when_cancelled_just_as_it_is_asked(home: Path, turns: int):
    """A wait that swallows the cancel would keep the supervisor from ever coming to its end."""
    home.mkdir()

    async def story() -> None:
        sweep = BoxSweep(home, COOKIE, lambda _id: None)
        running = asyncio.create_task(sweep.run())
        for _ in range(10):
            await asyncio.sleep(0)
        sweep.ask()
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        _, pending = await asyncio.wait([running], timeout=0.1)
        assert not pending
        assert running.cancelled()

    asyncio.run(story())


def test_it_looks_when_asked_and_bears_an_engine_that_is_gone(home: Path, shelf: Shelf):
    (home / "boxes").mkdir(parents=True)

    async def story() -> None:
        sweep = BoxSweep(home, COOKIE, lambda _id: None)
        running = asyncio.create_task(sweep.run())
        await looks(1)
        shelf.absent = True
        sweep.ask()
        await asyncio.sleep(0)
        shelf.absent = False
        sweep.ask()
        await looks(2)
        running.cancel()

    async def looks(count: int) -> None:
        async with asyncio.timeout(10):
            while len(shelf.asked) < count:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.01)

    asyncio.run(story())


def test_one_damaged_record_or_stubborn_container_does_not_keep_the_others(home: Path, shelf: Shelf):
    stubborn, damaged, ended = record(ended=True), new_id(), record(ended=True)
    records = {each.id: each for each in (stubborn, ended)}

    def look(id: bytes) -> Record | None:
        if id == damaged:
            raise StoreCorrupt("damaged", problems=[])
        return records.get(id)

    def remove(id: str) -> None:
        if id == "stubborn":
            raise EngineError("it is in use")
        shelf.removed.append(id)

    shelf.remove = remove  # type: ignore[method-assign]
    for name, id in (("stubborn", stubborn.id), ("damaged", damaged), ("ended", ended.id)):
        shelf.put(name, id_text(id))
    for id in (damaged, pruned := new_id()):
        (home / "boxes" / id_text(id)).mkdir(parents=True)
    assert asyncio.run(BoxSweep(home, COOKIE, look).sweep()) == shelf.removed == ["ended"]
    assert (home / "boxes" / id_text(damaged)).exists()
    assert not (home / "boxes" / id_text(pruned)).exists()


def test_no_error_ends_the_sweeping(home: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    (home / "boxes").mkdir(parents=True)
    monkeypatch.setattr(sweep, "SWEEP_EVERY", 0.001)
    looks: list[int] = []

    async def story() -> None:
        seen = asyncio.Event()

        def find(_labels: dict[str, str]) -> list[dict[str, Any]]:
            looks.append(1)
            if len(looks) == 3:
                asyncio_loop.call_soon_threadsafe(seen.set)
            raise RuntimeError("nobody thought of this")

        asyncio_loop = asyncio.get_running_loop()
        shelf.find = find  # type: ignore[method-assign]
        running = asyncio.create_task(BoxSweep(home, COOKIE, lambda _id: None).run())
        await asyncio.wait_for(seen.wait(), 10)
        running.cancel()

    asyncio.run(story())
