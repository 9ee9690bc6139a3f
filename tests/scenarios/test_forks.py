"""A task may fork: its children are not workers and cannot report for one."""

from __future__ import annotations

from pathlib import Path

import stage_tasks as stage
from theatre import PATIENCE, ready, runtime, seen


def test_a_child_that_runs_out_of_the_tasks_code(home: Path, tmp_path: Path) -> None:
    with runtime(home) as rt:
        workers = ready(rt, 1)
        infos = [stage.forks_and_forgets.start(str(tmp_path)) for _ in range(4)]
        beside = rt.start_many(stage.add, [(n, 1) for n in range(200)])
        assert [info.result(PATIENCE) for info in infos] == [0] * 4
        assert list(rt.results(beside, PATIENCE)) == list(range(1, 201))
        assert seen(tmp_path, "refused") == "NotInTask"
        assert {info.restore() for info in infos} == {None}
        assert ready(rt, 1) == workers


def test_multiprocessing(home: Path) -> None:
    with runtime(home) as rt:
        workers = ready(rt, 1)
        infos = [stage.multiprocesses.start() for _ in range(10)]
        assert [info.result(PATIENCE) for info in infos] == [[0, -15]] * 10
        assert ready(rt, 1) == workers
