"""The floors' supervisor: one client, several workers and one committing thread. It is its own process.

    python -m floors.loop tasks|asks|messages FOLDER WORKERS SOCKET

`Tasks`, `Asks` and `Messages` handle its frames. Every answer to the client waits for its commit.
"""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgpack

from floors.commits import Commits, opened
from floors.link import Link

pack = msgpack.Packer(autoreset=True).pack


class Loop:
    """Moves frames between client, workers and disk."""

    def __init__(self, kind: str, folder: Path, workers: int, path: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._environment = opened(folder)
        self.commits = Commits(self._environment, lambda: self._wake_out.send(b"."))
        self.to_client: list[bytes] = []
        """Answers to send after the next commit."""
        self._saying: list[bytes] = []
        self.to_workers: list[list[bytes]] = [[] for _ in range(workers)]
        self._processes: list[subprocess.Popen[bytes]] = []
        self.workers = [self._worker(kind) for _ in range(workers)]
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            self.client = Link(listener.accept()[0])
        self._role = ROLES[kind](self)
        for link in (self.client, *self.workers):
            self._selector.register(link, selectors.EVENT_READ, link)
        self._selector.register(self._wake_in, selectors.EVENT_READ, None)

    def _worker(self, kind: str) -> Link:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "floors.worker", kind, str(theirs.fileno())]
            self._processes.append(subprocess.Popen(command, pass_fds=[theirs.fileno()]))
        return Link(ours)

    def run(self) -> None:
        """Run until the client disconnects."""
        while self.client.open:
            for key, ready in self._selector.select():
                link = key.data
                if link is None:
                    self._wake_in.recv(64)
                    self.commits.busy = False
                    self._send(self.client, self._saying)
                    continue
                if ready & selectors.EVENT_WRITE:
                    self._send(link, [])
                if ready & selectors.EVENT_READ:
                    if link is self.client:
                        self._role.from_client(link)
                    else:
                        self._role.from_worker(link)
            for link, frames in zip(self.workers, self.to_workers, strict=True):
                if frames:
                    self._send(link, frames)
            saying = self.to_client
            if self.commits.kick():
                self._saying, self.to_client = saying, []
        self._close()

    def _send(self, link: Link, frames: list[bytes]) -> None:
        left = link.send(b"".join(frames))
        frames.clear()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if left else 0)
        if self._selector.get_key(link).events != events:
            self._selector.modify(link, events, link)

    def _close(self) -> None:
        self.commits.close()
        for link in (self.client, *self.workers):
            link.sock.close()
        for process in self._processes:
            process.wait()
        self._environment.close()


class Tasks:
    """A start goes to disk and to a worker; its result goes to disk and to the client.

    A task that ends before its start is written is written once, with its end.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._next = 0

    def from_client(self, link: Link) -> None:
        loop, rows, started = self._loop, self._loop.commits.rows, 0
        frames = loop.to_workers[self._next]
        for task in link.frames():
            packed = pack(task)
            rows[task[0]] = packed
            frames.append(packed)
            started += 1
        if started:
            loop.to_client.append(pack(started))
            self._next = (self._next + 1) % len(loop.workers)

    def from_worker(self, link: Link) -> None:
        rows, says = self._loop.commits.rows, self._loop.to_client
        for result in link.frames():
            packed = pack(result)
            rows[result[0]] = packed
            says.append(packed)


class Asks:
    """An ask goes to a worker; what its actor has become goes to disk, and then the answer to the client."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def from_client(self, link: Link) -> None:
        for ask in link.frames():
            self._loop.to_workers[0].append(pack(ask))

    def from_worker(self, link: Link) -> None:
        rows, says = self._loop.commits.rows, self._loop.to_client
        for actor, state in link.frames():
            rows[actor] = packed = pack((actor, state))
            says.append(packed)


class Messages:
    """A message goes to disk and to the worker with its mailbox; after the acknowledgement it is deleted from disk."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._number = 0

    def from_client(self, link: Link) -> None:
        loop, rows, count = self._loop, self._loop.commits.rows, self._number
        for mailbox, message in link.frames():
            count += 1
            key = mailbox.to_bytes(16) + count.to_bytes(8)
            rows[key] = pack(message)
            loop.to_workers[mailbox % len(loop.workers)].append(pack((key, message)))
        if count > self._number:
            loop.to_client.append(pack((0, count - self._number)))
            self._number = count

    def from_worker(self, link: Link) -> None:
        rows, count = self._loop.commits.rows, 0
        for keys in link.frames():
            for key in keys:
                rows[key] = None
            count += len(keys)
        if count:
            self._loop.to_client.append(pack((count, 0)))


ROLES = {"tasks": Tasks, "asks": Asks, "messages": Messages}


def main() -> None:
    """See the module."""
    kind, folder, workers, path = sys.argv[1:]
    Loop(kind, Path(folder), int(workers), path).run()


def at_once(folder: Path, kind: str, workers: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """The process and the connection to it, for the client."""
    import time

    path = os.fspath(folder / "sock")
    command: list[Any] = [sys.executable, "-m", "floors.loop", kind, folder / "store", str(workers), path]
    environ = {**os.environ, "PYTHONPATH": os.fspath(Path(__file__).resolve().parent.parent)}
    process = subprocess.Popen(command, env=environ)
    near = socket.socket(socket.AF_UNIX)
    deadline = time.monotonic() + 20
    while True:
        try:
            near.connect(path)
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                near.close()
                raise
            time.sleep(0.01)
        else:
            return process, near


if __name__ == "__main__":
    main()
