from __future__ import annotations

import json
import logging

import pytest

from understudy.supervisor.text import escape


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain – ünïcödé 舞台", "plain – ünïcödé 舞台"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x9b31m", "\\x9b31m"),
        ("exe.\u202etxt", "exe.\\u202etxt"),
        ("\ud800", "\\ud800"),
        ("[red]kept[/red] :smile:", "[red]kept[/red] :smile:"),
    ],
)
def test_one_line(raw: str, shown: str):
    assert escape.one_line(raw) == shown
    assert escape.one_line(raw).isprintable()


def test_every_character_comes_out_printable():
    everything = "".join(map(chr, range(0x3000)))
    assert escape.one_line(everything).isprintable()
    assert all(line.isprintable() for line in escape.lines(everything))


def test_lines_keep_their_breaks_and_blanks():
    assert escape.lines("a\n  b\r\nc\td\n") == ["a", "  b", "c       d"]
    assert escape.lines("") == []
    assert escape.block("x\n\x1b[H") == "x\n\\x1b[H"


def test_json_stays_json():
    text = json.dumps({"k\u202e": "\x7f\x9b\U000e0001é"}, ensure_ascii=False, indent=1)
    safe = escape.in_json(text)
    assert json.loads(safe) == json.loads(text)
    assert all(line.isprintable() for line in safe.split("\n"))
    assert "é" in safe


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
