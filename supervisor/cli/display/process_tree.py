"""The live processes as a tree, as JSON and as the page of `top`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ...text import escape, units
from . import task_table, task_text
from .process_usage import ProcessUsage

_NOTHING: Final = ProcessUsage()


def tree(
    live: Mapping[str, Any], gauges: Mapping[int, ProcessUsage], progress: Mapping[str, str], now: float
) -> Tree:
    """The tree. `live` is what `Runtime.tree` returns; `progress` is by task id."""
    root = Tree(
        _line(("supervisor", "bold"), *_figures(gauges, live["pid"], live["started"], now)),
    )
    root.label.append(f"  {escape.one_line(live['home'])}", "dim")  # type: ignore[union-attr]
    for text in remarks(live):
        root.label.append(f"  {text}", "yellow")  # type: ignore[union-attr]
    if live["fork_server"]:
        root.add(_line(("fork server", ""), *_figures(gauges, live["fork_server"], None, now)))
    for worker in live["workers"]:
        branch = root.add(_worker(worker, gauges, now))
        for task in worker["tasks"]:
            branch.add(_task(task, progress, now))
        _more(branch, worker["task_count"] - len(worker["tasks"]), "more")
        for actor in worker["idle_actors"]:
            branch.add(_idle(actor))
        idle = worker["actor_count"] - sum(task["actor"] is not None for task in worker["tasks"])
        _more(branch, idle - len(worker["idle_actors"]), "more idle actors")
    return root


def remarks(live: Mapping[str, Any]) -> list[str]:
    """Remarks on the supervisor's unusual states."""
    states = {"draining": "draining", "embedded": "embedded", "disk_full": "the disk is full"}
    told = [text for name, text in states.items() if live[name]]
    if absent := sum(live["waits_for_code"].values()):
        told.append(f"{absent:,} tasks wait for code")
    if absent := sum(live["waits_for_pool"].values()):
        told.append(f"{absent:,} tasks wait for a pool")
    return told


def _worker(worker: Mapping[str, Any], gauges: Mapping[int, ProcessUsage], now: float) -> Text:
    if not worker["pid"]:
        return _line(("worker", ""), ("starting", "dim"))
    line = _line(
        ("worker", ""),
        *_figures(gauges, worker["pid"], worker["started"], now),
        (f"{worker['done']:,} done", ""),
    )
    extra = gauges.get(worker["pid"], _NOTHING).processes - 1
    for is_so, text in (
        (extra > 0, f"{extra} child process{'es' if extra > 1 else ''}"),
        (worker["pool"] is not None, f"pool {worker['pool']}"),
        (worker["alone"], "for one task"),
        (worker["retiring"], "retiring"),
    ):
        if is_so:
            line.append(f"  {text}", "yellow" if text == "retiring" else "dim")
    return line


def _task(task: Mapping[str, Any], progress: Mapping[str, str], now: float) -> Text:
    line = _line(
        (_name(task), "bold" if not task["parked"] else ""),
        (task_text.short_id(task["id"]), "dim"),
        (activity(task, now), "green" if not task["parked"] else "cyan"),
    )
    if task["actor"] is None:
        line.append(f"  try {_tries(task)}")
    if task["id"] in progress:
        line.append(f"  {progress[task['id']]}")
    return line


def _idle(actor: Mapping[str, Any]) -> Text:
    return _line((_name(actor), ""), (task_text.short_id(actor["id"]), "dim"), ("idle", "dim"))


def _more(branch: Tree, count: int, what: str) -> None:
    if count > 0:
        branch.add(Text(f"… and {count:,} {what}", "dim"))


def _name(task: Mapping[str, Any]) -> str:
    return task_text.name(task["task"], task["actor"])


def _tries(task: Mapping[str, Any]) -> str:
    return task_text.tries(task["attempt"], task["tries"])


def activity(task: Mapping[str, Any], now: float) -> str:
    """ "working 3m12s" or "waiting 2h05m": the time since the attempt began."""
    if task["started"] is None:
        return "about to run"
    return f"{'waiting' if task['parked'] else 'working'} {units.duration(now - task['started'])}"


def _figures(
    gauges: Mapping[int, ProcessUsage], pid: int, started: float | None, now: float
) -> list[tuple[str, str]]:
    gauge = gauges.get(pid, _NOTHING)
    figures = [(f"{pid}", ""), (f"{gauge.cpu:.0f}% CPU", ""), (units.size(gauge.rss), "")]
    return figures if started is None else [*figures, (f"up {units.duration(now - started)}", "")]


