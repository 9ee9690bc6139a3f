"""An app of class actors: accounts, a journal of what they did, and actors that wait for each other."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from understudy import Actor, ActorRef, read_only, sleep


class Account(Actor, durable=True, idle=None):
    """Holds money, and notes each movement in its storage and with its journal."""

    transient = ("activations",)

    def __init__(self, owner: str = "", journal: ActorRef[Journal] | None = None) -> None:
        self.owner, self.balance, self.journal = owner, 0, journal
        self.order: list[int] = []

    def on_start(self) -> None:
        self.activations = getattr(self, "activations", 0) + 1

    def on_receive(self, message: Any) -> Any:
        self.balance += message["n"]
        return self.balance

    def deposit(self, n: int) -> int:
        self.balance += n
        if self.journal is not None:
            self.journal.cast(Journal.note, n)
        return self.balance

    @read_only
    def large(self, size: int) -> str:
        return "x" * size

    def numbered(self, n: int) -> None:
        self.order.append(n)

    def record(self, n: int) -> None:
        self.storage[f"entry/{self.message_id}"] = n
        self.balance += n

    def move(self, to: ActorRef[Account], n: int) -> int:
        """Take money from here and have it put there: the answer is the balance there."""
        self.balance -= n
        return to.call(Account.deposit, n)

    def fail_after(self, n: int) -> None:
        self.balance += n
        self.storage["never"] = n
        if self.journal is not None:
            self.journal.cast(Journal.note, n)
        raise ValueError(f"no {n}")

    def entries(self) -> int:
        return sum(self.storage.values())

    def kill_worker(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def kill_worker_once(self, mark: str) -> int:
        """Kill the worker the first time."""
        self.balance += 1
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return self.balance
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def grow(self, n: int) -> None:
        self.order = list(range(n))

    def unencodable(self) -> None:
        self.owner = object()  # type: ignore[assignment]

    def remind_me(self, delay: float, n: int) -> None:
        self.remind("later", Account.deposit, n, delay=delay)

    def pid(self) -> int:
        return os.getpid()

    def leave(self) -> int:
        self.passivate()
        return os.getpid()

    def on_stop(self) -> int:
        return self.balance

    @read_only
    def peek(self) -> int:
        return self.balance

    @read_only
    def spoil(self) -> None:
        self.balance = -1


class Hermit(Actor, durable=True, isolate=True, idle=None):
    """Has a process of its own."""

    transient = ("activations",)

    def __init__(self) -> None:
        self.count = 0

    def on_start(self) -> None:
        self.activations = getattr(self, "activations", 0) + 1

    def add(self) -> tuple[int, int, int]:
        """The process, how often it was built there, and the messages so far."""
        self.count += 1
        return os.getpid(), self.activations, self.count

    def leave(self) -> int:
        self.passivate()
        return os.getpid()


class AsyncHermit(Hermit):
    """Its process runs an event loop."""

    async def add_slowly(self) -> tuple[int, int, int]:
        await asyncio.sleep(0.001)
        return self.add()


class BriefHermit(Hermit, idle=0.05):
    """Leaves memory, and its process with it."""


class Scribe(Actor, durable=True, idle=None, capture_output=True):
    """Has all that its process writes in its log."""

    def say(self, text: str) -> int:
        os.write(1, f"{text}\n".encode())
        return os.getpid()


class Hoarder(Actor, durable=True, idle=None, memory_limit=256 << 20):
    """Takes memory."""

    def take(self, mib: int) -> int:
        kept = bytearray(mib << 20)
        deadline = time.monotonic() + (60 if mib > 200 else 0)
        while time.monotonic() < deadline:
            sleep(0.01)
        return os.getpid() if kept else 0


class Journal(Actor, durable=True, idle=None):
    """Adds up what accounts tell it."""

    def __init__(self) -> None:
        self.total = self.count = 0

    def note(self, n: int) -> None:
        self.total += n
        self.count += 1

    def sums(self) -> tuple[int, int]:
        return self.total, self.count


class Link(Actor, durable=True, idle=None):
    """One of several that ask each other."""

    def __init__(self, next: ActorRef[Any] | None = None) -> None:
        self.next = next
        self.count = 0

    def join(self, next: ActorRef[Any]) -> None:
        self.next = next

    def pass_on(self) -> int:
        """Count here, and then in all that follow."""
        self.count += 1
        return self.count if self.next is None else self.next.call(Link.pass_on)

    def call_back(self, caller: ActorRef[Any]) -> int:
        return caller.call(Link.seen)

    def ask_with_me(self) -> int:
        self.count += 1
        assert self.next is not None
        return self.next.call(Link.call_back, self.actor_ref)

    @read_only
    def seen(self) -> int:
        return self.count


class Volatile(Actor):
    """Keeps nothing on disk."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count

    def large(self, size: int) -> str:
        return "x" * size

    def kill_worker(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def fail(self) -> None:
        raise ValueError("no")


class Brief(Actor, durable=True, idle=0.001):
    """Is put to rest all the time."""

    transient = ("fresh",)

    def __init__(self) -> None:
        self.count = self.rests = 0

    def on_start(self) -> None:
        self.fresh = True

    def add(self) -> int:
        self.count += 1
        return self.count

    def on_passivate(self) -> None:
        self.rests += 1

    @read_only
    def rested(self) -> int:
        return self.rests


class Shelf(Actor, durable=True):
    """Has many rows of storage."""

    def fill(self, count: int) -> None:
        for n in range(count):
            self.storage[f"book/{n:06}"] = n
        self.storage["cat"] = "asleep"

    @read_only
    def counts(self) -> tuple[int, int]:
        return len(self.storage), sum(n for _, n in self.storage.items(prefix="book/"))

    @read_only
    def first(self, prefix: str) -> tuple[str, int]:
        return next(iter(self.storage.items(prefix=prefix)))


class Bell(Actor, durable=True):
    """Is reminded."""

    def __init__(self) -> None:
        self.rung: list[str] = []

    def ring(self, name: str) -> None:
        self.rung.append(name)

    def plan(self, name: str, delay: float, every: float | None) -> None:
        self.remind(name, Bell.ring, name, delay=delay, every=every)

    @read_only
    def heard(self) -> list[str]:
        return self.rung


class Fussy(Actor, durable=True, timeout=0.5, grace=0.1):
    """Cannot be built while a file is there; what the file says happens instead."""

    def __init__(self, blocker: str) -> None:
        self.count, self.blocker = 0, blocker

    def on_start(self) -> None:
        if not os.path.exists(self.blocker):
            return
        how = Path(self.blocker).read_text()
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        while how == "hang":
            time.sleep(0.01)
        raise RuntimeError(how)

    def add(self) -> int:
        self.count += 1
        return self.count


class Hasty(Actor, durable=True, timeout=0.5, grace=0.1):
    """Has little time for each message."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count

    def doze(self, seconds: float) -> None:
        time.sleep(seconds)

    def hang(self) -> None:
        while True:
            time.sleep(0.01)


def wait_for(file: str) -> None:
    while not os.path.exists(file):
        time.sleep(0.002)


class Gate(Actor, durable=True, timeout=0.5, grace=0.1):
    """Has quick messages, and one that lasts until a file is there."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count

    def last(self, mark: str, file: str) -> int:
        """Add a line to the file `mark`, and wait for the other one."""
        with open(mark, "a", encoding="ascii") as marks:
            marks.write("begun\n")
        wait_for(file)
        return self.add()


class Window(Actor, durable=True):
    """Has async methods."""

    def __init__(self) -> None:
        self.count = 0

    async def last(self, file: str) -> int:
        """Count, and wait for a file in a way that the runtime does not know."""
        self.count += 1
        await asyncio.to_thread(wait_for, file)
        return self.count

    @read_only
    async def counted(self) -> int:
        return self.count


class Neighbour(Actor, durable=True, idle=None, timeout=None):
    """Tells another one something, or asks it, without a limit of time."""

    def __init__(self) -> None:
        self.told = 0

    def on_receive(self, message: object) -> None:
        self.told += 1

    def tells(self, other: ActorRef[Any]) -> None:
        other.tell("hello")

    def asks(self, mark: str, other: ActorRef[Any]) -> int:
        wait_for(mark)
        answer: int = other.call(Neighbour.heard)
        return answer

    def heard(self) -> int:
        return self.told


class Patient(Actor, durable=True, grace=0.2):
    """Waits in the middle of a message."""

    def __init__(self) -> None:
        self.count = 0

    def wait_once(self, mark: str) -> None:
        """Count, and wait for long unless the file is there."""
        self.count += 1
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        while True:
            sleep(600)

    @read_only
    def counted(self) -> int:
        return self.count
