"""A process dies at every named point of tasks, before and after it: nothing is lost, done twice or left behind.

cycle.py does the same at the points of actors.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import storm_tasks as stage
from checkout import ROOT
from storm_calm import AT_REST
from storm_checker import Checker
from understudy import Runtime, SupervisorLost
from understudy.supervisor.testing.crash_points import ONE_WAY, POINTS, VARIABLE, Process
from waiting import until

PATIENCE = 30.0
#: The call of the function at which the process dies, if it is not the second one.
COUNTS = {
    **dict.fromkeys(["bury", "adopt", "recover", "load", "fork", "middleman", "orphan"], 1),
    "commit": 4,
    "acknowledge": 4,
    "answer": 6,
    "order": 4,
    "report": 5,
}
#: The points of tasks. The others come after them in the table.
TESTED = [*POINTS][: [*POINTS].index("report") + 1]
WHERE = [
    f"{point}.{side}"
    for point in TESTED
    for side in ("before", "after")
    if side == "before" or point not in ONE_WAY
]


class Client:
    """Makes the calls of clients, and records them as a storm's clients do."""

    def __init__(self, rt: Runtime, folder: Path) -> None:
        self._rt = rt
        self._journal = folder / "client-1.journal"

    def note(self, *row: Any) -> None:
        with self._journal.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def start(self, task: Any, *args: Any) -> str:
        id = self._rt.start(task, *args).id
        self.note("relay", id, *args) if task is stage.relay else self.note("started", id, task.name)
        return id

    def send(self, id: str, first: int, last: int) -> None:
        self.note("sending", id, "me", first, last)
        with suppress(SupervisorLost):
            self._rt.send_many([(id, ["me", number]) for number in range(first, last + 1)])
            self.note("sent", id, "me", first, last)

    def cancel(self, id: str) -> None:
        self.note("cancelled", id, self._rt.cancel(id))

    def result(self, id: str) -> Any:
        value = self._rt.result(id, PATIENCE)
        record = self._rt.status(id)
        self.note("saw", id, record.state, record.attempt, record.interruptions, record.ended, value)
        return value


def act(rt: Runtime, client: Client, kill: Callable[[], None]) -> None:
    """Some of everything: short tasks, sync and async, checkpoints, a pipeline, a delay, a cancel, a death."""
    sink = client.start(stage.collect)
    head = client.start(stage.relay, sink)
    rest = client.start(stage.rest)
    for number in (1, 4, 7):
        client.send(head, number, number + 2)
    steps = client.start(stage.steps, 5)
    short = [client.start(task, 7) for task in (stage.double, stage.double_async) for _ in range(2)]
    kill()
    late = client.start(stage.double.options(delay=0.01), 1)
    client.send(head, 10, 12)
    assert [client.result(id) for id in [*short, steps, late]] == [14, 14, 14, 14, 5, 2]
    rt.close(head)
    client.result(head)
    rt.close(sink)
    client.result(sink)
    client.cancel(rest)
    assert rt.wait(rest, PATIENCE).state == "cancelled"


@pytest.mark.parametrize("where", WHERE)
def test_a_death_at(where: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, point = home.parent, where.partition(".")[0]
    died = folder / "died"
    (folder / "locks").mkdir()
    monkeypatch.setenv("UNDERSTUDY_STORM_FOLDER", str(folder))
    wanted = f"{where}:{COUNTS.get(point, 2)}@{died}"
    if point != "recover":
        monkeypatch.setenv(VARIABLE, wanted)
    settings = {"workers": 1, "slots": 4, "restarts": 100, "max_crashes": 100, "durability": "os"}
    with Runtime(home, app=stage.__file__, **settings) as rt:

        def kill() -> None:
            # The tasks that are there have begun; otherwise there is nothing to bury, and nothing to recover.
            if point == "bury":
                os.kill(
                    until(lambda: [row["pid"] for row in rt.tree()["workers"] if row["tasks"]])[0],
                    signal.SIGKILL,
                )
            elif point == "recover":
                until(lambda: rt.list(state="running"))
                monkeypatch.setenv(VARIABLE, wanted)  # for the next one
                os.kill(rt.supervisor_pid, signal.SIGKILL)

        act(rt, Client(rt, folder), kill)
        assert died.exists(), "or it never came to this point"
    checker = Checker(folder)
    checker.look(pages=True)
    assert checker.wrong == []
    assert list(checker.unended()) == []
    assert {path.name for path in home.iterdir()} <= AT_REST


def test_the_page_lists_them() -> None:
    page = (ROOT / "docs" / "RELIABILITY.md").read_text(encoding="utf-8")
    section = page[page.index("## Crash points") : page.index("## Power loss")]
    rows = re.findall(r"^\| `(\w+)` \| ([\w ]+) \|", section, re.MULTILINE)
    assert rows == [(point, str(process)) for point, (process, _) in POINTS.items()]


def test_every_process_has_points() -> None:
    assert {process for process, _ in POINTS.values()} == set(Process)
