"""Runs the benchmarks one after the other, each case in its own process and with a time limit.

    python benchmarks/run.py                      # all but the large cases, without peers
    python benchmarks/run.py --only latency,start --rounds 3
    python benchmarks/run.py --short              # only to see that everything works
    python benchmarks/run.py --large --peers --json figures.json
    python benchmarks/run.py --only actor_rest --full    # a million passive actors

`--json FILE` stores the figures. Cases of the file that are not in this run stay in it, so that an unfinished
run can be continued. Figures of another machine are removed. `--page` does the same for
docs/performance/figures.json, with the large cases and the peers, and rewrites docs/PERFORMANCE.md and its
plots.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from suite.case import OURS, Case
from suite.catalogue import CASES, load
from suite.figures import number
from suite.machine import machine
from suite.program import add_options
from suite.report import show, wide

HERE = Path(__file__).resolve().parent
PAGE_FIGURES = HERE.parent / "docs" / "performance" / "figures.json"

#: Additional seconds for each peer of a case.
PEER_LIMIT = 60.0

#: Seconds that a stopped case gets to clean up.
STOP_LIMIT = 15.0


def main() -> int:
    """Run the selected cases; return how many failed."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # this also ends its processes
    cases = [load(name) for name in options.only or CASES]
    cases = [case for case in cases if options.only or options.large or not case.large]
    console = wide()
    target = PAGE_FIGURES if options.page else options.json
    kept = _kept(target, options.folder)
    failed = []
    for number_, case in enumerate(cases, 1):
        console.rule(f"{number_} of {len(cases)}: {case.title}", align="left")
        found = _measured(case, options, console)
        if found is None:
            failed.append(case.name)
            continue
        show(case, found, console)
        kept["cases"][case.name] = found
        if target is not None:
            _write(target, kept)
    if options.page:
        from suite.page import write

        write(kept)
        console.print("docs/PERFORMANCE.md and its plots are written")
    _closing(kept["cases"], [case.name for case in cases], failed, console)
    return len(failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument(
        "--only", type=_names, metavar="CASE,…", help=f"some of the cases: {', '.join(CASES)}"
    )
    parser.add_argument("--large", action="store_true", help="the cases with a million tasks as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="merge the figures into FILE")
    parser.add_argument("--page", action="store_true", help="write docs/PERFORMANCE.md anew")
    options = parser.parse_args()
    if options.page:  # otherwise the page would lose the figures of the peers
        options.peers = options.large = True
    return options


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in CASES]:
        raise argparse.ArgumentTypeError(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    return names


def _kept(path: Path | None, folder: Path | None) -> dict[str, Any]:
    """The content of the file, if it is of this machine; otherwise nothing."""
    here = machine(folder)
    if path is not None and path.exists():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept["machine"] == here:
            return kept
    return {"machine": here, "cases": {}}


def _write(path: Path, kept: dict[str, Any]) -> None:
    ordered = {**kept, "cases": {name: kept["cases"][name] for name in CASES if name in kept["cases"]}}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def _measured(case: Case, options: argparse.Namespace, console: Console) -> dict[str, Any] | None:
    """The figures of a case; None if its program failed or took too long."""
    limit = case.limit + (PEER_LIMIT * len(case.peers) if options.peers else 0)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        result = Path(folder) / "figures.json"
        command: list[Any] = [sys.executable, HERE / f"{case.name}.py", "--json", result]
        command += ["--short"] if options.short else []
        command += ["--full"] if options.full else []
        command += ["--peers"] if options.peers else []
        command += ["--rounds", str(options.rounds)] if options.rounds else []
        command += ["--folder", folder]
        began = time.monotonic()
        # Its own session, so that all its processes can be ended with it.
        process = subprocess.Popen(command, start_new_session=True)
        try:
            code = process.wait(limit)
        except BaseException as error:
            _end(process)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            console.print(f"[red]stopped[/]: {case.name} took more than {limit:g} s")
            return None
        if code:
            console.print(f"[red]failed[/]: {case.name} ended with exit code {code}")
            return None
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        console.print(f"{time.monotonic() - began:.0f} s")
        return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to clean up, then kill the rest of it."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_LIMIT)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _closing(cases: dict[str, dict[str, Any]], names: list[str], failed: list[str], console: Console) -> None:
    """The reached targets, and the ratio of the headline."""
    ends = [end for name in names if name in cases and name not in failed for end in cases[name]["targets"]]
    reached = sum(end["reached"] is True for end in ends)
    missed = sum(end["reached"] is False for end in ends)
    console.print(
        f"{reached} targets reached, {missed} not reached, {len(ends) - reached - missed} not asked"
    )
    if failed:
        console.print(f"[red]failed[/]: {', '.join(failed)}")
    if "throughput" in names and "throughput" in cases:
        for row, told in cases["throughput"]["rows"].items():
            pair = told["figures"]["multiprocessing.Pool"]["ours"]
            console.print(
                f"{OURS} to multiprocessing.Pool, {row}, pair by pair: median {number(pair['median'])} "
                f"(from {number(pair['low'])} to {number(pair['high'])})",
                highlight=False,
            )


if __name__ == "__main__":
    sys.exit(main())
