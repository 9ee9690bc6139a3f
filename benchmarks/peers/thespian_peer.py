"""The Thespian peer: two actors, each in its own process, over local TCP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thespian.actors import Actor, ActorAddress, ActorSystem

TITLE = "Thespian"
PACKAGES = ("thespian",)
PROCESSES = "2 actors, a process each"
KEEPS = "nothing"
DURABLE = False

#: Messages under way at once: with thousands it is slower.
AT_ONCE = 50


class Worker(Actor):
    """Returns each message."""

    def receiveMessage(self, message: object, sender: ActorAddress) -> None:
        """Every message of ours is an int."""
        if isinstance(message, int):
            self.send(sender, message)


class Session:
    """Calls from outside the system."""

    def __init__(self, system: ActorSystem, actors: list[ActorAddress]) -> None:
        self._system = system
        self._actors = actors

    def many(self, count: int) -> None:
        told = heard = 0
        found = set()
        while heard < count:
            while told < min(count, heard + AT_ONCE):
                self._system.tell(self._actors[told % len(self._actors)], told)
                told += 1
            answer = self._system.listen(20)
            assert isinstance(answer, int), f"not an answer: {answer!r:.100}"
            found.add(answer)
            heard += 1
        assert len(found) == count

    def one(self) -> None:
        assert self._system.ask(self._actors[0], 1, 20) == 1


@contextmanager
def opened(folder: Path, workers: int) -> Iterator[Session]:
    """The system and its actors."""
    system = ActorSystem(
        "multiprocTCPBase",
        capabilities={"Admin Port": _free_port()},
        logDefs={"version": 1, "root": {"level": "CRITICAL"}},
    )
    try:
        yield Session(system, [system.createActor(Worker) for _ in range(workers)])
    finally:
        system.shutdown()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
