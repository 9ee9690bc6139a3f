"""The class actors of a storm. They note each message once, and record in the journal if one comes twice."""

from __future__ import annotations

import random
import time
from typing import Any

from storm_journal import AGAIN, on_stage, trace
from understudy import (
    Actor,
    ActorDeadError,
    ActorRef,
    AsyncActorRef,
    Deadlock,
    Retry,
    actor,
    aio,
    current,
    read_only,
    task,
)

#: Names of the actors of one class.
NAMES = 5
#: The beginnings of keys in an actor's storage that are no notes.
BELL, PAID, FORGOTTEN = "bell ", "paid ", "forgotten "


class Refused(Exception):
    """What a method raises after it has changed everything."""


class Ledger(Actor, durable=True, idle=0.05, retry=Retry(1, 0.01)):
    """Notes each message under its sender and number. A note's value is its place among all notes."""

    def __init__(self) -> None:
        self.count = 0
        self.rests = 0
        self.ticks = 0
        self.is_sick = False
        #: The number of messages passed on to each actor.
        self.passed: dict[str, int] = {}

    # --- hooks ---

    def on_receive(self, message: Any) -> int:
        return self._noted(*message)

    def on_passivate(self) -> None:
        self.rests += 1

    def on_stop(self) -> int:
        return self.count

    # --- messages ---

    def note(self, sender: str, number: int) -> int:
        return self._noted(sender, number)

    def stumble(self, sender: str, number: int) -> int:
        """As `note`, but it fails while the actor is sick."""
        place = self._noted(sender, number)
        if self.is_sick:
            raise Refused("sick")
        return place

    def be(self, sick: bool) -> None:
        self.is_sick = sick

    def refuse(self, sender: str, number: int, to: ActorRef[Ledger]) -> None:
        """Change everything, and fail: nothing of it may be seen later."""
        self._noted(sender, number)
        to.cast(Ledger.note, sender, number)
        self.remind(f"{sender}#{number}", Ledger.ring, f"{sender}#{number}", delay=0)
        raise Refused("always")

    def pass_on(self, sender: str, number: int, to: ActorRef[Ledger]) -> int:
        """Tell another actor, exactly once for each note."""
        place = self._noted(sender, number)
        self.passed[to.id] = count = self.passed.get(to.id, 0) + 1
        to.cast(Ledger.note, f"{self.actor_ref.id}>", count)
        return place

    def pay(self, sender: str, number: int, to: ActorRef[Ledger]) -> int:
        """Ask another actor, which may ask this one."""
        place = self._noted(sender, number)
        key = f"{self.actor_ref.id}={sender}"
        self.storage[f"{PAID}{key}#{number}"] = [to.id, _asked(lambda: to.call(Ledger.note, key, number))]
        return place

    def ring_later(self, sender: str, number: int, delay: float) -> int:
        self.remind(f"{sender}#{number}", Ledger.ring, f"{sender}#{number}", delay=delay)
        return self._noted(sender, number)

    def ring(self, key: str) -> None:
        self._write(BELL + key, True)

    def forget_bell(self, sender: str, number: int, bell: str) -> int:
        self.storage[FORGOTTEN + bell] = self.forget(bell)
        return self._noted(sender, number)

    def tick_on(self) -> None:
        self.remind("tick", Ledger.tick, every=0.1)

    def tick(self) -> None:
        self.ticks += 1

    def awaited(self) -> list[str]:
        """The bells that have not rung."""
        return [name for name in self.reminders() if name != "tick"]

    @read_only
    def peek(self) -> int:
        return self.count

    def leave(self) -> None:
        self.passivate()

    def _noted(self, sender: str, number: int) -> int:
        time.sleep(random.uniform(0, 0.001))
        self.count += 1
        self._write(f"{sender}#{number}", self.count)
        return self.count

    def _write(self, key: str, value: Any) -> None:
        if key in self.storage:
            trace("wrong", f"actor {self.actor_ref.id} has {key} twice")
        self.storage[key] = value


class AsyncLedger(Ledger, durable=True):
    """The same on the event loop."""

    async def note(self, sender: str, number: int) -> int:  # type: ignore[override]  # it is called by its name
        await aio.sleep(random.uniform(0, 0.002))
        return self._noted(sender, number)

    async def pay(self, sender: str, number: int, to: ActorRef[Ledger]) -> int:  # type: ignore[override]  # as above
        place = self._noted(sender, number)
        key = f"{self.actor_ref.id}={sender}"
        reply = await _asked_async(to, key, number)
        self.storage[f"{PAID}{key}#{number}"] = [to.id, reply]
        return place


class Tally(Actor, idle=0.05):
    """Counts in memory only: it ends with its worker."""

    def __init__(self) -> None:
        self.count = 0

    def up(self) -> int:
        self.count += 1
        return self.count


def _asked(ask: Any) -> Any:
    """The answer, or the name of an error that actors of a storm may get."""
    try:
        return ask()
    except (ActorDeadError, Deadlock) as error:
        return type(error).__name__


async def _asked_async(to: ActorRef[Ledger], key: str, number: int) -> Any:
    try:
        return await AsyncActorRef(to).call("note", key, number)
    except (ActorDeadError, Deadlock) as error:
        return type(error).__name__


@task(retry=AGAIN)
def errand(name: str) -> list[Any]:
    """A task that asks an actor, under a key, however often it runs: the actor, and the place of the note."""
    with on_stage():
        while True:
            ledger = actor(Ledger, name)
            try:
                return [ledger.id, ledger.options(key=current().id).call(Ledger.note, "errand", current().id)]
            except ActorDeadError:
                continue


DURABLE = [Ledger, AsyncLedger]
