"""Processes die at points of the way of `map_tasks`: no child is started twice, and none outlives its parent."""

from __future__ import annotations

from pathlib import Path

import pytest

import map_stage as stage
from understudy import Runtime
from understudy.storage.check import check
from understudy.supervisor.testing.crash_points import VARIABLE
from waiting import until

#: Seconds; a process dies and is started again within them.
PATIENCE = 60.0
CHILDREN = 60
#: The call of the function at which the process dies: early, and in the midst of it.
COUNTS = {"commit": (2, 4, 9, 14), "acknowledge": (3, 7), "result": (5,), "end": (5, 30), "report": (3, 9)}
WHERE = [f"{point}.{side}:{n}" for point in COUNTS for side in ("before", "after") for n in COUNTS[point]]


@pytest.mark.parametrize("where", WHERE)
def test_a_death_at(where: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    died = home.parent / "died"
    monkeypatch.setenv(VARIABLE, f"{where}@{died}")
    settings = {"workers": 1, "slots": 4, "restarts": 100, "max_crashes": 100, "durability": "os"}
    with Runtime(home, app=stage.__file__, **settings) as rt:
        parent = rt.start(stage.sum_up, CHILDREN, 0.0, 8)
        left = rt.start(stage.takes_some.options(retry=100), 1_000, 8, 3)
        assert rt.result(parent, PATIENCE) == 3 * sum(range(CHILDREN))
        until(lambda: rt.restore(left), PATIENCE)
        rt.cancel(left)
        rt.wait(left, PATIENCE)
        children = rt.list(task="maps:triple", limit=1_000)
        own = [child for child in children if child.origin_run == parent.id]
        assert len(own) == CHILDREN, "each child once"
        assert all(rt.wait(child.id, PATIENCE).ended is not None for child in children)
        assert until(died.exists, PATIENCE), "or it never came to this point"
    assert check(home).problems == []
