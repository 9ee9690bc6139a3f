from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from understudy.supervisor.app import AppSpec
from understudy.supervisor.cli import source_files
from understudy.supervisor.cli.source_files import SourceFiles


def write(path: Path, text: str = "") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_written_made_and_removed_files_are_found_once(tmp_path: Path):
    jobs, model = write(tmp_path / "jobs.py"), write(tmp_path / "shop/model.py")
    files = SourceFiles(AppSpec.parse("jobs", tmp_path), tmp_path / "home")
    assert files.changed() == set()
    write(tmp_path / "jobs.py", "1")
    made = write(tmp_path / "shop/new.py")
    os.remove(model)
    assert files.changed() == {jobs, model, made}
    assert files.changed() == set()


def test_what_is_not_the_apps_is_left_out(tmp_path: Path):
    write(tmp_path / "jobs.py")
    write(tmp_path / "env/pyvenv.cfg")
    files = SourceFiles(AppSpec.parse("jobs", tmp_path), tmp_path / "home")
    for name in (
        ".git/x.py",
        "env/lib/x.py",
        "home/x.py",
        "__pycache__/x.py",
        "node_modules/x.py",
        "notes.txt",
    ):
        write(tmp_path / name)
    assert files.changed() == set()


def test_a_package_that_is_installed_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "lib/shop/__init__.py")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    (tmp_path / "here").mkdir()
    files = SourceFiles(AppSpec.parse("shop.tasks", tmp_path / "here"), tmp_path / "home")
    tasks = write(tmp_path / "lib/shop/tasks.py")
    write(tmp_path / "lib/unrelated.py")
    assert files.changed() == {tasks}


def test_the_number_of_files_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    for number in range(4):
        write(tmp_path / f"m{number}.py")
    monkeypatch.setattr(source_files, "FILES_LIMIT", 3)
    with caplog.at_level(logging.WARNING):
        files = SourceFiles(AppSpec.parse("m0", tmp_path), tmp_path / "home")
        for number in range(4):
            write(tmp_path / f"m{number}.py", "1")
        assert len(files.changed()) == 3
    assert len(caplog.records) == 1
