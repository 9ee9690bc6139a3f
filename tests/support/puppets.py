"""Workers for tests of the process plumbing: puppets that obey the test, and a supervisor that holds them."""

from __future__ import annotations

import ast
import asyncio
import ctypes
import os
import socket
import subprocess
import sys
import textwrap
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from understudy.actors.errors import AppFailed
from understudy.supervisor.app import AppSpec
from understudy.supervisor.forking.spawner import Spawner
from understudy.supervisor.linux.child_watch import ChildWatch
from understudy.supervisor.linux.processes import ExitStatus, children_of, has_ended, kill_strays

ENTRY = "puppets:perform"
#: Seconds that any step in these tests may take.
PATIENCE = 20.0


def perform(config: dict[str, Any], fds: list[int]) -> int:
    """A worker's main: runs the code from its socket and answers with its `result`."""
    with socket.socket(fileno=fds[0]) as sock:
        while code := sock.recv(65536):
            scope: dict[str, Any] = {"config": config, "fds": fds}
            exec(code.decode(), scope)
            sock.send(repr(scope.get("result")).encode())
    return 0


class Puppet:
    """The test's end of a worker."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self._sock = sock

    def ask(self, code: str) -> Any:
        self.tell(code)
        return ast.literal_eval(self._sock.recv(65536).decode())

    def tell(self, code: str) -> None:
        self._sock.send(textwrap.dedent(code).encode())

    def close(self) -> None:
        self._sock.close()


class Stage:
    """A spawner in this process, and a record of its events."""

    def __init__(self, spec: AppSpec, **options: Any) -> None:
        self.cookie = uuid.uuid4().hex
        self.loads: list[dict[str, Any]] = []
        self.failures: list[AppFailed] = []
        self.exits: list[ExitStatus] = []
        self.worker_exits: dict[int, ExitStatus] = {}
        self.puppets: dict[int, Puppet] = {}
        self.before = set(children_of(os.getpid()))
        self.watch = ChildWatch(self.worker_exits.__setitem__)
        options = {"entry": ENTRY, **options}
        self.spawner = Spawner(
            spec, self.cookie, self.loads.append, self.failures.append, self.exits.append, **options
        )

    async def puppet(self, config: dict[str, Any] | None = None, extra_fds: Sequence[int] = ()) -> Puppet:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(PATIENCE)
        with theirs:
            try:
                pid = await self.spawner.spawn(config or {}, [theirs.fileno(), *extra_fds])
            except BaseException:
                ours.close()
                raise
        self.watch.watch(pid)
        puppet = self.puppets[pid] = Puppet(pid, ours)
        return puppet

    async def until(self, condition: Callable[[], object]) -> None:
        await async_until(condition)

    async def close(self) -> None:
        for puppet in self.puppets.values():
            puppet.close()
        await self.spawner.stop()
        kill_strays(self.cookie)
        await self.until(self._alone_again)

    def _alone_again(self) -> bool:
        self.spawner.reap_orphans(self.before | self.watch.pids)
        return set(children_of(os.getpid())) <= self.before


async def async_until(condition: Callable[[], object]) -> None:
    """Like waiting.until, but the loop runs meanwhile."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.002)


@asynccontextmanager
async def stage(spec: AppSpec | None = None, **options: Any) -> AsyncIterator[Stage]:
    """A started spawner. Afterwards it has no processes left, and this process is no subreaper any more."""
    it = Stage(spec or AppSpec(), **options)
    it.spawner.start()
    try:
        yield it
    finally:
        await it.close()
        ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)


def write_app(folder: Path, source: str, name: str = "drama") -> AppSpec:
    path = folder / f"{name}.py"
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return AppSpec.parse(str(path), folder)


def program(source: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """A Python process with this one's imports, and pipes to it."""
    head = f"import sys; sys.path[:] = {[os.path.abspath(p) for p in sys.path]!r}\n"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", head + textwrap.dedent(source), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def said(process: subprocess.Popen[str]) -> Any:
    """The next line of its output, as a Python literal."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"it ended with {process.wait()}"
    return ast.literal_eval(line)


def end(process: subprocess.Popen[str]) -> None:
    """SIGKILL and reap it, and close its pipes."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def all_ended(pids: Sequence[int]) -> bool:
    return all(map(has_ended, pids))
