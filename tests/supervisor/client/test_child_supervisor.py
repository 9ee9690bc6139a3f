"""A supervisor as a child: it comes up or says why not, and dies with its owner."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from puppets import end, program, said
from understudy.actors.errors import AppFailed, HomeError, HomeInUse, SupervisorLost, UnderstudyError
from understudy.supervisor.app import AppSpec
from understudy.supervisor.client import child_supervisor as embedding_module
from understudy.supervisor.client.child_supervisor import ChildSupervisor
from understudy.supervisor.home import Home
from understudy.supervisor.linux.processes import has_ended
from understudy.supervisor.settings import Settings
from waiting import until

SETTINGS = Settings(workers=1, durability="os", drain=1.0)
SPEC = AppSpec(sys_path=[os.path.abspath(entry) for entry in sys.path])


def test_it_serves_and_stops(home: Path):
    embedded = ChildSupervisor(Home(home), SPEC, SETTINGS)
    assert embedded.alive
    assert Home(home).served() == embedded.pid
    with Home(home).connect() as sock:
        assert isinstance(sock, socket.socket)
    embedded.stop()
    assert not embedded.alive
    assert Home(home).served() is None
    embedded.stop()
    embedded.kill()


def test_what_keeps_it_from_serving_is_raised_here(home: Path, tmp_path: Path):
    home.mkdir(mode=0o700)
    with Home(home).lock(), pytest.raises(HomeInUse) as caught:
        ChildSupervisor(Home(home), SPEC, SETTINGS)
    assert caught.value.pid == os.getpid()
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(HomeError, match="not a folder"):
        ChildSupervisor(Home(file), SPEC, SETTINGS)


def test_an_app_that_cannot_be_loaded_is_told_at_the_start_of_a_task(home: Path):
    """The supervisor serves all the same: it loads the app beside that."""
    from understudy import Runtime

    with Runtime(home, app="no_such_module_anywhere", workers=1) as rt:
        for _ in range(2):
            with pytest.raises(AppFailed, match="no_such_module_anywhere"):
                rt.start("no_such_module_anywhere:task")


def test_a_home_whose_name_is_no_text(home: Path):
    odd = home.parent / os.fsdecode(b"h\xff")
    with pytest.raises(HomeError, match="is not UTF-8"):
        ChildSupervisor(Home(odd), SPEC, SETTINGS)
    assert not odd.exists()


def test_one_that_dies_before_it_serves(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        embedding_module, "python_command", lambda _module, _fd: [sys.executable, "-c", "raise SystemExit(7)"]
    )
    with pytest.raises(UnderstudyError, match="exit code 7"):
        ChildSupervisor(Home(home), SPEC, SETTINGS)


def test_one_that_is_killed_before_it_serves(home: Path, monkeypatch: pytest.MonkeyPatch):
    suicide = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    monkeypatch.setattr(embedding_module, "python_command", lambda _module, _fd: suicide)
    with pytest.raises(SupervisorLost, match="killed during its start"):
        ChildSupervisor(Home(home), SPEC, SETTINGS)


def test_one_that_does_not_come_up(home: Path, monkeypatch: pytest.MonkeyPatch):
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(embedding_module, "python_command", lambda _module, _fd: sleeper)
    monkeypatch.setattr(embedding_module, "START_TIMEOUT", 0.1)
    with pytest.raises(UnderstudyError, match=r"did not start within 0\.1 s"):
        ChildSupervisor(Home(home), SPEC, SETTINGS)


def test_one_that_hangs_is_killed(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedding_module, "STOP_MARGIN", 0.1)
    embedded = ChildSupervisor(Home(home), SPEC, Settings(workers=1, drain=0.0))
    os.kill(embedded.pid, signal.SIGSTOP)
    embedded.stop()
    assert not embedded.alive


OWNER = """
    import os, signal
    from understudy.supervisor.app import AppSpec
    from understudy.supervisor.client.child_supervisor import ChildSupervisor
    from understudy.supervisor.home import Home
    from understudy.supervisor.settings import Settings

    embedded = ChildSupervisor(Home(sys.argv[1]), AppSpec(sys_path=sys.path), Settings(workers=1, drain=0.5))
    child = os.fork() if sys.argv[2] == "fork" else 0
    if sys.argv[2] == "fork" and child == 0:
        embedded.abandon()
        signal.pause()
    print([embedded.pid, child], flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("forked", ["no", "fork"])
def test_it_dies_with_its_owner(home: Path, forked: str):
    """Also while a fork of the owner, which has abandoned it, lives on."""
    owner = program(OWNER, str(home), forked)
    supervisor, child = said(owner)
    end(owner)
    until(lambda: has_ended(supervisor), 20)
    assert Home(home).served() is None
    if child:
        os.kill(child, signal.SIGKILL)
