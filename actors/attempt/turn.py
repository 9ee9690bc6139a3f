"""The turn of a class actor: an attempt at its task that hands some of its messages to its object.

The life of a turn:

1. The object is here from an earlier turn, or it is built: by `__init__` once in its life, else from its state. Then
   `on_start` runs.
2. It takes the letters that it was given, in order, for at most TURN_SECONDS. It waits for the first of them, which
   are on their way, and never for more.
3. Each letter is a transaction. Its effects count once its method has returned and the attributes are encoded. After
   an error the object gets its last attributes back, and the effects are dropped.
4. All effects are reported as one commit, in one send with the end of the attempt. If a method is about to wait, what
   the messages before it did is reported at once.
5. The object stays in memory for the next turn.

What runs the code of the class is a generator that yields calls. The sync and the async turn differ only in how they
make such a call.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Generator, Mapping, MutableMapping
from contextvars import Context
from functools import partial
from time import perf_counter
from typing import Any, Final, NoReturn

from ..errors import Cancelled, Interrupted, InvalidOption, NotInTask, TaskCancelled, ValueTooLarge
from ..ids import id_text, new_id
from ..refs.letter import KEPT, Kind, Letter, asked_id, flags_of, id_of_letter, kind_of
from ..refs.port import Post
from ..refs.ref import ActorRef
from ..refs.reminder import Reminder
from ..refs.remote_error import details_of, pack_error, pack_value
from ..refs.storage import Storage
from ..task.annotations import NONE
from ..task.declaration import Task
from ..task.retry import leaves
from .actor import TaskActor, current_actor
from .actor_rows import ActorRows
from .aside import Aside, Asides, AsyncAside, letter_aside
from .async_actor import AsyncTaskActor, Waiter
from .effects import Effects
from .host import Assignment, Ending, Host, Outcome, describe, error_outcome
from .resident import Call, Resident, class_of, driven, driven_async, encoded
from .wakeup import Wakeup

#: Seconds after which a turn takes no further message, so that other actors have theirs.
TURN_SECONDS: Final = 0.005
#: Bytes that one commit may have before the turn ends, and those that each row and letter of it counts beside its own.
COMMIT_BYTES: Final = 8 * 1024 * 1024
PART_BYTES: Final = 64
#: The same for an answer that has arrived: these are in one list, which must not get longer than a frame takes.
SEEN_BYTES: Final = 256
#: Answers of one message whose arrival is noted. The others are kept for as long as the options say.
SEEN_LIMIT: Final = 10_000
#: What a turn is for, as the assignment says.
PASSIVATE: Final = 1
#: Stands for the asks of `on_failure` where a message counts its own ones.
HOOK: Final = 2**64 - 1
#: The value of a REST: the object has gone from here, or asks to be put away.
PASSIVE: Final = b"passive"

_STOPS: Final = (TaskCancelled, Cancelled, asyncio.CancelledError)
_log: Final = logging.getLogger("understudy")

Play = Generator[Call, Any, Outcome]
"""Yields calls of the class's code, gets what they return, or their errors."""


