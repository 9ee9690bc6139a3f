"""Tasks of every kind while workers and supervisors are killed at random: each ends once, in its own way."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import stage_tasks as stage
from theatre import PATIENCE, kill, runtime
from understudy import Retry, SupervisorLost

#: The actions, and their weights.
DEEDS = [
    *["add"] * 4,
    *["add_async"] * 2,
    *["total"] * 2,
    "total_async",
    *["send"] * 4,
    "cancel",
    "dies",
    "parent",
    "isolated",
    "spins",
    *["kill_worker"] * 3,
]
STEPS = 200


@pytest.mark.parametrize(("seed", "supervisors"), [(1, 0), (2, 3)])
def test_every_task_ends_as_it_was_told_to(home: Path, tmp_path: Path, seed: int, supervisors: int) -> None:
    chance = random.Random(seed)
    deeds = [chance.choice(DEEDS) for _ in range(STEPS)]
    for place in chance.sample(range(STEPS // 4, STEPS), supervisors):
        deeds[place] = "kill_supervisor"
    again = Retry(1000, 0)
    expected: dict[str, Any] = {}
    sums: dict[str, int] = {}
    cancelled: set[str] = set()
    # A worker killed from outside is blamed on the tasks that work on it: they have enough retries for that.
    with runtime(
        home, workers=3, slots=4, restarts=1_000_000, max_crashes=1_000_000, worker_tasks=200, durability="os"
    ) as rt:
        for deed in deeds:
            match deed:
                case "add" | "add_async":
                    task = getattr(stage, deed).options(retry=again)
                    expected |= {info.id: 2 for info in rt.start_many(task, [(1, 1)] * chance.randrange(50))}
                case "total" | "total_async":
                    task = getattr(stage, deed).options(retry=again, ack="checkpoint")
                    sums[task.start().id] = 0
                case "parent":
                    expected[stage.parent.options(retry=again).start(3).id] = 6
                case "isolated":
                    expected[stage.add.options(retry=again, isolate=True).start(1, 1).id] = 2
                case "dies":
                    info = stage.dies.start(chance.choice(["exit", "kill", "segfault", "orphan"]))
                    expected[info.id] = ("failed",)
                case "spins":
                    task = stage.spins.options(timeout=0.1, grace=0.05)
                    expected[task.start(str(tmp_path)).id] = ("timed_out", "failed")
                case "send" if sums:
                    id = chance.choice(list(sums))
                    count = chance.randrange(1, 30)
                    try:
                        rt.send_many((id, 1) for _ in range(count))
                        sums[id] += count
                    except SupervisorLost:
                        del sums[id]
                        assert rt.cancel(id)
                        expected[id] = ("cancelled",)
                case "cancel" if expected:
                    for id in chance.sample(list(expected), min(5, len(expected))):
                        if rt.cancel(id):
                            cancelled.add(id)
                case "kill_worker":
                    pids = [worker["pid"] for worker in rt.tree()["workers"] if worker["pid"]]
                    with suppress(ProcessLookupError):
                        if pids:
                            kill(chance.choice(pids))
                case "kill_supervisor":
                    kill(rt.supervisor_pid)
        for id in sums:
            rt.close(id)
        wrong = []
        for id, outcome in {**expected, **sums}.items():
            record = rt.wait(id, PATIENCE)
            if id in cancelled:
                right = record.state == "cancelled"
            elif isinstance(outcome, int):
                right = record.state == "completed" and rt.result(id, PATIENCE) == outcome
            else:
                right = record.state in outcome
            if not right:
                wrong.append((outcome, record))
        assert wrong == []
