from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from understudy.storage.file import names
from understudy.storage.file.names import draft_file, gate, gate_file, remove_drafts
from waiting import until


def test_drafts_of_the_dead_and_our_own_are_removed_others_stay(tmp_path: Path):
    child = subprocess.Popen(["true"])
    child.wait()
    mine = draft_file(tmp_path, "compact")
    alive = tmp_path / "store.backup.1.draft"
    dead = tmp_path / f"store.backup.{child.pid}.draft"
    other = tmp_path / "store.mdb"
    for path in (mine, alive, dead, other):
        path.touch()
    remove_drafts(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([alive, other])


def test_those_who_open_pass_the_gate_together_and_who_swaps_passes_alone(tmp_path: Path):
    passed: list[str] = []

    def swap() -> None:
        with gate(tmp_path, alone=True):
            passed.append("swapped")

    swapper = threading.Thread(target=swap)
    with gate(tmp_path, alone=False), gate(tmp_path, alone=False):
        swapper.start()
        until(lambda: "FLOCK" in Path("/proc/locks").read_text(encoding="utf-8"))
        passed.append("opened")
    swapper.join()
    assert passed == ["opened", "swapped"]
    assert gate_file(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_home_that_cannot_be_written_needs_no_gate_to_open(tmp_path: Path, monkeypatch):
    def read_only(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(names.os, "open", read_only)
    with gate(tmp_path, alone=False):
        pass
    with pytest.raises(OSError, match="Read-only"), gate(tmp_path, alone=True):
        pass
    assert os.listdir(tmp_path) == []
