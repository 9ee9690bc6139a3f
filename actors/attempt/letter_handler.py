"""`LetterHandler`: each letter of a turn is a transaction, and so is each hook.

The effects of a letter count once its method has returned and the attributes are encoded. After an error the object
gets its last attributes back, and the effects are dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from typing import Any, Final

from ..errors import Cancelled, Interrupted, TaskCancelled
from ..refs.letter import Kind, Letter, asked_id, flags_of, id_of_letter, kind_of
from ..refs.remote_error import pack_value
from ..task.annotations import NONE
from ..task.retry import leaves
from .host import Ending, Outcome, describe, error_outcome
from .message_span import begin_message, end_message
from .reply import error_reply, value_reply
from .resident import Call, encoded
from .turn_side import TurnSide

_STOPS: Final = (TaskCancelled, Cancelled, asyncio.CancelledError)
_log: Final = logging.getLogger("understudy")

Play = Generator[Call, Any, Outcome]
"""Yields calls of the class's code, gets what they return, or their errors."""


class LetterHandler(TurnSide):
    """Handles the letters of one turn."""

    tries = 0
    """How often the letter that is handled was tried before, in other turns."""
    _wrong: BaseException | None = None
    """Why the letter has failed, while it is traced."""

    def _handle(self, number: int, data: bytes) -> Generator[Call, Any, Outcome | None]:
        """Handle one letter. The outcome if the turn ends with it."""
        resident = self.resident
        assert resident is not None
        letter: Letter | None = None
        try:
            letter = Letter.unpack(data)
            self._begin(letter.id, letter.stream)
            if letter.kind is Kind.STOP:
                return (yield from self._stop_actor(number, letter))
            reads = resident.reads(letter)
            if reads:
                self.read.add(letter.id)
            call, types = resident.call_of(letter, resident.view(self) if reads else resident.object)
            value = yield call
            reply = None
            if letter.kind is Kind.ASK:
                reply = value_reply(value, types, self.value_limit)
            state = self._changed_state(reply, reads=reads)
            if reply is not None:
                self._answer(letter.id, letter.flags, reply, state is not None)
            self._settle(number, state)
            return None
        except BaseException as error:  # noqa: BLE001 - the class's own code
            return (yield from self._failed(number, data, letter, error))

    def _handle_traced(self, number: int, data: bytes) -> Generator[Call, Any, Outcome | None]:
        """As `_handle`, with a span."""
        try:
            span = begin_message(self, Letter.unpack(data), self.tries)
        except ValueError:
            span = None  # no letter; `_handle` deals with it
        self._wrong = None
        outcome = yield from self._handle(number, data)
        end_message(span, outcome, self._wrong)
        self._wrong = None
        return outcome

    def _failed(
        self, number: int, data: bytes, letter: Letter | None, error: BaseException
    ) -> Generator[Call, Any, Outcome | None]:
        """A message has failed: the outcome if the turn ends with it."""
        resident = self.resident
        assert resident is not None
        asked, seen = self.effects.asked, self.effects.seen
        self._roll_back()
        error, stopped = self._judged(error, _name_of(letter))
        if stopped is not None:
            return stopped
        self._wrong = error
        # What others have done for it stands. Once it is done, their answers are not needed any more.
        self.effects.asked, self.effects.seen = asked, seen
        kind = kind_of(data)
        if kind in (Kind.ASK, Kind.STOP):
            self._answer(id_of_letter(data), flags_of(data), error_reply(error), changed=False)
            self._settle(number, None)
            return None if kind == Kind.ASK else self._stopped(None)
        outcome = error_outcome(error, resident.traits.options.retry)
        if not self._durable:
            self._settle(number, None)
            yield from self._on_failure(error)
            self._let_go()
            return Outcome(Ending.ERROR, error=outcome.error)
        if letter is not None and (delay := resident.retry_delay(outcome, self.tries)) is not None:
            self._drop_effects()
            return Outcome(Ending.RETRY_LATER, delay=delay)
        self.effects.dead.append((data, outcome.error or describe(error)))
        self._settle(number, None)
        return (yield from self._on_failure(error))

    def _on_failure(self, error: BaseException) -> Generator[Call, Any, Outcome | None]:
        # The same asks if the message fails again, and none of those that the message has made.
        self._asks_under = asked_id(self.handled)
        return (yield from self._hook("on_failure", type(error), error, error.__traceback__))

    def _judged(self, error: BaseException, what: str) -> tuple[BaseException, Outcome | None]:
        """The error that counts; or the outcome, if it only says that the turn is to stop."""
        if self.interrupted and any(isinstance(part, Interrupted) for part in leaves(error)):
            return error, Outcome(Ending.INTERRUPTED)
        if self.signal is None or not any(isinstance(part, _STOPS) for part in leaves(error)):
            return error, None
        self._stop_consumed()
        if self.signal == "cancel":
            return error, Outcome(Ending.INTERRUPTED)
        late = TimeoutError(f"{what} took longer than {self.assignment.timeout or 0:g} s")
        late.__cause__ = error
        return late, None

    def _stop_consumed(self) -> None:
        """The error by which a cancel or timeout came has been dealt with."""

    def _hook(self, name: str, *args: Any) -> Generator[Call, Any, Outcome | None]:
        """Call a hook as a transaction. Its error is logged. The outcome if the turn was stopped meanwhile."""
        assert self.resident is not None
        if name not in self.resident.traits.hooks:
            return None
        self._hook_here = name
        try:
            yield getattr(self.resident.object, name), args, {}
            self._settle(self.acked, self._changed_state())
            return None
        except BaseException as error:  # noqa: BLE001 - the class's own code
            self._roll_back()
            error, stopped = self._judged(error, name)
            if stopped is None:
                _log.error("%s of %s has failed", name, self.task.name, exc_info=error)
            return stopped
        finally:
            self._hook_here = None

    # --- the end of the actor ---

    def _stop_actor(self, number: int, letter: Letter) -> Play:
        """Stop the actor: what its `on_stop` returns is its result. An error there is the asker's; it stops anyway."""
        assert self.resident is not None
        value = None
        # The actor ends with it: nobody would find its steps.
        self._hook_here = "on_stop"
        if "on_stop" in self.resident.traits.hooks:
            value = yield self.resident.object.on_stop, (), {}
        packed = encoded(value, NONE, self.value_limit)
        reply = pack_value(packed)
        state = self._changed_state(reply)
        self._answer(letter.id, letter.flags, reply, changed=True)
        self._settle(number, state)
        return self._stopped(packed)

    def _stopped(self, value: bytes | None) -> Outcome:
        self._report(now=False)
        self._let_go()
        return Outcome(Ending.VALUE, value)

    def _let_go(self) -> None:
        if self.resident is not None:
            self.resident.joins(None)
            self.resident = None


def _name_of(letter: Letter | None) -> str:
    if letter is None:
        return "a message"
    return letter.path or "on_receive"
