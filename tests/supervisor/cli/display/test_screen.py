from __future__ import annotations

import json
import logging

import pytest
from rich.table import Table

from understudy.supervisor.cli.display import screen
from understudy.supervisor.text import escape


def test_without_a_terminal_there_is_no_colour_and_no_padding(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    table = Table("A", "B", box=None, header_style="bold red")
    table.add_row("x" * 300, "[red]y")
    screen.show(table)
    out = capsys.readouterr().out
    assert "x" * 300 in out
    assert "[red]y\n" in out
    assert "\x1b" not in out
    assert " \n" not in out


def test_columns_are_kept_to(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "77")
    assert screen.console().width == 77


def test_values_are_json_on_one_line(capsys: pytest.CaptureFixture[str]):
    screen.value({"a": [1]})
    screen.json([b"x"])
    assert capsys.readouterr().out == '{"a": [1]}\n[{"$bytes": "eA=="}]\n'


HOSTILE = "\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\\r\\u202e\\ud800\\x00[red]"
APP = f'''
import logging
from understudy import Fail, checkpoint, progress, receive, task

TEXT = "{HOSTILE}"

class Nasty(Exception):
    pass

Nasty.__name__ = Nasty.__qualname__ = "Nasty" + TEXT.replace("\\ud800", "").replace("\\x00", "")

@task(name="evil[red]x[/red]")
def evil(fail=False):
    print(TEXT)
    logging.getLogger(TEXT).error(TEXT)
    progress(1, 2, TEXT)
    checkpoint({{TEXT.replace("\\ud800", ""): TEXT.replace("\\ud800", "")}})
    if fail:
        raise Nasty(TEXT)
    return {{TEXT.replace("\\ud800", ""): [TEXT.replace("\\ud800", "")]}}

@task(name="waits", timeout=None)
def waits():
    progress(1, 2, TEXT)
    print(TEXT)
    receive()
'''


def test_nothing_of_a_task_reaches_the_terminal_as_it_is(stage):
    """Names, values, errors, notes, logs, checkpoints and keys, through every command that shows any of them."""
    stage.write(APP, "hostile")
    process, _ = stage.serve(app="hostile")
    name = "evil[red]x[/red]"  # that names are printable is seen to where they are declared
    key = "\x1b[2Jkey\u202e"
    good, bad = stage.start(name, "--key", key), stage.start(name, "true")
    waits = stage.start("waits")
    stage.until_state(good, "completed")
    stage.until_state(bad, "failed")
    stage.until_state(waits, "running")
    calls = [[command, id, *more] for command in ("show", "logs", "result", "checkpoint") for id in (good, bad)
             for more in ([], ["--json"]) if command in ("show", "logs") or not more]  # fmt: skip
    calls += [["ps"], ["ps", "--json"], ["ps", "--task", name], ["tree"], ["tree", "--json"], ["check"]]
    calls += [
        ["run", name],
        ["run", name, "true"],
        ["start", "evil\x9b31m\u202e"],
        ["start", "\x1b[2J:x"],
        ["show", "\x1b[2J"],
    ]
    calls += [["show", waits], ["logs", waits], ["send", "\x1b[2J", "1"], ["retry", bad], ["cancel", waits]]
    calls += [
        ["ps", "--state", "\x1b[2J"],
        ["\x1b[2J"],
        ["start", name, "\x1b[2J"],
        ["send", good, '"\x1b[2J"'],
    ]
    for call in calls:
        answer = stage(*call)
        for text in (answer.out, answer.err):
            wrong = [char for char in text if not (char.isprintable() or char == "\n")]
            assert wrong == [], (call, text)
        if "--json" in call:
            texts = answer.out.splitlines() if call[0] == "logs" else [answer.out]
            assert [json.loads(text) for text in texts]
    coloured = stage("ps", FORCE_COLOR="1")
    assert "\x1b[2J" not in coloured.out
    assert "\x07" not in coloured.out
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert all(char.isprintable() or char == "\n" for char in out + err), err


def test_log_records_are_escaped():
    record = logging.LogRecord("x", 30, "", 0, "task %s", ("\x1b[2J\n\u202e",), None)
    assert escape.Formatter("understudy: %(message)s").format(record) == "understudy: task \\x1b[2J\n\\u202e"
