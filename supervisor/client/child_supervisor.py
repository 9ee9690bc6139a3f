"""ChildSupervisor: a supervisor as a child process of the client's program."""

from __future__ import annotations

import signal
import socket
import subprocess
from contextlib import suppress
from typing import Any, Final

import msgpack

from ...actors.errors import SupervisorLost, UnderstudyError
from ..app import AppSpec
from ..home import Home
from ..linux.python_command import environment, python_command
from ..settings import Settings
from ..web_settings import WebSettings
from ..wire.error_codec import error_of

#: Seconds that a supervisor may take until it serves its home; recovery of a large home is slow.
START_TIMEOUT: Final = 60.0
#: Seconds after its drain that a supervisor gets to stop.
STOP_MARGIN: Final = 15.0
NO_WEB: Final = WebSettings()


class ChildSupervisor:
    """Owns the child. The child stops when this process dies, because the socket between them closes."""

    def __init__(self, home: Home, spec: AppSpec, settings: Settings, web: WebSettings = NO_WEB) -> None:
        """Start it and wait until it serves the home. Raises its error on failure: HomeInUse, StoreError, …

        Raises SupervisorLost if a user or the kernel (out of memory) has killed it; another try may succeed.
        """
        self._drain = settings.drain
        self._sock, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    python_command("daemon.embedded", theirs.fileno()),
                    stdin=subprocess.DEVNULL,
                    env=environment(),
                    pass_fds=[theirs.fileno()],
                    # Ctrl-C in a terminal is for the program, which then stops the supervisor.
                    start_new_session=True,
                )
        except BaseException:
            self._sock.close()
            raise
        try:
            config = {
                "home": str(home.path),
                "app": spec.pack(),
                "settings": settings.pack(),
                "web": web.pack(),
            }
            self._sock.settimeout(START_TIMEOUT)
            # If it has ended already, `_answer` raises the reason.
            with suppress(BrokenPipeError, ConnectionResetError):
                # A path may hold bytes that are not UTF-8.
                self._sock.sendall(msgpack.packb(config, unicode_errors="surrogateescape"))
            served, *why = self._answer()
            if not served:
                raise error_of(*why)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """The supervisor's pid."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the supervisor runs."""
        return self._process.poll() is None

    def _answer(self) -> Any:
        unpacker = msgpack.Unpacker()
        try:
            while data := self._sock.recv(65536):
                unpacker.feed(data)
                for answer in unpacker:
                    return answer
        except ConnectionResetError:
            # It ended before it had read everything.
            pass
        except TimeoutError:
            raise UnderstudyError(f"the supervisor did not start within {START_TIMEOUT:g} s") from None
        code = self._process.wait()
        if code == -signal.SIGKILL:
            raise SupervisorLost("the supervisor was killed during its start")
        raise UnderstudyError(
            f"the supervisor ended with exit code {code} during its start; see its output above"
        )

    def stop(self) -> None:
        """Drain and stop it; kill it if it does not end in time."""
        self._process.terminate()  # nothing happens if it has ended
        self.join()

    def join(self) -> None:
        """Wait for its end for the time of its drain and STOP_MARGIN; then kill it."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self._drain + STOP_MARGIN)
        self.kill()

    def kill(self) -> None:
        """Kill it and wait for its end."""
        self._process.kill()
        self._process.wait()
        self._sock.close()

    def abandon(self) -> None:
        """Give up the child without ending it. For a fork of the owner: the child belongs to the parent."""
        self._sock.close()
        # Otherwise Popen would warn that it still runs, and try to reap it.
        self._process.returncode = 0
