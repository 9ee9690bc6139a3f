"""What a client of a storm does with class actors: one call after the other, each recorded with its outcome."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from typing import Any

import storm_actors as stage
from storm_journal import trace
from understudy import (
    ActorDeadError,
    AskTimeout,
    MailboxFull,
    NotRunning,
    SupervisorLost,
)

#: The calls, and their weights.
DEEDS = [
    *["note"] * 5,
    *["note_under_key"] * 3,
    *["tell_it"] * 5,
    *["tell_under_key"] * 2,
    *["cast"] * 3,
    *["pass_on"] * 4,
    *["pay"] * 4,
    *["stumble"] * 2,
    "fall_sick",
    *["mend"] * 2,
    *["refuse"] * 2,
    *["ring_later"] * 2,
    "forget_bell",
    "tick_on",
    *["peek"] * 2,
    "leave",
    "retire",
    "find",
    *["tally"] * 2,
]
#: Seconds of most asks. Some have much less, so that their time is over before the answer.
PATIENCE = 20.0
HURRY = 0.02
#: Notes that an actor has before a client stops it.
OLD = 10
#: What the client cannot know after these: whether its message was handled.
UNCERTAIN = (AskTimeout, NotRunning, SupervisorLost)


class ActorDeeds:
    """One client's part with actors. Its numbers for one actor are those of all its messages to it, in their order."""

    def __init__(
        self, rt: Callable[..., Any], me: str, chance: random.Random, journal: Callable[..., None]
    ) -> None:
        """`rt` makes a call of the runtime; `journal` records one line."""
        self._rt = rt
        self._me = me
        self._chance = chance
        self._journal = journal
        self._refs: dict[tuple[str, str], Any] = {}
        #: By actor: the last number that was sent to it, and the highest place that it has answered with.
        self._numbers: dict[str, int] = {}
        self._places: dict[str, int] = {}
        #: Reminders that were set: the actor's id, and the key.
        self._bells: list[tuple[str, str]] = []

    async def act(self, deed: str | None = None) -> None:
        """Make one call: this one, or any."""
        await getattr(self, f"_{deed or self._chance.choice(DEEDS)}")()

    # --- references ---

    async def _one(self, cls: Any = None) -> Any:
        """A reference to an actor, which is started if there is none."""
        cls = cls or self._chance.choice(stage.DURABLE)
        name = f"a{self._chance.randrange(stage.NAMES)}"
        ref = self._refs.get((cls.__name__, name))
        if ref is None:
            ref = await self._rt("actor", cls, name)
            if cls in stage.DURABLE:
                self._record("got", ref, cls.__name__, name)
            self._refs[cls.__name__, name] = ref
        return ref

    def _leave_out(self, ref: Any) -> None:
        self._refs = {key: each for key, each in self._refs.items() if each.id != ref.id}

    def _is_dead(self, ref: Any) -> None:
        self._record("dead", ref)
        self._leave_out(ref)

    def _record(self, verb: str, ref: Any, *more: Any) -> None:
        self._journal("actor", verb, ref.id, *more)

    # --- messages ---

    def _next(self, ref: Any, mark: str = "") -> tuple[str, int]:
        """The sender and the number of the next message to this actor."""
        number = self._numbers.get(ref.id, 0) + 1
        self._numbers[ref.id] = number
        message = self._me + mark, number
        self._record("sending", ref, *message)
        return message

    async def _ask(self, ref: Any, message: tuple[str, int], method: str, *more: Any) -> bool:
        """Ask, and record the place of the note in the answer; whether one came."""
        try:
            place = await _done(ref.call(method, *message, *more))
        except (ActorDeadError, MailboxFull) as error:
            self._record("never", ref, *message)
            if isinstance(error, ActorDeadError):
                self._is_dead(ref)
        except UNCERTAIN:
            pass
        else:
            self._record("asked", ref, *message, place)
            self._places[ref.id] = max(place, self._places.get(ref.id, 0))
            return True
        return False

    async def _tell(self, ref: Any, message: tuple[str, int], told: Callable[[], Any]) -> None:
        try:
            await _done(told())
        except (ActorDeadError, MailboxFull) as error:
            self._record("never", ref, *message)
            if isinstance(error, ActorDeadError):
                self._is_dead(ref)
        except UNCERTAIN:
            pass
        else:
            self._record("told", ref, *message)

    def _patient(self, ref: Any) -> Any:
        return ref.options(timeout=HURRY if self._chance.random() < 0.1 else PATIENCE)

    async def _note(self) -> None:
        ref = await self._one()
        await self._ask(self._patient(ref), self._next(ref), "note")

    async def _note_under_key(self) -> None:
        """It may be sent several times: each answer is the same."""
        ref = await self._one()
        message = self._next(ref)
        for _ in range(self._chance.choice([1, 2, 3])):
            await self._ask(self._patient(ref).options(key=f"{message}"), message, "note")

    async def _tell_it(self) -> None:
        ref = await self._one()
        message = self._next(ref)
        await self._tell(ref, message, lambda: ref.tell(list(message)))

    async def _tell_under_key(self) -> None:
        ref = await self._one()
        message = self._next(ref)
        for _ in range(self._chance.choice([1, 2])):
            keyed = ref.options(key=f"{message}")
            await self._tell(ref, message, lambda keyed=keyed: keyed.tell(list(message)))

    async def _cast(self) -> None:
        ref = await self._one()
        message = self._next(ref)
        await self._tell(ref, message, lambda: ref.cast("note", *message))

    async def _pass_on(self) -> None:
        ref, to = await self._one(), await self._one()
        await self._ask(self._patient(ref), self._next(ref), "pass_on", getattr(to, "sync", to))

    async def _pay(self) -> None:
        ref, to = await self._one(), await self._one()
        await self._ask(self._patient(ref), self._next(ref), "pay", getattr(to, "sync", to))

    # --- failures ---

    async def _stumble(self) -> None:
        """It fails while the actor is sick, and is a dead letter then. Sent again, it is handled out of its order."""
        ref = await self._one()
        message = self._next(ref, "!")
        await self._tell(ref, message, lambda: ref.cast("stumble", *message))

    async def _refuse(self) -> None:
        """Nothing of it may be there."""
        ref, to = await self._one(), await self._one()
        sender, number = self._next(ref, "?")
        try:
            await _done(self._patient(ref).call("refuse", sender, number, getattr(to, "sync", to)))
        except stage.Refused:
            return
        except ActorDeadError:
            self._is_dead(ref)
        except (MailboxFull, *UNCERTAIN):
            pass
        else:
            trace("wrong", f"actor {ref.id} has not refused {number} of {sender}")

    async def _fall_sick(self) -> None:
        await self._order(await self._one(), "be", True)

    async def _mend(self) -> None:
        """Let it handle again what it could not."""
        ref = await self._one()
        if await self._order(ref, "be", False):
            try:
                await self._rt("redrive", ref.id)
            except ActorDeadError:
                self._is_dead(ref)
            except MailboxFull:
                pass

    async def _order(self, ref: Any, method: str, *args: Any) -> bool:
        """A call whose answer says nothing; whether it was made."""
        try:
            await _done(ref.options(timeout=PATIENCE).call(method, *args))
        except ActorDeadError:
            self._is_dead(ref)
        except (MailboxFull, *UNCERTAIN):
            pass
        else:
            return True
        return False

    # --- reminders ---

    async def _ring_later(self) -> None:
        ref = await self._one()
        sender, number = self._next(ref)
        delay = self._chance.choice([0, 0.05, 0.3, 1])
        if await self._ask(self._patient(ref), (sender, number), "ring_later", delay):
            self._record("bell", ref, f"{sender}#{number}")
            self._bells.append((ref.id, f"{sender}#{number}"))

    async def _forget_bell(self) -> None:
        ref = await self._one()
        for place, (id, key) in enumerate(self._bells):
            if id == ref.id:
                del self._bells[place]
                await self._ask(self._patient(ref), self._next(ref), "forget_bell", key)
                return

    async def _tick_on(self) -> None:
        await self._order(await self._one(), "tick_on")

    # --- the rest ---

    async def _peek(self) -> None:
        ref = await self._one()
        least = self._places.get(ref.id, 0)
        try:
            place = await _done(ref.options(timeout=PATIENCE).call("peek"))
        except ActorDeadError:
            self._is_dead(ref)
        except (MailboxFull, *UNCERTAIN):
            pass
        else:
            if place < least:
                trace("wrong", f"actor {ref.id} has {place} notes, and has answered with {least} before")

    async def _leave(self) -> None:
        await self._order(await self._one(), "leave")

    async def _retire(self) -> None:
        """Stop it if it has many notes. The name is free then."""
        ref = await self._one()
        if self._places.get(ref.id, 0) < OLD:
            return
        try:
            await _done(ref.stop(timeout=PATIENCE))
        except UNCERTAIN:
            return
        self._is_dead(ref)

    async def _find(self) -> None:
        """An actor that is found by a name has that name."""
        cls, name = self._chance.choice(stage.DURABLE), f"a{self._chance.randrange(stage.NAMES)}"
        ref = await self._rt("lookup", cls, name)
        if ref is not None and ref.name != name:
            trace("wrong", f"found {ref} under the name {name}")

    async def _tally(self) -> None:
        """One that is only in memory counts on, or is dead."""
        ref = await self._one(stage.Tally)
        try:
            place = await _done(ref.options(timeout=PATIENCE).call("up"))
        except ActorDeadError:
            self._leave_out(ref)
        except (MailboxFull, *UNCERTAIN):
            pass
        else:
            if place <= self._places.get(ref.id, 0):
                trace("wrong", f"actor {ref.id} counts {place} after {self._places[ref.id]}")
            self._places[ref.id] = place


async def _done(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
