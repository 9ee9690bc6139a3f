from __future__ import annotations

import io
import os
import sys
from typing import Any
from unittest.mock import patch

import pytest

from understudy.actors.ids import id_text
from understudy.storage.tables.record import Record
from understudy.supervisor.cli import end_wait

ID = bytes.fromhex("0198f1c27b3e7c119d1a5f3c2b1a0e4d")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Rows:
    """As much of a Reader, and of a Runtime, as is asked for. The task ends at the third wait."""

    def __init__(self, record: Record | None, waits: int = 3) -> None:
        self._record = record
        self.waits = waits
        self.asked: list[float | None] = []

    def record(self, id: bytes) -> Record | None:
        return self._record

    def wait(self, id: str, timeout: float | None = None) -> None:
        self.asked.append(timeout)
        self.waits -= 1
        if self.waits:
            raise TimeoutError


def shown(rows: Any, timeout: float | None = None, err: io.StringIO | None = None) -> str:
    err = err or Terminal()
    err.fileno = lambda: 2  # type: ignore[method-assign]
    with patch.object(sys, "stderr", err), patch.object(os, "get_terminal_size", lambda _fd: Size()):
        end_wait.await_end(rows, rows, id_text(ID), timeout)
    return err.getvalue()


class Size:
    columns = 60


def test_the_line_is_replaced_and_removed_at_the_end():
    record = Record(ID, "app:x", 0.0, ID)
    record.progress = (1, 4, "n" * 100)
    text = shown(Rows(record))
    lines = text.split("\r\x1b[K")[1:]
    assert len(lines) == 3
    assert lines[0].startswith("queued ")
    assert "1/4 (25%), nnn" in lines[0]
    assert all(len(line) < 60 for line in lines)
    assert lines[-1] == ""


def test_a_task_that_was_pruned_shows_nothing():
    assert set(shown(Rows(None)).split("\r\x1b[K")) == {""}


def test_the_limit_of_the_wait_holds():
    rows = Rows(None, waits=1_000_000)
    with pytest.raises(TimeoutError):
        shown(rows, 0.0)
    assert rows.asked == [0.0]


def test_a_pipe_gets_nothing():
    rows = Rows(None, waits=1)
    assert shown(rows, 7.0, io.StringIO()) == ""
    assert rows.asked == [7.0]
