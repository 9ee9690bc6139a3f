"""The short form of `make cycle`: messages through a chain of actors, and deaths at points of their way."""

from __future__ import annotations

from pathlib import Path

import pytest

import cycle
import test_crash_points
import test_event_crash_points
import test_tie_crash_points
from checkout import ROOT
from understudy.supervisor.testing.crash_points import POINTS


@pytest.mark.timeout(120)  # on a busy machine
def test_every_message_counts_once(tmp_path: Path) -> None:
    assert cycle.run(tmp_path, seed=3, deaths=3) > 0


def test_every_point_is_tested() -> None:
    elsewhere = {
        "publish": ROOT / "tests/scenarios/test_watching.py",
        "schedule": ROOT / "tests/scenarios/test_schedules.py",
        "bulk": ROOT / "tests/supervisor/service/test_bulk_jobs.py",
        "step": ROOT / "tests/scenarios/test_steps.py",
    }
    for point, file in elsewhere.items():
        assert f'"{point}.' in file.read_text(encoding="utf-8"), file
    tested = {*test_crash_points.TESTED, *cycle.POINTS, *test_event_crash_points.COUNTS, *elsewhere}
    tested |= {*test_tie_crash_points.COUNTS}
    assert tested == {*POINTS}
