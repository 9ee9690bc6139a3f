from __future__ import annotations

import pytest
from rich.console import Console, RenderableType

from understudy.actors.errors import ErrorInfo
from understudy.actors.state import State
from understudy.actors.task.handles import TaskRecord
from understudy.supervisor.cli.display import actor_table

NOW = 1_900_000_000.0
ID = "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d"


def lines(renderable: RenderableType, width: int) -> list[str]:
    console = Console(width=width, force_terminal=True, color_system=None, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_an_actor_takes_one_escaped_line(width: int):
    record = TaskRecord(
        id=ID, stream_id=ID, task="bank:Account", state=State.IDLE, attempt=1, interruptions=0, created=NOW - 60,
        actor="[red]\x1b[2J", mailbox_depth=1200,
    )  # fmt: skip
    head, line = lines(actor_table.actors([(ID[-12:], record)], width, NOW), width)
    assert head.split() == ["ID", "ACTOR", "STATE", "AGE", "MAILBOX"]
    assert line.split() == [ID[-12:], "bank:Account/[red]\\x1b[2J", "idle", "1m00s", "1,200"]


def test_a_dead_letter_has_its_message_and_its_error():
    rows = [(ID[-12:], NOW - 5, {"method": "pay", "args": ["\x1b"]}, ErrorInfo("E", "a\nb\nlast\x1b"))]
    _, line = lines(actor_table.dead_letters(rows, 120, NOW), 120)
    assert '{"method": "pay", "args": ["\\u001b"]}' in line
    assert "E: a … last\\x1b" in line
    (_, narrow) = lines(actor_table.dead_letters(rows, 40, NOW), 40)
    assert len(narrow) <= 40


def test_storage_has_keys_and_values():
    assert [line.rstrip() for line in lines(actor_table.storage([("k\x1b", {"a": 1})], 80), 80)] == [
        "KEY    VALUE",
        'k\\x1b  {"a": 1}',
    ]


def test_a_reminder_says_when_and_what():
    text = actor_table.reminder("x\x1b", NOW + 7200, 60.0, "report", NOW)
    assert text.startswith("x\\x1b, ")
    assert text.endswith("(in 2h), every 1m00s, calls report")
    assert actor_table.reminder("x", NOW, None, None, NOW).endswith("ago)")
