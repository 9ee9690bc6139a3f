"""The embedded supervisor's own side: one frame in, one frame out, and its end with the owner's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from understudy.supervisor.app import AppSpec
from understudy.supervisor.daemon.embedded import FAILED
from understudy.supervisor.home import Home
from understudy.supervisor.linux.python_command import python_command
from understudy.supervisor.settings import Settings


class Owner:
    def __init__(self) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(20)
        with theirs:
            self.process = subprocess.Popen(
                python_command("daemon.embedded", theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stderr=subprocess.PIPE,
            )

    def configure(self, home: Path, **settings: Any) -> Any:
        spec = AppSpec(sys_path=[os.path.abspath(entry) for entry in sys.path])
        packed = {**Settings(workers=1, durability="os").pack(), **settings}
        self.sock.sendall(msgpack.packb({"home": str(home), "app": spec.pack(), "settings": packed}))
        return msgpack.unpackb(self.sock.recv(65_536))

    def close(self) -> None:
        self.sock.close()
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def owner() -> Iterator[Owner]:
    made = Owner()
    yield made
    made.close()


def test_it_says_when_it_serves_and_ends_with_its_owner(owner: Owner, home: Path):
    assert owner.configure(home) == [True]
    assert Home(home).served() == owner.process.pid
    owner.sock.sendall(b"whatever an owner may say")
    owner.sock.shutdown(socket.SHUT_RDWR)
    assert owner.process.wait(20) == 0
    assert Home(home).served() is None


def test_it_says_why_it_does_not(owner: Owner, home: Path):
    served, kind, message, _ = owner.configure(home, workers=-1)
    assert (served, kind) == (False, "InvalidOption")
    assert "workers" in message
    assert owner.process.wait(20) == FAILED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_it(owner: Owner, home: Path, number: signal.Signals):
    owner.configure(home)
    os.kill(owner.process.pid, number)
    assert owner.process.wait(20) == 0


def test_an_owner_that_says_nothing(owner: Owner):
    owner.sock.shutdown(socket.SHUT_RDWR)
    assert owner.process.wait(20) == FAILED
