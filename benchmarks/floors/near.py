"""The floors' clients, which cases use to drive a floor."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
from uuid_utils import uuid7

from floors.link import CHUNK
from floors.loop import at_once


class _Near:
    """A connection that can be waited on."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pack = msgpack.Packer(autoreset=True).pack
        self._unpacker = msgpack.Unpacker(max_buffer_size=1 << 30)

    def _frames(self) -> Iterator[Any]:
        """Check the socket at least once."""
        data = self._sock.recv(CHUNK)
        if not data:
            raise ConnectionError("the floor has ended")
        self._unpacker.feed(data)
        yield from self._unpacker


class TaskFloor(_Near):
    """Starts tasks and waits for their results."""

    def many(self, count: int, value: Any = None) -> float:
        """Seconds from the first call to the last result; each result is checked by the id of its call."""
        began = time.perf_counter()
        pack = self._pack
        ids: list[bytes] = []

        def send() -> None:
            for part in _parts(count, 1000 if value is None else 1):
                fresh = [uuid7().bytes for _ in range(part)]
                ids.extend(fresh)
                self._sock.sendall(b"".join([pack((id, "noop", value)) for id in fresh]))

        sender = threading.Thread(target=send)
        sender.start()
        results: dict[bytes, Any] = {}
        while len(results) < count:
            for frame in self._frames():
                if not isinstance(frame, int):
                    results[frame[0]] = frame[1]
        sender.join()
        done = sum(results[id] == value for id in ids)
        seconds = time.perf_counter() - began
        assert done == count, f"{done} of {count} results"
        return seconds

    def one(self) -> float:
        """Seconds for one start and its result, each acknowledged when it is on disk."""
        began = time.perf_counter()
        self._sock.sendall(self._pack((uuid7().bytes, "noop", None)))
        results = 0
        while not results:
            for frame in self._frames():
                results += not isinstance(frame, int)
        return time.perf_counter() - began


class AskFloor(_Near):
    """Asks an actor and waits for its answer."""

    def ask(self, value: int) -> None:
        """The answer comes when what the actor has become is on disk."""
        self._sock.sendall(self._pack((b"actor", "add", value)))
        answers: list[Any] = []
        while not answers:
            answers += self._frames()
        assert answers == [[b"actor", value]], answers


class MessageFloor(_Near):
    """Sends messages and waits until all are acknowledged."""

    def many(self, mailboxes: int, count: int) -> float:
        """Seconds from the first message to the last acknowledgement."""
        began = time.perf_counter()
        pack = self._pack

        def send() -> None:
            first = 0
            for part in _parts(count, 1000):
                letters = [pack((n % mailboxes, n)) for n in range(first, first + part)]
                self._sock.sendall(b"".join(letters))
                first += part

        sender = threading.Thread(target=send)
        sender.start()
        sent = dealt = 0
        while sent < count or dealt < count:
            for received, stored in self._frames():
                dealt += received
                sent += stored
        sender.join()
        assert (sent, dealt) == (count, count), (sent, dealt)
        return time.perf_counter() - began


def _parts(count: int, size: int) -> Iterator[int]:
    for first in range(0, count, size):
        yield min(size, count - first)


@contextmanager
def task_floor(folder: Path, workers: int) -> Iterator[TaskFloor]:
    """The client of the task floor, started; stopped at the end."""
    process, sock = at_once(folder, "tasks", workers)
    try:
        with sock:
            yield TaskFloor(sock)
    finally:
        process.wait(20)


@contextmanager
def ask_floor(folder: Path) -> Iterator[AskFloor]:
    """The client of the ask floor, started; stopped at the end."""
    process, sock = at_once(folder, "asks", 1)
    try:
        with sock:
            yield AskFloor(sock)
    finally:
        process.wait(20)


@contextmanager
def message_floor(folder: Path, workers: int) -> Iterator[MessageFloor]:
    """The client of the message floor, started; stopped at the end."""
    process, sock = at_once(folder, "messages", workers)
    try:
        with sock:
            yield MessageFloor(sock)
    finally:
        process.wait(20)
