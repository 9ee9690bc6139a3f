from __future__ import annotations

import json
from typing import Any

import pytest
from rich.console import Console, RenderableType

from understudy.supervisor.cli.display import process_tree
from understudy.supervisor.cli.display.process_usage import ProcessUsage

NOW = 1_900_000_000.0
ID = "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d"


def task(**fields: Any) -> dict[str, Any]:
    return {
        "id": ID,
        "task": "app:[red]\x1b[2J",
        "actor": None,
        "attempt": 2,
        "tries": 4,
        "started": NOW - 125,
        "parked": False,
        **fields,
    }


def live(**fields: Any) -> dict[str, Any]:
    worker = {
        "number": 1,
        "pid": 12,
        "started": NOW - 7200,
        "alone": False,
        "pool": None,
        "retiring": False,
        "done": 1234,
        "task_count": 60,
        "parked": 1,
        "short_turns": 0,
        "actor_count": 0,
        "tasks": [task(), task(parked=True), task(started=None)],
        "idle_actors": [],
    }
    starting = {**worker, "number": 2, "pid": 0, "tasks": [], "task_count": 0, "parked": 0}
    known = {
        "pid": 10,
        "home": "/srv/[bold]jobs",
        "started": NOW - 9000,
        "embedded": False,
        "draining": True,
        "fork_server": 11,
        "tasks_declared": ["app:x"],
        "disk_full": False,
        "waits_for_code": {},
        "waits_for_pool": {},
        "pools": {},
        "not_imported": {},
        "waits_for_room": False,
        "workers": [worker, starting],
    }
    return {**known, **fields}


GAUGES = {
    10: ProcessUsage(1.2, 1 << 20, 1),
    11: ProcessUsage(0, 1 << 20, 1),
    12: ProcessUsage(97.6, 5 << 20, 3),
}


def shown(renderable: RenderableType, width: int) -> str:
    console = Console(width=width, force_terminal=True, color_system=None, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_the_tree_names_each_process_and_what_it_runs():
    text = shown(process_tree.tree(live(), GAUGES, {ID: "3/10 (30%)"}, NOW), 200)
    for part in (
        "supervisor 10  1% CPU  1.0 MiB  up 2h30m  /srv/[bold]jobs  draining",
        "fork server 11",
        "worker 12  98% CPU  5.0 MiB  up 2h00m  1,234 done  2 child processes",
        "app:[red]\\x1b[2J 5f3c2b1a0e4d  working 2m05s  try 2 of 4  3/10 (30%)",
        "waiting 2m05s",
        "about to run",
        "… and 57 more",
        "worker starting",
    ):
        assert part in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [40, 80])
def test_a_branch_is_one_line_however_narrow(width: int):
    lines = shown(process_tree.tree(live(), GAUGES, {}, NOW), width).splitlines()
    assert len(lines) == len(shown(process_tree.tree(live(), GAUGES, {}, NOW), 300).splitlines())


def test_a_fork_server_that_is_being_replaced_is_left_out():
    assert "fork server" not in shown(process_tree.tree(live(fork_server=None), GAUGES, {}, NOW), 200)


def test_the_document_is_json():
    document = json.loads(json.dumps(process_tree.document(live(), GAUGES, {ID: "3/10"})))
    assert document["started"].endswith("+00:00")
    assert document["fork_server"] == {"pid": 11, "cpu_percent": 0, "rss": 1 << 20, "processes": 1}
    assert document["workers"][0]["cpu_percent"] == 97.6
    assert document["workers"][0]["tasks"][0]["progress"] == "3/10"
    assert process_tree.document(live(fork_server=None), GAUGES, {})["fork_server"] is None


@pytest.mark.parametrize("size", [(80, 12), (160, 40)])
def test_a_page_fits_its_screen(size: tuple[int, int]):
    many = live()
    many["workers"][0]["tasks"] = [task() for _ in range(50)]
    text = shown(process_tree.page(many, GAUGES, {ID: "note " * 40}, (100, 0), 12.34, size, NOW), size[0])
    assert len(text.splitlines()) <= size[1]
    assert "60 running, 40 queued, 12.3 done/s, draining" in text
    assert "more" in text


def test_the_tree_names_actors_at_work_and_idle_ones():
    actors = live()
    actors["workers"][0].update(
        task_count=1,
        tasks=[task(task="bank:Account", actor="ada\x1b")],
        actor_count=5,
        idle_actors=[{"id": ID, "task": "bank:Account", "actor": "bob"}],
    )
    text = shown(process_tree.tree(actors, GAUGES, {}, NOW), 200)
    assert "bank:Account/ada\\x1b 5f3c2b1a0e4d  working 2m05s\n" in text
    assert "bank:Account/bob 5f3c2b1a0e4d  idle" in text
    assert "… and 3 more idle actors" in text


def test_top_counts_idle_actors_by_themselves():
    actors = live(draining=False)
    actors["workers"][0].update(task_count=3, short_turns=2, actor_count=7)
    # On disk: one task runs and four are queued, and the two actors at work are idle as well.
    text = shown(process_tree.page(actors, GAUGES, {}, (5, 1002), None, (160, 40), NOW), 160)
    assert "3 running, 4 queued, 1,000 idle\n" in text


def test_the_pool_of_a_worker_is_shown_and_tasks_without_theirs_are_counted():
    pooled = live()
    pooled["workers"] = [
        {**pooled["workers"][0], "pool": "gpu"},
        {**pooled["workers"][0], "pool": "io", "alone": True},
    ]
    pooled["waits_for_pool"] = {"app:x": 3, "app:y": 1}
    text = shown(process_tree.tree(pooled, GAUGES, {}, NOW), 200)
    assert "pool gpu" in text
    assert "pool io  for one task" in text
    assert "4 tasks wait for a pool" in text
    text = shown(process_tree.page(pooled, GAUGES, {}, (60, 0), None, (120, 40), NOW), 120)
    assert "pool gpu" in text
    assert "pool io, for one task" in text
