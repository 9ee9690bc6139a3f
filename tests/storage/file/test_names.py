from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.storage.file.names import draft, remove_drafts

DRAFT = """
import sys
from pathlib import Path
from understudy.storage.file.names import draft

with draft(Path(sys.argv[1]), "check"):
    print("made", flush=True)
    sys.stdin.read()
"""


def test_drafts_of_the_dead_are_removed_and_others_stay(tmp_path: Path, program: Callable[..., Any]):
    alive, dead = program(DRAFT, tmp_path), program(DRAFT, tmp_path)
    for process in (alive, dead):
        assert process.stdout.readline() == "made\n"
    dead.kill()
    dead.wait()
    # Of an earlier release: nobody has it locked.
    (tmp_path / "store.compact.1.draft").touch()
    (tmp_path / "store.mdb").touch()
    assert len(os.listdir(tmp_path)) == 4
    remove_drafts(tmp_path)
    left = sorted(os.listdir(tmp_path))
    assert [name.split(".")[:2] for name in left] == [["store", "check"], ["store", "mdb"]]
    alive.communicate("")
    assert os.listdir(tmp_path) == ["store.mdb"]


def test_a_draft_is_private_and_goes_unless_it_is_renamed(tmp_path: Path):
    with draft(tmp_path, "new") as first, draft(tmp_path, "new") as second:
        assert first != second
        assert first.stat().st_mode & 0o777 == 0o600
        first.replace(tmp_path / "kept")
    assert os.listdir(tmp_path) == ["kept"]
    with pytest.raises(ZeroDivisionError), draft(tmp_path, "new"):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["kept"]
