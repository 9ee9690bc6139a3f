from __future__ import annotations

import json

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
