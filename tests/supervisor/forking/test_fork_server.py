"""The fork server's side by itself, as a program with the test at the other end of its socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from puppets import ENTRY, PATIENCE, end, program, write_app
from understudy.supervisor.app import AppSpec
from understudy.supervisor.forking.fork_server import EX_APP
from understudy.supervisor.linux.processes import COOKIE, has_ended, strays
from understudy.supervisor.wire import packets
from waiting import until

SERVE = "import sys; from understudy.supervisor.forking.fork_server import main; main(int(sys.argv[1]))"


class Server:
    def __init__(self, process: subprocess.Popen[str], sock: socket.socket, cookie: str) -> None:
        self.process = process
        self.sock = sock
        self.cookie = cookie
        self.inlet = packets.Inlet(sock)

    def greet(self, spec: AppSpec, entry: str = ENTRY, supervisor: int | None = None) -> Any:
        hello = {"supervisor": supervisor or os.getpid(), "app": spec.pack(), "entry": entry, "name": "test"}
        packets.send(self.sock, hello)
        return self.hear()

    def hear(self) -> Any:
        received = self.inlet.receive()
        return received and received[0]

    def close(self) -> tuple[int, str]:
        """Hang up; its exit code and what it said on stderr."""
        self.sock.close()
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        return self.process.wait(PATIENCE), said


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as it:
        yield it


@contextmanager
def serving() -> Iterator[Server]:
    ours, theirs = packets.pair()
    ours.settimeout(PATIENCE)
    cookie = uuid.uuid4().hex
    with ours, theirs:
        process = program(
            SERVE,
            str(theirs.fileno()),
            pass_fds=[theirs.fileno()],
            env={**os.environ, COOKIE: cookie},
            stderr=subprocess.PIPE,
        )
        theirs.close()
        try:
            yield Server(process, ours, cookie)
        finally:
            end(process)


def test_loads_and_ends_with_its_supervisor(server: Server, tmp_path: Path):
    spec = write_app(tmp_path, "from understudy import task\n@task\ndef play(): pass")
    answer = server.greet(spec)
    assert {"loaded", "declare", "trees"} <= answer.keys()
    assert list(answer["loaded"]) == ["drama:play"]
    assert server.close() == (0, "")


def test_a_supervisor_that_hangs_up_before_it_speaks(server: Server):
    assert server.close() == (0, "")


def test_an_app_that_fails_is_told_and_ends_it(server: Server, tmp_path: Path):
    answer = server.greet(write_app(tmp_path, "1 / 0"))
    assert "ZeroDivisionError" in answer["failed"]
    assert "drama.py" in answer["traceback"]
    assert server.hear() is None
    assert server.process.wait(PATIENCE) == EX_APP


@pytest.mark.parametrize("entry", ["no_such_module:main", "puppets:no_such_function"])
def test_an_entry_that_is_not_there(server: Server, entry: str):
    answer = server.greet(AppSpec(), entry)
    assert "the fork server failed" in answer["failed"]
    assert entry.partition(":")[0] in answer["traceback"]


def test_dies_with_a_supervisor_that_is_gone_already(server: Server):
    assert server.greet(AppSpec(), supervisor=os.getpid() + 1) is None
    assert server.process.wait(PATIENCE) == -signal.SIGKILL


def test_warns_of_threads_that_a_fork_would_lose(server: Server, tmp_path: Path):
    source = "import threading\nthreading.Thread(target=threading.Event().wait, name='prompter', daemon=True).start()"
    server.greet(write_app(tmp_path, source))
    code, said = server.close()
    assert code == 0
    assert said.count("\n") == 1
    assert "warning" in said
    assert "prompter" in said


def test_threads_and_exit_hooks_of_the_app_do_not_keep_it(server: Server, tmp_path: Path):
    source = """
        import atexit, threading
        threading.Thread(target=threading.Event().wait).start()
        atexit.register(threading.Event().wait)
    """
    server.greet(write_app(tmp_path, source))
    assert server.close()[0] == 0


def test_sweeps_up_what_the_app_started(server: Server, tmp_path: Path):
    source = "import subprocess\nchild = subprocess.Popen(['setsid', '--fork', 'sleep', '60'])\nchild.wait()"
    server.greet(write_app(tmp_path, source))
    until(lambda: len(strays(server.cookie)) == 2)
    pids = strays(server.cookie)
    assert server.close()[0] == 0
    assert all(map(has_ended, pids))


def test_a_worker_that_is_not_adopted_ends(server: Server):
    # This process is no subreaper: the worker goes to init, which is not the supervisor it was promised.
    server.greet(AppSpec())
    theirs, ours = socket.socketpair()
    with theirs, ours:
        (packet,) = packets.cut({"spawn": 1, "config": {}})
        packets.send_packet(server.sock, packet, [theirs.fileno()])
        theirs.close()
        answer = server.hear()
        assert answer["spawned"] == 1
        ours.settimeout(PATIENCE)
        assert ours.recv(1) == b""
    until(lambda: has_ended(answer["pid"]))
