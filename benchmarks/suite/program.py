"""The command line of one case: `python benchmarks/throughput.py --rounds 3`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import TextIO

from suite.case import Case
from suite.rounds import measure


def main(case: Case) -> None:
    """Measure the case, and print a table or write its figures."""
    parser = argparse.ArgumentParser(description=case.about.partition("\n\n")[0])
    add_options(parser)
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE, and print no table")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # after all cleaning up
    peers = case.peers if options.peers else ()
    found = measure(
        case,
        options.rounds or (1 if options.short else case.rounds),
        options.folder,
        peers,
        "short" if options.short else "full" if options.full else "usual",
        lambda line: _tell(sys.stderr, f"{case.name}: {line}"),
    )
    if options.json:
        Path(options.json).write_text(json.dumps(found), encoding="utf-8")
        return
    from suite.report import show

    show(case, found)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the runner and of each case."""
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds (by default each case has its own)")
    parser.add_argument(
        "--short", action="store_true", help="as little as possible: only to see that it works"
    )
    parser.add_argument("--full", action="store_true", help="the larger sizes of some cases")
    parser.add_argument("--peers", action="store_true", help="measure the installed peers, too")
    parser.add_argument(
        "--folder", type=Path, metavar="PATH", help="where the homes go (by default temporary files' place)"
    )


def _tell(stream: TextIO, line: str) -> None:
    print(line, file=stream, flush=True)
