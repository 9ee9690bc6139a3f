"""Processes die at points of the way of links and monitors: each end is told once, and nothing outlives its parent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import tie_tasks as stage
from understudy import Runtime
from understudy.storage.check import check
from understudy.supervisor.testing.crash_points import POINTS, VARIABLE, Process
from waiting import until

#: Seconds; a process dies and is started again within them.
PATIENCE = 60.0
CHILDREN = 8
#: The call of the function at which the process dies: early, and in the midst of it.
COUNTS = {
    "link": (4,),
    "unlink": (1,),
    "monitor": (1, 6),
    "down": (1, 3),
    "result": (4,),
    "commit": (9, 22),
    "acknowledge": (9,),
    "checkpoint": (2,),
    "deliver": (2,),
    "end": (3,),
    "report": (6,),
}
WHERE = [
    f"{point}.{side}:{count}" for point in COUNTS for side in ("before", "after") for count in COUNTS[point]
]
#: More of them, as after a change of all this: `UNDERSTUDY_TIE_ROUNDS=20`.
ROUNDS = int(os.environ.get("UNDERSTUDY_TIE_ROUNDS", "1"))


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_death_at(where: str, number: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    died = home.parent / "died"
    monkeypatch.setenv(VARIABLE, f"{where}@{died}")
    settings = {"workers": 1, "slots": 4, "restarts": 100, "max_crashes": 100, "durability": "os"}
    with Runtime(home, app=stage.__file__, **settings) as rt:
        value = rt.result(rt.start(stage.crowd, CHILDREN), PATIENCE)
        assert sorted(value["told"]) == sorted(value["watched"]), "each end once"
        assert value["last"] == "last", "and nothing else"
        assert list(rt.results(value["watched"], PATIENCE)) == [2 * number for number in range(CHILDREN)]
        assert len(rt.list(task="ties:double") + rt.list(task="ties:late_double")) == CHILDREN, (
            "each child once"
        )
        assert {rt.wait(id, PATIENCE).state for id in value["linked"]} == {"cancelled"}
        assert until(died.exists, PATIENCE), "or it never came to this point"
    assert check(home).problems == []


def test_the_points_are_those_of_the_supervisor_and_of_workers():
    assert {POINTS[point][0] for point in COUNTS} == {Process.SUPERVISOR, Process.WORKER}
