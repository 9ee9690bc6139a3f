"""WebChild: the web process, a child of the supervisor that runs no user code. Its death harms nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgpack

from ...actors.access import new_token
from ...actors.errors import InvalidOption
from ...storage.file.disk import open_in_home
from ..linux.child_watch import ChildWatch
from ..linux.listeners import listen, take, take_bound, url_of
from ..linux.processes import COOKIE, ExitStatus, usual_open_files
from ..linux.python_command import environment, python_command
from ..tasks.access import Access
from ..web_settings import Address, WebSettings, is_loopback

log = logging.getLogger("understudy")

#: Seconds until the next try after a death: the first, and the longest. They double.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0
#: Seconds after which a process has not died at once: the pauses begin anew.
STEADY: Final = 30.0
#: Seconds that the process gets to end.
STOP_TIMEOUT: Final = 3.0
#: The file of a home that holds its first token.
TOKEN_FILE: Final = "web.token"  # noqa: S105 - its name

Handed = list[tuple[str, socket.socket]]


class WebSockets:
    """The listening sockets of the web process. The supervisor keeps them, so a restart refuses no connection."""

    def __init__(self, settings: WebSettings, handed: Handed) -> None:
        """Open them, or take those that were handed down. Raises InvalidOption, AddressUnusable."""
        settings.check_needs()
        self.settings = settings
        self.web = self.http = None
        try:
            self.web = _open(settings.web, "web", handed)
            self.http = _open(settings.http, "http", handed)
            if settings.insecure and not _is_local(self.web):
                raise InvalidOption(
                    "--insecure makes everybody an admin who reaches the address, so it is for loopback alone: "
                    "listen on 127.0.0.1, or leave it out"
                )
        except BaseException:
            self.close()
            raise

    @property
    def urls(self) -> dict[str, str | None]:
        """Where they listen."""
        base = self.settings.base
        return {
            "web_url": None if self.web is None else url_of(self.web, base),
            "http_url": None if self.http is None else url_of(self.http, base),
        }

    def close(self) -> None:
        """Close them; may be called twice."""
        for sock in (self.web, self.http):
            if sock is not None:
                sock.close()


def _open(address: str | None, name: str, handed: Handed) -> socket.socket | None:
    if address is None:
        return None
    where = Address.parse(address, name)
    if where.inherited is not None:
        return take(handed, where.inherited)
    return take_bound(handed, where.host, where.port) or listen(where.host, where.port)


def _is_local(sock: socket.socket | None) -> bool:
    return sock is None or sock.family == socket.AF_UNIX or is_loopback(sock.getsockname()[0])


class WebChild:
    """Starts the process, and starts it again when it has died, after a pause that grows."""

    def __init__(
        self, sockets: WebSockets, home: Path, cookie: str, first_pause: float = FIRST_PAUSE
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._home = home
        self._cookie = cookie
        self._first_pause = self._pause = first_pause
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._watch = ChildWatch(self._died)
        self._again: asyncio.TimerHandle | None = None
        self._started = 0.0
        self._stopping = False
        self._ended = asyncio.Event()
        self._ended.set()

    @property
    def pid(self) -> int | None:
        """The process's pid while it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process; try again later if the system refuses."""
        self._again = None
        if self._stopping:
            return
        try:
            self._start()
        except OSError as error:
            log.error("no web process could be started, trying again in %g s: %s", self._pause, error)  # noqa: TRY400 - it passes
            self._try_again()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        sockets = self._sockets
        config: dict[str, Any] = {
            "home": os.fspath(self._home),
            "settings": sockets.settings.pack(),
            "web": None if sockets.web is None else sockets.web.fileno(),
            "http": None if sockets.http is None else sockets.http.fileno(),
        }
        with theirs:
            try:
                listening = [fd for fd in (config["web"], config["http"]) if fd is not None]
                self._process = subprocess.Popen(
                    python_command("web.process", theirs.fileno()),
                    stdin=subprocess.DEVNULL,
                    env={**environment(), COOKIE: self._cookie},
                    pass_fds=[theirs.fileno(), *listening],
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        self._line = ours
        self._started = self._loop.time()
        self._ended.clear()
        usual_open_files(self._process.pid)
        self._watch.watch(self._process.pid)
        with suppress(OSError):  # It has died already, of which the watch tells.
            ours.sendall(msgpack.packb(config, unicode_errors="surrogateescape"))

    def _died(self, pid: int, status: ExitStatus) -> None:
        assert self._process is not None
        self._process.returncode = status.returncode
        self._process = None
        if self._line is not None:
            self._line.close()
            self._line = None
        self._ended.set()
        if self._stopping:
            return
        if self._loop.time() - self._started >= STEADY:
            self._pause = self._first_pause
        log.error(
            "the web process (pid %d) ended with %s; starting another in %g s", pid, status, self._pause
        )
        self._try_again()

    def _try_again(self) -> None:
        self._again = self._loop.call_later(self._pause, self.start)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    async def stop(self) -> None:
        """End the process, and kill it if that takes too long. Then close the sockets."""
        self._stopping = True
        if self._again is not None:
            self._again.cancel()
        if self._line is not None:
            # It ends when its line does.
            self._line.shutdown(socket.SHUT_RDWR)
        try:
            await asyncio.wait_for(self._ended.wait(), STOP_TIMEOUT)
        except TimeoutError:
            if self._process is not None:
                self._process.kill()
            await self._ended.wait()
        self._watch.close()
        self._sockets.close()


def first_token(access: Access, home: Path) -> str | None:
    """Make the first token of a home, and keep it in a file that only its user can read. None if it was made before.

    The file is complete before the row is written. Without the row, the next supervisor makes another one.
    """
    if access.has_first:
        return None
    id, text, digest = new_token()
    path = home / TOKEN_FILE
    with suppress(FileNotFoundError):
        path.unlink()
    with open(open_in_home(path, os.O_WRONLY), "w", encoding="ascii") as file:
        # Also in a home that is shared with a group: this one is the owner's.
        os.fchmod(file.fileno(), 0o600)
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    access.add(id, f"first-{id[:6]}", "admin", ["*"], None, digest)
    access.made_first()
    return text
