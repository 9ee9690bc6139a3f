"""Index every .py file of Python's standard library, while workers and the supervisor are being killed.

One long task, `index`, hands files to short tasks, `read_files`, which answer by message. It checkpoints its
state. If its worker is killed, it continues from the checkpoint, and later messages are delivered again.
Meanwhile this program SIGKILLs a worker twice and the supervisor once. The index must equal the one that a
plain loop in a single process makes; if it does not, the exit code is 1.

    python examples/index_stdlib.py [--limit FILES] [--home FOLDER]
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import shutil
import signal
import sys
import sysconfig
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from understudy import Runtime, TaskInfo, checkpoint, current, progress, receive, restore, send, task

BATCH = 10
"""Files that one short task reads."""
AHEAD = 16
"""Short tasks that may be unfinished at once."""
CHECKPOINT_EVERY = 5
"""Answers after which the long task checkpoints."""
KILLS = [(0.25, "worker"), (0.5, "supervisor"), (0.75, "worker")]
"""The share of the work after which a process is killed, and which one."""

Row = dict[str, Any]


def read_file(path: str) -> Row:
    """The index row of one file: path, lines, SHA-256, imported modules (None if it does not parse)."""
    content = Path(path).read_bytes()
    imports: list[str] | None
    try:
        with warnings.catch_warnings():
            # The library's own tests hold code that is meant to warn.
            warnings.simplefilter("ignore")
            tree = ast.parse(content)
    except (SyntaxError, ValueError):
        imports = None
    else:
        found = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        found |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        imports = sorted(found)
    return {
        "path": path,
        "lines": content.count(b"\n"),
        "sha256": hashlib.sha256(content).hexdigest(),
        "imports": imports,
    }


@task(retry=5, timeout=300)
def read_files(asked_by: str, number: int, paths: list[str]) -> None:
    """Read some files and send their rows to the task that asked."""
    send(asked_by, {"batch": number, "rows": [read_file(path) for path in paths]})


@task(retry=5, timeout=3600)
def index(paths: list[str]) -> list[Row]:
    """Index these files with many short tasks."""
    state = restore() or {"rows": {}, "asked": 0}
    batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    me = current().id
    since_checkpoint = 0
    while len(state["rows"]) < len(batches):
        while state["asked"] < len(batches) and state["asked"] - len(state["rows"]) < AHEAD:
            # After a crash, a start with the same key returns the same task.
            number = state["asked"]
            read_files.options(key=f"{me}/{number}").start(me, number, batches[number])
            state["asked"] += 1
        message = receive(timeout=120)
        print(f"received batch {message['batch']}")
        # A short task killed after its send runs and sends again. The batch number makes that harmless.
        state["rows"][message["batch"]] = message["rows"]
        progress(sum(len(rows) for rows in state["rows"].values()), len(paths), "files")
        since_checkpoint += 1
        if since_checkpoint == CHECKPOINT_EVERY:
            checkpoint(state)
            since_checkpoint = 0
    return [row for number in range(len(batches)) for row in state["rows"][number]]


def library_files(limit: int | None) -> list[str]:
    """Every .py file of the standard library on this machine, in order."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = (path for path in root.rglob("*.py") if "site-packages" not in path.parts)
    return sorted(str(path) for path in files if path.is_file())[:limit]


def watch_and_kill(runtime: Runtime, job: TaskInfo[list[Row]], files: int, console: Console) -> list[str]:
    """Show the job's progress and kill processes as `KILLS` says; the killed ones."""
    killed: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        shown = bar.add_task("indexing", total=files)
        while not (record := job.status()).ended_already:
            done = record.progress.done if record.progress else 0
            bar.update(shown, completed=done)
            if len(killed) < len(KILLS) and done >= KILLS[len(killed)][0] * files:
                who = KILLS[len(killed)][1]
                pid = record.worker_pid if who == "worker" else runtime.supervisor_pid
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(f"{who} {pid}")
                    console.print(f"  SIGKILL to the {who}, pid {pid}, at {done:.0f} of {files} files")
            time.sleep(0.02)
        bar.update(shown, completed=files)
    return killed


def report(
    runtime: Runtime, job: TaskInfo[list[Row]], killed: list[str], seconds: float, straight: float
) -> Table:
    """A table of the kills, attempts, messages and times."""
    record = job.status()
    short = runtime.list(task=read_files.name, stream=job.stream_id, limit=100_000)
    received = [line.text for line in runtime.logs(job) if line.text.startswith("received")]
    table = Table(title="what it took", show_header=False)
    table.add_row("killed", ", ".join(killed))
    table.add_row("the long task", f"attempt {record.attempt}, {record.interruptions} interruptions")
    table.add_row(
        f"{len(short)} short tasks",
        f"{sum(r.attempt - 1 for r in short)} further attempts, "
        f"{sum(r.interruptions for r in short)} interruptions, all {', '.join({r.state for r in short})}",
    )
    table.add_row(
        "messages", f"{len(set(received))} received, {len(received) - len(set(received))} of them again"
    )
    table.add_row("seconds", f"{seconds:.1f} supervised and killed, {straight:.1f} in one plain process")
    return table


def main() -> int:
    """Run the job, kill processes and compare; the exit code."""
    parser = argparse.ArgumentParser(description="Index the standard library while its workers are killed.")
    parser.add_argument("--limit", type=int, default=None, help="index only so many files")
    parser.add_argument("--home", default=None, help="keep the home folder here (default: a temporary one)")
    options = parser.parse_args()
    console = Console()
    console.print("looking for the standard library's files")
    files = library_files(options.limit)
    home = options.home or tempfile.mkdtemp(prefix="understudy-demo-")
    console.print(f"{len(files):,} files of the standard library, two workers, home {home}", soft_wrap=True)
    try:
        console.print("starting the supervisor and its workers")
        with Runtime(home, workers=2) as runtime:
            began = time.perf_counter()
            job = index.start(files)
            killed = watch_and_kill(runtime, job, len(files), console)
            supervised = job.result(timeout=600)
            seconds = time.perf_counter() - began
            console.print("comparing with a plain loop in this process")
            began = time.perf_counter()
            plain = [read_file(path) for path in files]
            straight = time.perf_counter() - began
            console.print(report(runtime, job, killed, seconds, straight))
    finally:
        if options.home is None:
            shutil.rmtree(home, ignore_errors=True)
    if supervised != plain or len(killed) != len(KILLS):
        console.print("[bold red]the index differs from the plain one, or not everybody was killed")
        return 1
    lines = sum(row["lines"] for row in plain)
    console.print(f"[green]equal to the plain computation[/]: {len(plain):,} files, {lines:,} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
