"""A client of the message cycle's tests: each of its threads speaks to one purse until a file says that it is over.

    python cycle_client.py FOLDER THREADS FIRST

Each step is recorded once it is done. A client that takes the place of a killed one repeats the step that is not
recorded, under the same keys.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cycle_actors import Guest, Purse
from understudy import ActorRef, NotRunning, Runtime, SupervisorLost
from understudy.supervisor.testing.crash_points import Process, arm

T = TypeVar("T")

#: Every n-th step also sets a reminder, and has a guest.
BELL = 3
GUEST = 4
#: Steps of each thread at least.
LEAST = 8


def persist(call: Callable[[], T]) -> T:
    """Make a call until there is a supervisor for it."""
    while True:
        try:
            return call()
        except (NotRunning, SupervisorLost):
            continue


class Speaker:
    """One thread of a client."""

    def __init__(self, rt: Runtime, folder: Path, number: int, *, keyed: bool) -> None:
        self._rt = rt
        self._folder = folder
        self._number = number
        #: Whether asks have a key, because a killed client may have to repeat them.
        self._keyed = keyed
        self._journal = folder / f"speaker {number}"
        self.failure: BaseException | None = None

    def speak(self) -> None:
        try:
            self._speak()
        except BaseException as error:  # noqa: BLE001 - the caller of `speak` raises it
            self.failure = error

    def _speak(self) -> None:
        purse = persist(lambda: self._rt.lookup(Purse, f"purse {self._number}"))
        assert purse is not None
        done = len(self._journal.read_bytes().splitlines()) if self._journal.exists() else 0
        while done < LEAST or not (self._folder / "over").exists():
            self._step(purse, done)
            done += 1

    def _step(self, purse: ActorRef[Purse], step: int) -> None:
        def keyed(verb: str, *, always: bool = False) -> ActorRef[Purse]:
            return purse.options(key=f"{verb} {step}") if always or self._keyed else purse

        # A tell without a key may have arrived although its client hears of no answer.
        persist(lambda: keyed("tell", always=True).cast(Purse.numbered, step))
        number = persist(lambda: keyed("pay").call(Purse.pay))
        if step % BELL == 0:
            persist(lambda: keyed("remind").call(Purse.ring_later, step))
        if step % GUEST == 0:
            self._have_a_guest(f"guest {self._number} {step} {os.getpid()}")
        with self._journal.open("a") as file:
            file.write(json.dumps(number) + "\n")

    def _have_a_guest(self, name: str) -> None:
        guest = persist(lambda: self._rt.actor(Guest, name))
        said = persist(lambda: guest.options(key="say").call(Guest.say, 2))
        persist(guest.stop)
        result: Any = persist(lambda: self._rt.result(guest.id, 60))
        assert (said, result, guest.is_alive()) == (2, 2, False), (said, result)


def speak(rt: Runtime, folder: Path, numbers: range, *, keyed: bool) -> list[Speaker]:
    """Have one thread for each number speak, to the end; the first failure is raised."""
    speakers = [Speaker(rt, folder, number, keyed=keyed) for number in numbers]
    threads = [threading.Thread(target=speaker.speak) for speaker in speakers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for speaker in speakers:
        if speaker.failure is not None:
            raise speaker.failure
    return speakers


if __name__ == "__main__":
    arm(Process.CLIENT)
    folder, threads, first = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    with persist(lambda: Runtime.connect(folder / "home")) as rt:
        speak(rt, folder, range(first, first + threads), keyed=True)
