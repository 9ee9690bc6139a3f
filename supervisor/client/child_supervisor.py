"""A supervisor as a child process of the program that uses it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from typing import Any, Final

import msgpack

from ...actors.errors import SupervisorLost, UnderstudyError
from ..app import AppSpec
from ..home import Home
from ..linux.python_command import python_command
from ..settings import Settings
from ..wire.error_codec import error_of

#: Seconds until a supervisor serves its home; taking over a large one may take a while.
START_TIMEOUT: Final = 60.0
#: Seconds beyond its drain that a supervisor gets to stop.
STOP_MARGIN: Final = 15.0


class ChildSupervisor:
    """Owns the child. It stops by itself when this process dies, since the socket between them closes then."""

    def __init__(self, home: Home, spec: AppSpec, settings: Settings) -> None:
        """Start it and wait until it serves the home. Raises what kept it from doing so: HomeInUse, StoreError, …

        SupervisorLost if somebody, or a system out of memory, has killed it meanwhile: another may fare better.
        """
        self._drain = settings.drain
        self._sock, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                python_command("daemon.embedded", theirs.fileno()),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Ctrl-C in a terminal is for the program, which then stops us in its own time.
                start_new_session=True,
            )
        try:
            config = {"home": str(home.path), "app": spec.pack(), "settings": settings.pack()}
            self._sock.settimeout(START_TIMEOUT)
            # A path may hold bytes that are no text.
            self._send(msgpack.packb(config, unicode_errors="surrogateescape"))
            self._check(self._answer())
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """The supervisor's pid."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def _send(self, config: bytes) -> None:
        try:
            self._sock.sendall(config)
        except (BrokenPipeError, ConnectionResetError):
            # It has ended already; why, is told by the answer that does not come.
            return

    def _answer(self) -> Any:
        unpacker = msgpack.Unpacker()
        try:
            while data := self._sock.recv(65536):
                unpacker.feed(data)
                for answer in unpacker:
                    return answer
        except ConnectionResetError:
            # It ended without having read all of it.
            pass
        except TimeoutError:
            raise UnderstudyError(f"the supervisor did not come up within {START_TIMEOUT:g} s") from None
        code = self._process.wait()
        if code == -signal.SIGKILL:
            raise SupervisorLost("the supervisor was killed before it served")
        raise UnderstudyError(
            f"the supervisor ended with exit code {code} before it served; see its output above"
        )

    def _check(self, answer: Any) -> None:
        served, *why = answer
        if not served:
            raise error_of(*why)

    def stop(self) -> None:
        """Drain and stop it; kill it if it does not come to an end."""
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)
        self.join()

    def join(self) -> None:
        """Wait for its end, for as long as it may take to drain."""
        try:
            self._process.wait(self._drain + STOP_MARGIN)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._sock.close()

    def abandon(self) -> None:
        """In a fork of the owner: the child is the parent's, leave it alone."""
        self._sock.close()
        # Or Popen would warn that it still runs, and reap it if it could.
        self._process.returncode = 0
