from __future__ import annotations

import logging
from pathlib import Path

import pytest

from understudy.supervisor.app import AppSpec
from understudy.supervisor.cli.reloader import Reloader
from understudy.supervisor.cli.source_files import SourceFiles


def test_a_change_is_due_when_it_is_complete_and_compiles(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("")
    two.write_text("")
    reloader = Reloader(SourceFiles(AppSpec.parse("one", tmp_path), tmp_path / "home"))
    assert not reloader._is_due()
    one.write_text("def (")
    assert not reloader._is_due(), "it may still be being written"
    with caplog.at_level(logging.ERROR):
        assert not reloader._is_due()
        two.write_text("x = 1")
        assert not reloader._is_due()
        assert not reloader._is_due(), "the other file is still broken"
    (record,) = caplog.records
    assert f"{one}:1: " in record.getMessage()
    one.write_text("y = 1")
    assert not reloader._is_due()
    assert reloader._is_due()
