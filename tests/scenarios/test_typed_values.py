"""Dataclasses, enums, paths and named tuples go through the store and come out as the annotations say."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from typed_tasks import Colour, Picture, Size, album, kept_when_cancelled, largest, says, turn, wrong
from understudy import AsyncRuntime, Executor, Runtime, State, TaskCancelled, TaskFailed, UnencodableValue
from waiting import until

ONE = Picture(
    Path("a.png"), Size(3, 2), datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin")), {Colour.BLUE}
)
TURNED = Picture(Path("a.turned"), Size(2, 3), ONE.taken, {Colour.BLUE, Colour.RED})
OTHER = Picture(Path("b"), Size(9, 9))


def test_arguments_and_results_are_what_their_annotations_say(home: Path):
    with Runtime(home, app="typed_tasks", workers=1) as rt:
        assert rt.run(turn, ONE, timeout=20) == [TURNED]
        info = turn.start(OTHER, ONE, by=Colour.RED, thumb=Size(1, 1))
        assert info.result(20)[1] == TURNED
        assert rt.result(info) == rt.wait_for(info).result(20) == next(rt.results([info]))
        with Executor(rt) as executor:
            assert executor.submit(turn, ONE).result(20) == [TURNED]
        # By id alone nobody knows which task it is: plain data.
        assert rt.result(info.id)[0]["path"] == "b.turned"
        assert rt.run(largest, [ONE, OTHER], timeout=20) == OTHER
        assert rt.run(largest, [], timeout=20) is None
        # Plain data may stand for an object, as the command line gives it.
        assert rt.run("typed_tasks:turn", {"path": "a.png", "size": [3, 2]}, by="blue", timeout=20) == [
            Picture(Path("a.turned"), Size(2, 3), None, {Colour.BLUE})
        ]
        pictures = album.start(OTHER)
        pictures.send("c")
        pictures.close()
        assert pictures.result(20) == (OTHER, Picture(Path("c"), Size(1, 1)))
        held = kept_when_cancelled.start(ONE)
        until(lambda: held.status().state is State.RUNNING)
        held.cancel()
        with pytest.raises(TaskCancelled) as caught:
            held.result(20)
        assert caught.value.value == ONE


def test_what_is_not_annotated_or_does_not_fit_is_refused_at_the_call(home: Path):
    with Runtime(home, app="typed_tasks", workers=1) as rt:
        for path, start in {
            "args[0]": lambda: rt.start(says, Colour.RED),
            "args[0]['x'][0]": lambda: rt.start(says, {"x": [ONE.path]}),
            "args[1].size": lambda: rt.start(turn, ONE, Picture(ONE.path, 5)),  # type: ignore[arg-type]
            "kwargs['by']": lambda: rt.start(turn, ONE, by="green"),  # type: ignore[arg-type]
            "kwargs['picture']": lambda: rt.start_many(turn, [{"picture": {"path": "a"}}]),
        }.items():
            with pytest.raises(UnencodableValue) as caught:
                start()
            assert caught.value.path == path
        with pytest.raises(TaskFailed) as failed:
            rt.run(wrong, timeout=20)
        assert failed.value.error is not None
        assert failed.value.error.type == "UnencodableValue"
        assert rt.list(task=turn) == []


def test_in_an_async_program(home: Path):
    async def main() -> None:
        async with AsyncRuntime(home, app="typed_tasks", workers=1) as rt:
            infos = await rt.start_many(turn, [ONE, (OTHER,)])
            assert await rt.result(infos[0], 20) == [TURNED]
            assert [len(value) async for value in rt.results(infos, 20)] == [1, 1]
            assert (await rt.run(largest, [OTHER], timeout=20)) == OTHER

    asyncio.run(main())
