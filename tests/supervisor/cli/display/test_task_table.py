from __future__ import annotations

from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from understudy.actors.errors import ErrorInfo
from understudy.actors.state import State
from understudy.actors.task.handles import TaskRecord
from understudy.supervisor.cli.display import task_table

NOW = 1_900_000_000.0
ID = "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d"


def record(state: State = State.FAILED, **fields: Any) -> TaskRecord:
    known = {"id": ID, "stream_id": ID, "task": "app:" + "n" * 60, "attempt": 1, "interruptions": 0}
    return TaskRecord(**{**known, "created": NOW - 60, "state": state, **fields})


def lines(renderable: RenderableType, width: int) -> list[str]:
    console = Console(width=width, force_terminal=True, color_system=None, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120, 160, 400])
def test_a_task_takes_one_line_at_any_width(width: int):
    rows = [
        (ID[:13], record(error=ErrorInfo("E", "舞台" * 100))),
        (ID[:13], record(State.RUNNING, started=NOW)),
    ]
    shown = lines(task_table.tasks(rows, width, NOW), width)
    assert len(shown) == 3
    assert all(cell_len(line.rstrip()) <= width for line in shown)
    assert ("DETAIL" in shown[0]) == (width >= 80)


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abcdefghij", 10, "abcdefghij"),
        ("abcdefghij", 7, "abc…hij"),
        ("abcdefghij", 6, "ab…hij"),
        ("舞台舞台舞台", 8, "舞…舞台"),
        ("abc", 1, "…"),
    ],
)
def test_a_cut_keeps_the_beginning_and_the_end(text: str, width: int, shown: str):
    cell = task_table.cut_middle(Text(text, "red"), width)
    assert cell.plain.replace(" ", "") == shown
    assert cell.cell_len <= width


def test_the_end_of_an_error_is_shown():
    row = (ID[-12:], record(task="app:etl", error=ErrorInfo("OSError", "x" * 200 + ": no space left")))
    (_, shown) = lines(task_table.tasks([row], 100, NOW), 100)
    assert "OSError: x" in shown
    assert "x: no space left" in shown


@pytest.mark.parametrize("seconds", [0.4, 1.06, 9.97, 59.7, 61.5, 119.9, 3600.5, 90_000.0])
def test_the_run_time_is_never_shown_above_the_age(seconds: float):
    row = (ID[-12:], record(State.RUNNING, task="app:etl", created=NOW - seconds, started=NOW - seconds))
    (_, shown) = lines(task_table.tasks([row], 100, NOW), 100)
    age, ran = shown.split()[4:6]
    assert age == ran


def test_text_from_tasks_is_shown_as_it_is():
    row = (ID, record(task="[red]x[/red] :smile: \x1b[2J", error=ErrorInfo("E", "[bold]\x1b[31m")))
    shown = "\n".join(lines(task_table.tasks([row], 200, NOW), 200))
    assert "[red]x[/red] :smile: \\x1b[2J" in shown
    assert "E: [bold]\\x1b[31m" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("room", "name", "detail", "expected"),
    [
        (100, 20, 30, (20, 30)),
        (50, 20, 0, (20, 0)),
        (10, 20, 0, (10, 0)),
        (40, 60, 60, (18, 20)),
        (60, 10, 200, (10, 48)),
        (60, 100, 20, (38, 20)),
        (20, 60, 60, (20, 0)),
    ],
)
def test_the_name_and_the_detail_share_what_room_there_is(
    room: int, name: int, detail: int, expected: tuple[int, int]
):
    assert task_table.shares(room, name, detail) == expected


def test_a_sheet_has_the_facts_the_values_and_the_traceback():
    shown = record(
        started=NOW - 5,
        ended=NOW - 2,
        interruptions=2,
        tries=4,
        error=ErrorInfo("E", "m\x1b", "Traceback\n  line\x1b[H\n", {"pid": 7}),
        key="k",
        checkpoint_time=NOW - 3,
        checkpoint_size=2048,
    )
    text = "\n".join(lines(task_table.sheet(shown, {"args": ["\x1b"]}, NOW), 100))
    for part in (
        "1 of 4, interrupted 2 times",
        "2.0 KiB",
        '["\\u001b"]',
        "E: m\\x1b",
        "  line\\x1b[H",
        '{"pid": 7}',
    ):
        assert part in text
    assert "\x1b" not in text
    assert "mailbox" not in text, "an ended task has none"