class TurnActor(TaskActor):
    """Runs a turn on the thread that runs `_actor_loop`. It is what `self._understudy` is meanwhile."""

    resident: Resident | None
    asides: Asides | None = None
    """The read-only letters that came for while a method waits; made for the first one."""
    waits = False
    """Whether the method that runs waits."""
    _wants_rest = False

    def __init__(
        self, assignment: Assignment, task: Task[..., Any], host: Host, resident: Resident | None
    ) -> None:
        TaskActor.__init__(
            self, assignment, task, host
        )  # not that of an async task, which the async turn has, too
        #: The object that an earlier turn has left here. None if there is none, and after a turn that leaves none.
        self.resident = resident
        #: Effects of the message that is being handled, and of those before it that are not reported yet.
        self.effects = Effects()
        self.settled = Effects()
        #: Whether their state is not reported yet.
        self.dirty = False
        #: Ids of the read-only letters that were handled in their order: none of them runs aside.
        self.read: set[bytes] = set()
        #: The id of the letter that is being handled, or what stands for it in a hook.
        self.handled = assignment.id
        #: What the ids of its asks are made of.
        self._asks_under = assignment.id
        self._stream = assignment.stream
        self._reported = 0
        #: Held while settled effects are reported, so that they are reported in order.
        self._reporting = threading.Lock()

    # --- running ---

    def _perform(self) -> Outcome:
        current_actor.set(self)
        try:
            return driven(self._play())
        except BaseException as error:  # noqa: BLE001 - nothing may end its worker
            return self._lost(error)

    def _lost(self, error: BaseException) -> Outcome:
        """The turn could not go on: what is settled counts, and the object is not to be trusted."""
        _log.error("a turn of %s has failed", self.task.name, exc_info=error)
        self._report(now=False)
        self._let_go()
        return Outcome(Ending.ERROR, error=error_outcome(error).error)

    def _play(self) -> Play:
        assert self.assignment.turn is not None
        generation, is_here, state, most, what = self.assignment.turn
        if is_here and self.resident is None:
            return Outcome(Ending.ABSENT)
        if self.resident is None:
            if what == PASSIVATE and state is not None:
                return Outcome(Ending.REST, PASSIVE)
            failed = yield from self._activate(generation, state)
            if failed is not None:
                return failed
        else:
            self.resident.joins(self)
        if what == PASSIVATE:
            return (yield from self._passivate())
        return (yield from self._work(most))

    def _finish(self, outcome: Outcome) -> None:
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

    def _let_go(self) -> None:
        if self.resident is not None:
            self.resident.joins(None)
            self.resident = None

    def _passivate(self) -> Play:
        # As in `on_start`, it asks anew each time.
        self._asks_under = new_id()
        stopped = yield from self._hook("on_passivate")
        if stopped is not None:
            return stopped
        self._report(now=False)
        self._let_go()
        return Outcome(Ending.REST, PASSIVE)

    def _hook(self, name: str, *args: Any) -> Generator[Call, Any, Outcome | None]:
        """Call a hook as a transaction. Its error is logged. The outcome if the turn was stopped meanwhile."""
        assert self.resident is not None
        if name not in self.resident.traits.hooks:
            return None
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

    # --- messages ---

    def _work(self, most: int) -> Play:
        inbox = self.inbox
        if most and not inbox.messages:
            yield self._await_letters, (), {}
        end = perf_counter() + TURN_SECONDS
        while most > 0 and inbox.messages and self.signal is None and not self.interrupted:
            most -= 1
            number, data = inbox.messages.popleft()
            # An empty one was taken back.
            if data and not (self.asides is not None and self.asides.has_answered(data)):
                outcome = yield from self._handle(number, data)
                if outcome is not None:
                    return outcome
            else:
                self._settle(number, None)
            if perf_counter() > end or self.settled.size > COMMIT_BYTES:
                break
        return Outcome(Ending.REST, PASSIVE if self._wants_rest else None)

    def _await_letters(self) -> Any:
        """Wait for the letters that come right behind the order for this turn. Nothing else wakes it but a stop."""
        wakeup = Wakeup()
        self.inbox.listen(wakeup.ring)
        while not self._something_to_do():
            wakeup.wait()
        self.inbox.unlisten(wakeup.ring)

    def _something_to_do(self) -> bool:
        return bool(self.inbox.messages) or self.interrupted or self.signal is not None

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
                reply = pack_value(encoded(value, types, self.value_limit))
            state = None if reads else self._changed_state(0 if reply is None else len(reply))
            if reply is not None:
                self._answer(letter.id, letter.flags, reply, state is not None)
            self._settle(number, state)
            resident.tries = None
            return None
        except BaseException as error:  # noqa: BLE001 - the class's own code
            return (yield from self._failed(number, data, letter, error))

    def _begin(self, handled: bytes, stream: bytes | None) -> None:
        self.handled = self._asks_under = handled
        stream = stream or self._stream
        if stream != self.assignment.stream:
            # What the method starts and sends belongs to the stream of its message.
            self.assignment = self.assignment._replace(stream=stream)
        self._drop_effects()

    def _answer(self, letter_id: bytes, flags: int, reply: bytes, changed: bool) -> None:
        """`changed`: whether the state has changed. A reply under a key of the caller is kept in any case."""
        effects = self.effects
        keep = changed or bool(flags & KEPT) or effects.change_something
        effects.replies.append((letter_id, reply, keep))
        effects.size += len(reply)

    def _changed_state(self, more: int = 0) -> bytes | None:
        """The encoded attributes if they have changed. `more`: bytes that go into the commit beside the effects."""
        if not self._durable:
            return None
        assert self.resident is not None
        state = self.resident.changed_state()
        size = more + self.effects.size + len(state or b"")
        if size > self.value_limit:
            raise self._too_large(size)
        return state

    def _settle(self, number: int, state: bytes | None) -> None:
        """The message with this number is done. All of it goes into the next commit: no report comes in between."""
        with self._reporting:
            if state is not None:
                assert self.resident is not None
                self.resident.packed = state
                self.dirty = True
            if self.effects:
                if self.settled:
                    self.settled.absorb(self.effects)
                    self.effects = Effects()
                else:
                    self.settled, self.effects = self.effects, self.settled
            self.acked = number

    def _roll_back(self) -> None:
        self._drop_effects()
        if self._durable:
            assert self.resident is not None
            self.resident.roll_back()

    def _drop_effects(self) -> None:
        if self.effects:
            self.effects = Effects()

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
        # What others have done for it stands. Once it is done, their answers are not needed any more.
        self.effects.asked, self.effects.seen = asked, seen
        kind = kind_of(data)
        if kind in (Kind.ASK, Kind.STOP):
            reply = pack_error((*describe(error), details_of(error)))
            self._answer(id_of_letter(data), flags_of(data), reply, changed=False)
            self._settle(number, None)
            return None if kind == Kind.ASK else self._stopped(None)
        outcome = error_outcome(error, resident.traits.options.retry)
        if not self._durable:
            self._settle(number, None)
            yield from self._on_failure(error)
            self._let_go()
            return Outcome(Ending.ERROR, error=outcome.error)
        if letter is not None and (delay := self._retry_delay(letter.id, outcome)) is not None:
            self._drop_effects()
            return Outcome(Ending.RETRY_LATER, delay=delay)
        resident.tries = None
        self.effects.dead.append((data, outcome.error or describe(error)))
        self._settle(number, None)
        return (yield from self._on_failure(error))

    def _on_failure(self, error: BaseException) -> Generator[Call, Any, Outcome | None]:
        # The same asks if the message fails again, and none of those that the message has made.
        self._asks_under = asked_id(self.handled, HOOK)
        return (yield from self._hook("on_failure", type(error), error, error.__traceback__))

    def _retry_delay(self, letter_id: bytes, outcome: Outcome) -> float | None:
        """Seconds until a letter that was told is tried again; None if it has failed for good."""
        assert self.resident is not None
        resident, policy = self.resident, self.resident.traits.options.retry
        tries = resident.tries[1] if resident.tries is not None and resident.tries[0] == letter_id else 0
        if outcome.ending is Ending.RETRY_LATER:
            again = not policy.attempts or tries < policy.attempts
        else:
            names = outcome.error[3] if outcome.error else []
            again = outcome.ending is Ending.ERROR and tries < policy.attempts and policy.wants(names)
        if not again:
            return None
        resident.tries = letter_id, tries + 1
        return policy.wait(tries) if outcome.delay is None else max(0.0, outcome.delay)

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

    def _stop_actor(self, number: int, letter: Letter) -> Play:
        """Stop the actor: what its `on_stop` returns is its result. An error there is the asker's; it stops anyway."""
        assert self.resident is not None
        value = None
        if "on_stop" in self.resident.traits.hooks:
            value = yield self.resident.object.on_stop, (), {}
        packed = encoded(value, NONE, self.value_limit)
        reply = pack_value(packed)
        state = self._changed_state(len(reply))
        self._answer(letter.id, letter.flags, reply, changed=True)
        self._settle(number, state)
        return self._stopped(packed)

    def _stopped(self, value: bytes | None) -> Outcome:
        self._report(now=False)
        self._let_go()
        return Outcome(Ending.VALUE, value)

    # --- reporting ---

    def _report(self, *, now: bool) -> None:
        """Report what is settled. `now`: without waiting for other reports."""
        with self._reporting:
            settled = self.settled
            if not (settled or self.dirty or self.acked > self._reported):
                return
            state = None
            resident = self.resident
            if resident is not None and (self.dirty or (resident.unsaved and settled.change_something)):
                state = resident.stored()
                resident.unsaved = False
            self.settled, self.dirty, self._reported = Effects(), False, self.acked
            self.host.commit(self, self.acked, state, settled, now=now)

    def commit_earlier(self) -> None:
        """Report what the messages before this one did, because this one is about to wait."""
        self._report(now=True)

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
            if effects.posts:
                sent = Effects()
                sent.posts = effects.posts
                self.host.commit(self, self._reported, None, sent, now=False)
            self.host.aside(self, letter_id, reply)

    # --- what references use ---

    def post(self, target: bytes, data: bytes, what: Post) -> None:
        """Send a letter, a message to a task or an event with the commit of the message that is being handled."""
        # Without state there is nothing to roll back with it.
        effects = self.effects if self._durable else self.settled
        effects.posts.append((target, data, what))
        self.grow(effects, len(data))

    def next_ask_id(self) -> bytes:
        """The id for the next ask of this message: the same one if the message is handled again."""
        ordinal = self.effects.asked
        self.effects.asked += 1
        return asked_id(self._asks_under, ordinal)

    def answered(self, letter_id: bytes) -> None:
        """Note that the answer to this ask has arrived."""
        if len(self.effects.seen) < SEEN_LIMIT:
            self.effects.seen.append(letter_id)
            self.effects.size += SEEN_BYTES

    def grow(self, effects: Effects, size: int) -> None:
        """Note that effects take so many bytes more; ValueTooLarge if no commit holds them."""
        effects.size += size + PART_BYTES
        if effects.size > self.value_limit:
            raise self._too_large(effects.size)

    def _too_large(self, size: int) -> ValueTooLarge:
        return ValueTooLarge(
            f"what one message changes and sends takes {size:,} bytes; the limit is {self.value_limit:,}. Do it in "
            "several messages",
            size,
            self.value_limit,
        )

    # --- what the actor's own methods use, through `self` ---

    @property
    def message_id(self) -> str:
        """The id of the message that is being handled."""
        return id_text(self.handled)

    @property
    def ref(self) -> ActorRef[Any]:
        """The reference to this actor."""
        return ActorRef(self.id, self.task.name)

    @property
    def storage(self) -> MutableMapping[str, Any]:
        """Its rows on disk."""
        self._check_durable("storage")
        return Storage(self._rows)

    def passivate(self) -> None:
        """Leave memory after this turn."""
        self._check_durable("passivate")
        self._wants_rest = True

    def stop(self) -> None:
        """Stop the actor once what was sent before is done: it gets the letter that says so."""
        letter = Letter(Kind.STOP, 0, new_id(), self.id, stream=self.assignment.stream)
        self.post(self.id, letter.pack(), Post.LETTER)

    def remind(
        self,
        name: str,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        delay: float | None,
        at: float | None,
        every: float | None,
    ) -> None:
        """Set a reminder. Its letter calls the method."""
        self._check_durable("remind")
        self._rows.remind(name, method, args, kwargs, delay, at, every)

    def forget(self, name: str) -> bool:
        """Drop a reminder; whether there was one."""
        self._check_durable("forget")
        return self._rows.forget(name)

    def reminders(self) -> Mapping[str, Reminder]:
        """The reminders that are set, by name."""
        self._check_durable("reminders")
        return self._rows.reminders()

    @property
    def _rows(self) -> ActorRows:
        return ActorRows(self)

    @property
    def _durable(self) -> bool:
        resident = self.resident
        return resident is not None and resident.traits.options.durable

    def _check_durable(self, what: str) -> None:
        if not self._durable:
            raise InvalidOption(
                f"self.{what} needs an actor that is on disk: declare the class with durable=True"
            )

    # --- what only tasks have ---

    def receive(self, timeout: float | None = None, shield: bool = False) -> NoReturn:
        """Refused."""
        raise _not_here("receive", "each message is a call of a method, or of on_receive")

    def _next(self, shield: bool = False) -> NoReturn:
        """Refused, as all that takes messages: those of an actor are letters."""
        raise _not_here("waiting for messages beside connections", "receive from the connection alone")

    def checkpoint(self, value: Any, send: Any = (), shield: bool = False) -> NoReturn:
        """Refused."""
        raise _not_here(
            "checkpoint", "its attributes are stored with each message; set one, or self.storage[key]"
        )

    def restore(self) -> NoReturn:
        """Refused."""
        raise _not_here("restore", "its attributes and self.storage are what was stored")


