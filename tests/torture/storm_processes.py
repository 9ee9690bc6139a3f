"""The processes of a storm. They are started with a mark, found by it, and killed only if they have it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from understudy.supervisor.linux.processes import children_of, has_ended

HERE = Path(__file__).parent
#: The environment variable in every process of a storm except its WebSocket server.
MARK = "UNDERSTUDY_STORM"

SERVE = """
import asyncio, json, logging, sys
sys.path[:] = json.loads(sys.argv[1])
from understudy.supervisor.app import AppSpec
from understudy.supervisor.home import Home
from understudy.supervisor.daemon.supervisor import Supervisor
from understudy.supervisor.settings import Settings
logging.basicConfig(level="INFO", format="%(asctime)s %(message)s", stream=sys.stderr)
home, app, settings = json.loads(sys.argv[2])
asyncio.run(Supervisor(Home(home), AppSpec.parse(app), Settings.of(settings)).run())
"""


class Processes:
    """The processes of the storm in `folder`. `supervisor` is None if clients embed it. `close` ends the rest."""

    def __init__(self, folder: Path, settings: dict[str, Any], **environment: str) -> None:
        self._folder = folder
        self._home = folder / "home"
        self._settings = settings
        self._mark = uuid.uuid4().hex
        self._environment = {
            **os.environ,
            **environment,
            "UNDERSTUDY_STORM_FOLDER": str(folder),
            "UNDERSTUDY_STORM_SETTINGS": json.dumps(settings),
        }
        self._log = (folder / "log").open("ab")
        self.supervisor: subprocess.Popen[bytes] | None = None
        self.clients: list[subprocess.Popen[bytes]] = []
        self._server: subprocess.Popen[bytes] | None = None

    # --- starting ---

    def serve(self) -> None:
        """Start a supervisor."""
        arguments = [str(self._home), str(HERE / "storm_tasks.py"), self._settings]
        self.supervisor = self._start(["-P", "-c", SERVE, json.dumps(sys.path), json.dumps(arguments)])

    def add_client(self, name: str, seed: str, kind: str) -> None:
        """Start one more client."""
        self.clients.append(self._start([str(HERE / "storm_client.py"), name, seed, kind]))

    def listen(self, seed: str) -> None:
        """Start the WebSocket server. It is never killed, and ends with this process in any case."""
        command = [sys.executable, str(HERE / "storm_server.py"), str(self._folder), seed]
        self._server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=self._log, stderr=self._log, env=self._environment
        )

    def _start(self, arguments: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            env={**self._environment, MARK: self._mark},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    # --- finding ---

    def ours(self) -> list[int]:
        """Every living process of this storm except this one and the server."""
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and self._is_ours(int(entry))]

    def supervisor_pid(self) -> int:
        """The pid of the supervisor that serves the home; 0 for none."""
        if self.supervisor is not None:
            return self.supervisor.pid
        with suppress(OSError, ValueError, IndexError):
            return int((self._home / "supervisor.lock").read_bytes().split()[0])
        return 0

    def below_supervisor(self, *, fork_server: bool) -> list[int]:
        """The fork servers, or the workers."""
        with suppress(OSError):
            return [pid for pid in children_of(self.supervisor_pid()) if _is_fork_server(pid) is fork_server]
        return []

    def living_clients(self) -> list[int]:
        """The clients that have not ended."""
        return [client.pid for client in self.clients if client.poll() is None]

    def server_ended(self) -> bool:
        """Whether the WebSocket server has ended, which it should not."""
        return self._server is not None and self._server.poll() is not None

    def titles(self) -> list[str]:
        """A text for people: the processes of this storm."""
        return [_title(pid) for pid in self.ours()]

    def _is_ours(self, pid: int) -> bool:
        mark = f"{MARK}={self._mark}".encode()
        try:
            return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") and not has_ended(pid)
        except OSError:
            return False

    # --- ending ---

    def signal(self, pid: int, number: int) -> bool:
        """Send a signal, but only to a process of the storm: pids are used again."""
        if pid <= 1:
            return False
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return False
        try:
            if not self._is_ours(pid):
                return False
            signal.pidfd_send_signal(descriptor, number)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def close(self) -> None:
        """Kill the rest and wait for it."""
        self._log.close()
        for pid in self.ours():
            self.signal(pid, signal.SIGKILL)
        for process in [*self.clients, *([self.supervisor] if self.supervisor else [])]:
            process.wait()
        if self._server is not None:
            stdin: IO[bytes] | None = self._server.stdin
            assert stdin is not None
            stdin.close()
            self._server.wait()


def _title(pid: int) -> str:
    with suppress(OSError):
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        return f"{pid} (parent {parent}, {state}) {Path(f'/proc/{pid}/cmdline').read_bytes()[:60]!r}"
    return str(pid)


def _is_fork_server(pid: int) -> bool | None:
    """None for a process that is neither this nor a worker."""
    with suppress(OSError):
        name = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b": worker" in name:
            return False
        if b": fork server" in name or b"forkserver" in name:
            return True
    return None
