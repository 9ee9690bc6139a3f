from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from understudy.actors.state import State
from understudy.actors.task.outcomes import ErrorGroup, TaskStats, Times
from understudy.supervisor.cli.display import stats_table

NOW = 1_900_000_000.0
IDS = ("01a2250d-9aee-7712-b554-0bdf6fa76b7f",)


def text_of(*shown: Any) -> str:
    console = Console(file=StringIO(), width=200, color_system=None)
    for each in shown:
        console.print(each)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_window_has_a_line_for_each_name_and_one_for_all():
    own = TaskStats(NOW, 60, {State.COMPLETED: 1_200}, 3, 20.0, Times(1, 2e-5, 0.5, 90.0), Times())
    found = TaskStats(NOW, 60, own.ended, 3, 20.0, own.wait, own.run, {"app:etl": own})
    head, line, last = text_of(*stats_table.window(found, 200)).splitlines()
    assert "COMPLETED" in head
    assert "FAILED" not in head
    assert line.split() == ["app:etl", "1,200", "3", "20", "20µs", "500ms", "1m30s"]
    assert last.split()[0] == "all"


def test_a_narrow_window_has_the_times_below_the_numbers():
    ended = {State.COMPLETED: 1_200, State.FAILED: 3, State.TIMED_OUT: 2, State.CANCELLED: 1}
    own = TaskStats(NOW, 60, ended, 3, 20.0, Times(1, 2e-5, 0.5, 90.0), Times(1, 1.0, 2.0, 3.0))
    found = TaskStats(NOW, 60, ended, 3, 20.0, own.wait, own.run, {"app:import_catalogue": own})
    lines = text_of(*stats_table.window(found, 80)).splitlines()
    assert max(map(len, lines)) <= 80
    heads = [line.split() for line in lines if line.startswith("TASK")]
    assert heads[0][1:] == ["COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED", "RETRIED", "PER", "SECOND"]
    assert heads[1][1:] == [
        "WAIT",
        "p50",
        "WAIT",
        "p90",
        "WAIT",
        "p99",
        "RUN",
        "p50",
        "RUN",
        "p90",
        "RUN",
        "p99",
    ]
    assert lines[1].split()[1:] == ["1,200", "3", "2", "1", "3", "20"]
    assert lines[4].split() == ["app:import_catalogue", "20µs", "500ms", "1m30s", "1.0s", "2.0s", "3.0s"]


def test_a_cause_is_escaped_and_names_its_newest_task():
    group = ErrorGroup(
        "f", "app:etl", "ValueError", "jobs.py in etl", "\x1b[2J #", 1_200, NOW - 7_200, NOW - 60, IDS
    )
    text = text_of(stats_table.errors([group], 200, NOW))
    assert "\x1b" not in text
    assert text.splitlines()[1].split()[:7] == ["1,200", "app:etl", "2h", "ago", "1m", "ago", "0bdf6fa76b7f"]
    bare = ErrorGroup("f", "app:etl", "failed", "", "", 1, NOW, NOW, ())
    assert text_of(stats_table.errors([bare], 200, NOW)).splitlines()[1].split()[-1] == "failed"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0ms"), (3e-6, "3µs"), (0.00099, "990µs"), (0.002, "2ms"), (75.0, "1m15s")]
)
def test_short_times(seconds: float, text: str):
    assert stats_table.short(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0.0123456, "0.0123"), (12.345, "12.3"), (123_456.7, "123,457")]
)
def test_rates(number: float, text: str):
    assert stats_table.rate(number) == text
