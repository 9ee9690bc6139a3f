"""A fake supervisor: it listens in a home and gives clients the answers that the test chooses."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from understudy.supervisor.home import Home, HomeLock
from understudy.supervisor.settings import Settings
from understudy.supervisor.wire.codec import VERSION, Decoder, encode
from understudy.supervisor.wire.messages import Answer, Ask

#: Seconds that any step may take.
PATIENCE = 10.0


def welcome(**facts: Any) -> tuple[Any, ...]:
    """The first frame of a supervisor."""
    return (Answer.WELCOME, VERSION, {"pid": 1, "embedded": False, "settings": Settings().pack(), **facts})


class Peer:
    """The supervisor's end of one client's connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self._decoder = Decoder(64 << 20)
        self._frames: list[tuple[Any, ...]] = []

    def next(self) -> tuple[Any, ...]:
        """The next frame of the client."""
        while not self._frames:
            data = self.sock.recv(1 << 16)
            if not data:
                raise EOFError("the client has hung up")
            self._frames += self._decoder.feed(data)
        return self._frames.pop(0)

    def tell(self, *frames: Any) -> None:
        self.sock.sendall(b"".join(map(encode, frames)))

    def greet(self) -> Peer:
        assert self.next() == (Ask.HELLO, VERSION)
        self.tell(welcome())
        return self

    def close(self) -> None:
        self.sock.close()


class Mimic:
    def __init__(self, home: Home, first: Callable[[Peer], object]) -> None:
        self._first = first
        home.create()
        self._lock: HomeLock = home.lock()
        self._listener = home.listen()
        self._listener.setblocking(True)
        self._peers: queue.SimpleQueue[Peer] = queue.SimpleQueue()
        self._all: list[Peer] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            peer = Peer(sock)
            self._all.append(peer)
            try:
                self._first(peer)
            except (OSError, EOFError):
                continue
            self._peers.put(peer)

    def peer(self) -> Peer:
        """The next client."""
        return self._peers.get(timeout=PATIENCE)

    def stop(self) -> None:
        """Stop listening and hang up."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for peer in self._all:
            peer.close()
        self._lock.close()


@contextmanager
def mimic(path: Path, first: Callable[[Peer], object] = Peer.greet) -> Iterator[Mimic]:
    """Serve this home; `first` is what happens to each new connection."""
    it = Mimic(Home(path), first)
    try:
        yield it
    finally:
        it.stop()
