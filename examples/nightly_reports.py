"""Nightly reports that survive a weekend of downtime.

A night lasts one second here. The machine is off from the third night to the sixth. Afterwards the reports of these
nights are made, each for its own night, before the next one is due. Then every night has exactly one report.

    python examples/nightly_reports.py [--home FOLDER]
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path

from understudy import Runtime, current, task

#: Seconds from one night to the next.
NIGHT = 1.0
NIGHTS = 8


@task(timeout=600, retry=2)
def report(folder: str, first: float) -> str:
    """Write the report of one night. A second try, or a second run, writes the same file."""
    trigger = current().trigger
    assert trigger is not None
    assert trigger.scheduled_at is not None
    # The time it was due, not the time it runs: a late report is still that of its night.
    night = 1 + round((trigger.scheduled_at - first) / NIGHT)
    late = time.time() - trigger.scheduled_at
    text = f"night {night}: {sum(range(night * 100)):,} sold"
    (Path(folder) / f"night-{night}.txt").write_text(text + "\n", encoding="utf-8")
    return f"{text} ({'on time' if late < NIGHT else f'made up for {math.ceil(late / NIGHT)} nights later'})"


def wait_for(rt: Runtime, reports: int, timeout: float = 40.0) -> None:
    """Wait until so many reports are made."""
    end = time.monotonic() + timeout
    while sum(rt.counts().get(report.name, {}).values()) < reports or rt.schedule_info("nightly").active:
        if time.monotonic() > end:
            raise TimeoutError("the reports do not come")
        time.sleep(0.05)


def main() -> None:
    """Serve, be off for a weekend, and serve again."""
    parser = argparse.ArgumentParser(description="Nightly reports that survive a weekend of downtime.")
    parser.add_argument("--home", help="the home folder; by default a new one")
    home = Path(parser.parse_args().home or tempfile.mkdtemp(prefix="nightly-"))
    reports = home.parent / f"{home.name}-reports"
    reports.mkdir(exist_ok=True)
    first = math.ceil(time.time()) + 2.0
    with Runtime(home=home, workers=1) as rt:
        rt.schedule(
            report,
            str(reports),
            first,
            key="nightly",
            every=NIGHT,
            start=first,
            limit=NIGHTS,
            missed="all",  # a report for each night, not one for all of them
            overlap="queue",  # one after the other
        )
        wait_for(rt, 2)
    print("off for a weekend")
    time.sleep(3 * NIGHT)
    with Runtime(home=home, workers=1) as rt:
        wait_for(rt, NIGHTS)
        history = list(reversed(rt.schedule_history("nightly")))
        for each in history:
            print(each.skipped or rt.result(each.run_id or ""))
        made = sorted(path.name for path in reports.iterdir())
        assert made == sorted(f"night-{night}.txt" for night in range(1, NIGHTS + 1)), made
        assert len(history) == NIGHTS
        print(f"every night has its report: {len(made)} of {NIGHTS}")


if __name__ == "__main__":
    main()