class AsyncTurnActor(TurnActor, AsyncTaskActor):
    """Runs a turn of an actor with async methods; `_actor_loop` must be called on the event loop's thread."""

    def __init__(
        self,
        assignment: Assignment,
        task: Task[..., Any],
        host: Host,
        resident: Resident | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        TurnActor.__init__(self, assignment, task, host, resident)
        self.loop = loop

    def _called(self) -> Any:
        return driven_async(self._play())

    def _completed(self, value: Any) -> Outcome:
        outcome: Outcome = value
        return outcome

    def _broken_off(self, error: BaseException) -> Outcome:
        return self._lost(error)

    def _finish(self, outcome: Outcome) -> None:
        super()._finish(outcome)
        # After the other callbacks of this round: their turns may end, too.
        self.loop.call_soon(self.host.flush)

    def _stop_consumed(self) -> None:
        if self._coroutine is not None:
            self._coroutine.uncancel()

    async def _await_letters(self) -> None:
        waiter = Waiter(self)
        self.inbox.listen(waiter.ring)
        while not self._something_to_do():
            await waiter.next_ring()
        self.inbox.unlisten(waiter.ring)

    def run_beside(self, asides: Asides, runner: object) -> None:
        """See the sync one."""
        self.loop.call_soon_threadsafe(self._run_asides, asides, runner)

    def _run_asides(self, asides: Asides, runner: object) -> None:
        while (data := asides.take(runner)) is not None:
            letter = letter_aside(data, self)
            if letter is not None:
                task = self.loop.create_task(
                    AsyncAside(self, letter, self.loop).perform(asides), context=Context()
                )
                asides.keep(task)

    async def receive_async(self, timeout: float | None = None, shield: bool = False) -> NoReturn:
        """Refused."""
        self.receive()

    async def checkpoint_async(self, value: Any, send: Any = ()) -> NoReturn:
        """Refused."""
        self.checkpoint(value)

    async def restore_async(self) -> NoReturn:
        """Refused."""
        self.restore()


def _name_of(letter: Letter | None) -> str:
    if letter is None:
        return "a message"
    return letter.path or "on_receive"


def _not_here(what: str, instead: str) -> NotInTask:
    return NotInTask(f"{what} works only in a task. This is an actor: {instead}")
