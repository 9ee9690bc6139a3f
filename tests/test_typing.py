"""What mypy and pyright say of programs that use the package, as they find it in a user's environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from checkout import ROOT
from needs import require

#: Neither may say anything of these: calls with the types of their results, and the examples.
ACCEPTED = [ROOT / "tests" / "support" / "well_typed.py", *sorted((ROOT / "examples").glob("*.py"))]
#: Both must refuse each line of this one that has the mark.
REFUSED = ROOT / "tests" / "support" / "ill_typed.py"
MARK = "  # refused"

#: The place where the package is `understudy`; the checkout's folder may have another name.
PATH = ROOT / ".typing"


class Complaint(NamedTuple):
    """An error that a checker has found."""

    file: str
    line: int
    message: str


def mypy(folder: Path) -> Iterator[Complaint]:
    """The errors that mypy finds in the files of a folder."""
    options = ["--strict", "--follow-imports=silent", "--ignore-missing-imports"]
    options += ["--output=json", "--cache-dir=/dev/null", "--python-executable", sys.executable]
    said = _said([sys.executable, "-m", "mypy", *options, "."], folder)
    for line in said.splitlines():
        error = json.loads(line)
        if error["severity"] == "error":
            yield Complaint(Path(error["file"]).name, error["line"], error["message"])


def pyright(folder: Path) -> Iterator[Complaint]:
    """The errors that pyright finds in the files of a folder."""
    command = shutil.which("pyright", path=f"{ROOT / '.node/node_modules/.bin'}:{os.environ.get('PATH', '')}")
    require(command, "the type checker pyright: npm install --prefix .node pyright@1.1")
    (folder / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(PATH)]}), encoding="utf-8")
    said = json.loads(_said([str(command), "--outputjson", "--pythonpath", sys.executable], folder))
    assert said["summary"]["filesAnalyzed"] == len(ACCEPTED) + 1
    for error in said["generalDiagnostics"]:
        if error["severity"] == "error":
            yield Complaint(Path(error["file"]).name, error["range"]["start"]["line"] + 1, error["message"])


def _said(command: list[str], folder: Path) -> str:
    environ = {**os.environ, "MYPYPATH": str(PATH), "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1, done.stdout + done.stderr  # it has found errors, as it should
    return done.stdout


@pytest.mark.timeout(240)
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_type_checkers_accept_right_programs_and_refuse_each_wrong_call(checker, tmp_path: Path):
    for file in (*ACCEPTED, REFUSED):
        shutil.copy(file, tmp_path)
    complaints = list(checker(tmp_path))
    assert [complaint for complaint in complaints if complaint.file != REFUSED.name] == []
    refused = {complaint.line: complaint.message for complaint in complaints}
    for number, line in enumerate(REFUSED.read_text(encoding="utf-8").splitlines(), 1):
        if line.endswith(MARK):
            assert number in refused, f"accepted: {line.strip()}"
        else:
            assert number not in refused, f"{line.strip()}: {refused[number]}"
