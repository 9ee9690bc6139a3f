"""The turn of a class actor: an attempt at its task that hands some of its messages to its object.

The life of a turn:

1. The object is here from an earlier turn, or it is built: by `__init__` once in its life, else from its state. Then
   `on_start` runs.
2. It takes the letters that it was given, in order, for at most TURN_SECONDS.
3. Each letter is a transaction. Its effects count once its method has returned and the attributes are encoded. After
   an error the object gets its last attributes back, and the effects are dropped.
4. All effects are reported as one commit, in one send with the end of the attempt. If a method is about to wait, or
   takes long, what the messages before it did is reported at once.
5. The object stays in memory for the next turn.

What runs the code of the class is a generator that yields calls. The sync and the async turn differ only in how they
make such a call.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator
from functools import partial
from typing import Any, Final

from ..ids import new_id
from ..tracing.tracer import tracing
from .actor import current_actor
from .aside import Aside, Asides, letter_aside
from .effects import Effects
from .host import Ending, Outcome, error_outcome
from .letter_handler import LetterHandler, Play
from .resident import Call, Resident, class_of, driven

#: Seconds after which a turn takes no further message, so that other actors have theirs.
TURN_SECONDS: Final = 0.005
#: Bytes that one commit may have before the turn ends.
COMMIT_BYTES: Final = 8 * 1024 * 1024
#: What a turn is for, as the assignment says.
PASSIVATE: Final = 1
#: The value of a REST: the object has gone from here, or asks to be put away.
PASSIVE: Final = b"passive"

_log: Final = logging.getLogger("understudy")


class TurnActor(LetterHandler):
    """Runs a turn on the thread that runs `_actor_loop`. It is what `self._understudy` is meanwhile."""

    asides: Asides | None = None
    """The read-only letters that came for while a method waits; made for the first one."""
    waits = False
    """Whether the method that runs waits."""
    at = 0
    """Number of the letter that is handled, or was handled last."""
    over = False
    """Whether the turn has ended."""
    _end = 0.0
    """When it takes no further message, by the monotonic clock."""

    # --- running ---

    def _perform(self) -> Outcome:
        current_actor.set(self)
        try:
            return driven(self._play())
        except BaseException as error:  # noqa: BLE001 - nothing may end its worker
            return self._lost(error)

    def _perform_traced(self) -> Outcome:
        # A turn handles messages of several senders, so it is no span: each of them is one.
        return self._perform()

    def _lost(self, error: BaseException) -> Outcome:
        """The turn could not go on: what is settled counts, and the object is not to be trusted."""
        _log.error("a turn of %s has failed", self.task.name, exc_info=error)
        self._report(now=False)
        self._let_go()
        return Outcome(Ending.ERROR, error=error_outcome(error).error)

    def _play(self) -> Play:
        assert self.assignment.turn is not None
        generation, is_here, state, letters, what, self.tries, first = self.assignment.turn
        if is_here and self.resident is None:
            return Outcome(Ending.ABSENT)
        if self.resident is None:
            if what == PASSIVATE and state is not None:
                return Outcome(Ending.REST, PASSIVE)
            self.host.builds(self)
            failed = yield from self._activate(generation, state)
            if failed is not None:
                return failed
            self.host.built(self)
        else:
            self.resident.joins(self)
        if what == PASSIVATE:
            return (yield from self._passivate())
        return (yield from self._work(deque(enumerate(letters, first))))

    def _finish(self, outcome: Outcome) -> None:
        self.over = True
        resident = self.resident
        if self.asides is not None:
            self.asides.end()
        self._report(now=False)
        if resident is not None:
            resident.joins(None)
            self.host.keep(self, resident)
        super()._finish(outcome)

    # --- the object ---

    def _activate(self, generation: int, state: bytes | None) -> Generator[Call, Any, Outcome | None]:
        """Build the object; the outcome if that fails. What `__init__` and `on_start` do is a transaction, too."""
        # An ask of `__init__` is the same one if it has to run again. `on_start` asks anew each time.
        self._begin(self.id if state is None else new_id(), None)
        self._hook_here = "the start of an actor"
        try:
            resident = self.resident = Resident(generation, class_of(self.task.body))
            resident.joins(self)
            if state is None:
                args, kwargs = self._arguments()
                yield resident.cls.__init__, (resident.object, *args), kwargs
            else:
                if (upgrade := resident.restore(state)) is not None:
                    resident.upgrade((yield upgrade))
                # What `on_start` changes is a change; what encoding has reordered is none.
                resident.packed = resident.changed_state() or b""
            if "on_start" in resident.traits.hooks:
                yield resident.object.on_start, (), {}
            self._settle(0, self._changed_state())
            return None
        except BaseException as error:  # noqa: BLE001 - the class's own code
            self._drop_effects()
            self._let_go()
            error, stopped = self._judged(error, "its activation")
            return stopped or Outcome(Ending.ERROR, error=error_outcome(error).error)
        finally:
            self._hook_here = None

    def _passivate(self) -> Play:
        # As in `on_start`, it asks anew each time.
        self._asks_under = new_id()
        stopped = yield from self._hook("on_passivate")
        if stopped is not None:
            return stopped
        self._report(now=False)
        self._let_go()
        return Outcome(Ending.REST, PASSIVE)

    # --- messages ---

    def _work(self, letters: deque[tuple[int, bytes]]) -> Play:
        now = self.host.clock.monotonic
        self._end = now() + TURN_SECONDS
        if len(letters) > 1 or self.task.is_async:
            self.host.watch(self)
        while letters and self.signal is None and not self.interrupted:
            number, data = letters.popleft()
            # An empty one was taken back.
            self.at = number
            if data and not (self.asides is not None and self.asides.has_answered(data)):
                handle = self._handle if tracing.tracer is None else self._handle_traced
                outcome = yield from handle(number, data)
                if outcome is not None:
                    return outcome
            else:
                self._settle(number, None)
            self.tries = 0
            if now() > self._end or self.settled.size > COMMIT_BYTES:
                break
        return Outcome(Ending.REST, PASSIVE if self._wants_rest else None)

    def takes_long(self) -> bool:
        """Called by the host meanwhile, from another thread. If the turn takes no further message, True.

        What is settled is reported then: its senders do not wait for the method that runs now.
        """
        if self.host.clock.monotonic() <= self._end:
            return False
        self.host.is_at(self)
        self._report(now=True)
        return True

    # --- waits, and read-only messages meanwhile ---

    def parks(self) -> None:
        """It begins to wait and needs no slot."""
        super().parks()
        self.waits = True
        if self.asides is not None:
            self.asides.look()

    def goes_on(self) -> None:
        """Its wait has ended."""
        self.waits = False
        super().goes_on()

    def aside(self, data: bytes) -> None:
        """A read-only letter that may be answered while a method waits; called by the host, from any thread."""
        if self.asides is None:
            self.__dict__.setdefault("asides", Asides(self))
        assert self.asides is not None
        self.asides.add(data)

    def run_beside(self, asides: Asides, runner: object) -> None:
        """Have the letters run that wait aside. RuntimeError if that cannot be."""
        self.host.beside(partial(self._run_asides, asides, runner))

    def _run_asides(self, asides: Asides, runner: object) -> None:
        while (data := asides.take(runner)) is not None:
            letter = letter_aside(data, self)
            if letter is not None:
                Aside(self, letter).perform(asides)

    def answer_aside(self, letter_id: bytes, reply: bytes, effects: Effects) -> None:
        """Report the answer to a letter aside, and what it sends."""
        with self._reporting:
            self.host.aside(self, letter_id, reply, effects.posts)
