"""Another Python set up like this one, whatever the folder and the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import understudy
from understudy.actors.errors import AppFailed
from understudy.supervisor.linux.python_command import STARTING, environment, python_command

#: Stands in for a module of this room: says what it was given and where the package came from.
PROBE = """
import os, sys
def main(fd):
    import understudy
    os.write(fd, repr([understudy.__file__, sys.path, os.environ.get("PYTHONPATH"), __name__]).encode())
"""


def run(command: list[str], fd: int, folder: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": "/nowhere"}
    subprocess.run(command, pass_fds=[fd], cwd=folder, env=environ, check=True, timeout=20)


def test_it_runs_main_of_this_very_package(tmp_path: Path):
    (tmp_path / "understudy.py").write_text("raise SystemExit('the wrong one')")
    read_end, write_end = os.pipe()
    try:
        command = python_command("probe", write_end)
        # The probe is put where the command would import it from.
        code = f"import types, sys; m = types.ModuleType('understudy.supervisor.probe'); exec({PROBE!r}, vars(m)); "
        *head, body = command
        preamble, _, rest = body.partition("; from ")
        body = f"{preamble}; import understudy.supervisor; {code} sys.modules[m.__name__] = m; from {rest}"
        run([*head, body], write_end, tmp_path)
        said = eval(os.read(read_end, 65_536))
    finally:
        os.close(read_end)
        os.close(write_end)
    package, path, python_path, name = said
    assert package == understudy.__file__
    assert name == "understudy.supervisor.probe"
    assert path == [
        os.path.abspath(entry) if not entry or os.path.exists(entry) else entry for entry in sys.path
    ]
    assert python_path == "/nowhere", "what tasks start gets the environment as it was"


def test_it_is_this_interpreter_with_its_flags():
    command = python_command("daemon.embedded", 7)
    assert command[0] == sys.executable
    assert command[-3:-1] == ["-P", "-c"]
    assert command[-1].endswith("from understudy.supervisor.daemon.embedded import main; main(7)")


def test_a_packed_program_is_refused(monkeypatch: pytest.MonkeyPatch):
    # As PyInstaller and others set it: sys.executable is the program.
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(AppFailed, match=r"no Python interpreter of its own.* Runtime\.connect"):
        python_command("daemon.embedded", 7)
    monkeypatch.setattr(sys, "frozen", False)
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(AppFailed, match=r"sys\.executable is the program itself, .* or is not set"):
        python_command("daemon.embedded", 7)


def test_a_program_in_place_of_an_interpreter_starts_no_further_one(monkeypatch: pytest.MonkeyPatch):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AppFailed, match="no Python interpreter of its own"):
        python_command("daemon.embedded", 7)
    monkeypatch.delenv(STARTING)
    command = python_command("probe", 7)
    command[-1] = command[-1].partition("; from ")[0] + "; print(os.environ.get('UNDERSTUDY_STARTING'))"
    assert (
        subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=30).stdout
        == "None\n"
    )
