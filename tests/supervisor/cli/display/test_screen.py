from __future__ import annotations

import pytest
from rich.table import Table

from understudy.supervisor.cli.display import screen


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