def _line(*parts: tuple[str, str]) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    for number, (text, style) in enumerate(parts):
        line.append("  " if number > 1 else " " if number else "")
        line.append(text, style)
    return line


def document(
    live: Mapping[str, Any], gauges: Mapping[int, ProcessUsage], progress: Mapping[str, str]
) -> dict[str, Any]:
    """The tree for --json."""
    return {
        **live,
        "started": units.iso(live["started"]),
        **_figures_json(gauges, live["pid"]),
        "fork_server": live["fork_server"]
        and {"pid": live["fork_server"], **_figures_json(gauges, live["fork_server"])},
        "workers": [
            {
                **worker,
                "started": units.iso(worker["started"]),
                **_figures_json(gauges, worker["pid"]),
                "tasks": [
                    {**task, "started": units.iso(task["started"]), "progress": progress.get(task["id"])}
                    for task in worker["tasks"]
                ],
            }
            for worker in live["workers"]
        ],
    }


def _figures_json(gauges: Mapping[int, ProcessUsage], pid: int) -> dict[str, Any]:
    gauge = gauges.get(pid, _NOTHING)
    return {"cpu_percent": round(gauge.cpu, 1), "rss": gauge.rss, "processes": gauge.processes}


def page(
    live: Mapping[str, Any],
    gauges: Mapping[int, ProcessUsage],
    progress: Mapping[str, str],
    unended: tuple[int, int],
    rate: float | None,
    size: tuple[int, int],
    now: float,
) -> RenderableType:
    """One page of `top`: a head, the workers and the running tasks, longest-working tasks first.

    `unended`: as `Reader.unended` gives it.
    """
    width, height = size
    tasks, idle = unended
    running = sum(worker["task_count"] for worker in live["workers"])
    turns = sum(worker["short_turns"] for worker in live["workers"])
    head = [
        f"{escape.one_line(live['home'])}  pid {live['pid']}  up {units.duration(now - live['started'])}",
        f"{running:,} running, {max(tasks + turns - running, 0):,} queued"
        + (f", {max(idle - turns, 0):,} idle" if idle else "")
        + ("" if rate is None else f", {rate:,.1f} done/s")
        + "".join(f", {text}" for text in remarks(live)),
    ]
    workers = _workers(live, gauges, now)
    rows = sorted(
        ((task, worker) for worker in live["workers"] for task in worker["tasks"]),
        key=lambda row: (row[0]["parked"], row[0]["started"] or now),
    )
    room = max(height - len(head) - len(live["workers"]) - 5, 1)
    parts: list[RenderableType] = [task_table.cut(Text(text), width) for text in head]
    parts += [Text(), workers, Text(), _running(rows[:room], progress, width, now)]
    if running > room:
        parts.append(Text(f"… and {running - room:,} more", "dim"))
    return Group(*parts)


def _workers(live: Mapping[str, Any], gauges: Mapping[int, ProcessUsage], now: float) -> Table:
    table = task_table.plain_table()
    for title in ("WORKER", "CPU", "MEMORY", "UP", "TASKS", "WAITING", "ACTORS", "DONE"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for worker in live["workers"]:
        gauge = gauges.get(worker["pid"], _NOTHING)
        table.add_row(
            str(worker["pid"] or "…"),
            f"{gauge.cpu:.0f}%",
            units.size(gauge.rss),
            units.duration(now - worker["started"]) if worker["pid"] else "",
            f"{worker['task_count']:,}",
            f"{worker['parked']:,}",
            f"{worker['actor_count']:,}",
            f"{worker['done']:,}",
            Text(_role(worker), "dim"),
        )
    return table


def _role(worker: Mapping[str, Any]) -> str:
    """What sets a worker apart from others."""
    pool = f"pool {worker['pool']}" if worker["pool"] is not None else ""
    special = "retiring" if worker["retiring"] else "for one task" if worker["alone"] else ""
    return ", ".join(filter(None, (pool, special)))


def _running(rows: list[tuple[Any, Any]], progress: Mapping[str, str], width: int, now: float) -> Table:
    cells = [
        (
            Text(task_text.short_id(task["id"])),
            Text(_name(task)),
            Text(activity(task, now), "cyan" if task["parked"] else "green"),
            Text(_tries(task)),
            Text(str(worker["pid"])),
            Text(progress.get(task["id"], "")),
        )
        for task, worker in rows
    ]
    titles = ("ID", "TASK", "NOW", "TRY", "WORKER", "PROGRESS")
    return task_table.fitted(titles, cells, width, name="TASK", detail="PROGRESS", right={"TRY", "WORKER"})
