from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from understudy.actors import values
from understudy.actors.events.event import Event, EventRecord
from understudy.actors.events.stream import Stream, StreamNode
from understudy.actors.state import State
from understudy.supervisor.cli.display import event_table

NOW = 1_900_000_000.0
EVENT = EventRecord(
    "stripe/1",
    "order.paid",
    NOW - 60,
    "s",
    "o",
    (("app:bill", "r1"), ("app:audit", "r2"), ("app:x", "r3")),
    values.pack(Event("stripe/1", "order.paid", {"note": "\x1b[2J"}, NOW - 60, "s")),
)


def text_of(shown: Any) -> str:
    console = Console(file=StringIO(), width=150, color_system=None)
    console.print(shown)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_row_counts_the_states_of_the_runs():
    text = text_of(event_table.events([(EVENT, ["completed", "failed", None]), (EVENT, [])], 150, NOW))
    first, second = text.splitlines()[1:3]
    assert "1 completed, 1 failed, 1 pruned" in first
    assert "1m00s" in first
    assert " none " in second
    assert "\x1b" not in text


def test_the_sheet_has_a_line_for_each_run():
    text = text_of(event_table.sheet(EVENT, ["completed", "failed", None], NOW))
    assert "r1  app:bill  completed" in text
    assert "r3  app:x  pruned" in text
    assert "\x1b" not in text


def test_the_tree_is_indented_and_escaped():
    run = StreamNode("run", "r", "app:\x1b", NOW - 50, State.FAILED, 2, NOW - 40, NOW - 30, "E: \x1b")
    tree = Stream("s", [StreamNode("event", "e", "order.paid", NOW - 60, children=[run])])
    first, second = text_of(event_table.stream(tree, NOW)).splitlines()
    assert first.startswith("event order.paid")
    assert second.startswith("  run app:\\x1b")
    assert second.split()[-4:] == ["ago", "10s", "E:", "\\x1b"]
    assert " failed " in second
