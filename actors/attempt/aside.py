"""Read-only messages of an actor that are answered while another of its methods waits.

Such a message is in the actor's mailbox as any other. If it is not answered here before the method goes on, it is
handled in its order. Since it changes nothing, being answered twice does no harm: its sender takes the first answer.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Any, cast

from ..errors import Interrupted, ReadOnly
from ..ids import id_text
from ..refs.letter import READ_ONLY, Kind, Letter, id_of_letter
from ..refs.port import PostKind
from ..tracing.tracer import tracing
from .actor import TaskActor, current_actor
from .async_actor import AsyncTaskActor
from .effects import Effects
from .message_span import begin_message, end_message
from .reply import error_reply, value_reply
from .resident import Call, driven, driven_async

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, MutableMapping

    from ..refs.port import ActorSide
    from ..refs.ref import ActorRef
    from .turn import TurnActor


class Asides:
    """The read-only letters of one turn. They run one after the other; one that waits lets the next one begin."""

    def __init__(self, turn: TurnActor) -> None:
        self._turn = turn
        self._lock = threading.Lock()
        self._letters: deque[bytes] = deque()
        self._running: set[_Aside] = set()
        #: Of the thread or callback that takes the next letter; None if there is none.
        self._runner: object = None
        self._answered: set[bytes] = set()
        #: asyncio keeps no task of its own accord.
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = False

    def add(self, data: bytes) -> None:
        """Take in a letter; from any thread."""
        self._letters.append(data)
        self.look()

    def look(self) -> None:
        """Begin with the letters, if the turn waits."""
        with self._lock:
            if self._runner is not None or not self._may_run():
                return
            self._runner = runner = object()
        try:
            self._turn.run_beside(self, runner)
        except RuntimeError:
            # No thread can be started, or the loop is closed. They are handled after the method that waits.
            self._runner = None

    def _may_run(self) -> bool:
        return self._turn.waits and not self._ended and bool(self._letters)

    def take(self, runner: object) -> bytes | None:
        """The next letter for this runner; None if it is not needed any more."""
        with self._lock:
            if self._runner is not runner:
                return None
            if self._may_run():
                return self._letters.popleft()
            self._runner = None
            return None

    def keep(self, task: asyncio.Task[None]) -> None:
        """Keep this task until it is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def waits(self) -> None:
        """One of them begins to wait: another may run."""
        with self._lock:
            self._runner = None
        self.look()

    def begin(self, aside: _Aside) -> None:
        """One of them begins."""
        with self._lock:
            self._running.add(aside)
            if self._ended:
                aside.interrupt()  # type: ignore[attr-defined]  # each is a TaskActor

    def over(self, aside: _Aside) -> None:
        """One of them is over."""
        with self._lock:
            self._running.discard(aside)

    def answer(self, letter_id: bytes, reply: bytes, effects: Effects) -> None:
        """One of them has this answer."""
        with self._lock:
            if self._ended or letter_id in self._turn.read:
                return
            # Under the lock: once the turn passes over this letter, nothing else answers it.
            self._turn.answer_aside(letter_id, reply, effects)
            self._answered.add(letter_id)

    def has_answered(self, data: bytes) -> bool:
        """Whether a letter, whose turn has come, was answered here. Otherwise it will not be."""
        letter_id = id_of_letter(data)
        with self._lock:
            if letter_id in self._answered:
                return True
            self._turn.read.add(letter_id)
            return False

    def end(self) -> None:
        """The turn is over. The letters without an answer are still in the mailbox."""
        with self._lock:
            self._ended = True
            running = tuple(self._running)
        for aside in running:
            aside.interrupt()  # type: ignore[attr-defined]  # as above


class _Aside:
    """What sync and async ones share: the side of the actor, and the turn, that their code sees."""

    _turn: TurnActor
    _letter: Letter
    _effects: Effects

    def _is(self, turn: TurnActor, letter: Letter) -> None:
        self._turn = turn
        self._letter = letter
        self._effects = Effects()
        actor = cast("TaskActor", self)
        actor.value_limit = turn.value_limit
        if letter.stream is not None:
            actor.assignment = turn.assignment._replace(stream=letter.stream)

    # --- the turn, for references ---

    @property
    def beside(self) -> bytes:
        """See `Turn`."""
        return self._letter.id

    def post(self, target: bytes, data: bytes, kind: PostKind) -> None:
        """It leaves with the answer."""
        self._turn.grow(self._effects, len(data))
        self._effects.posts.append((target, data, kind))

    def next_ask_id(self, what: bytes) -> bytes:
        """See `Turn`."""
        return self._effects.next_ask_id(self._letter.id, what)

    def commit_earlier(self) -> None:
        """What the turn has done so far is reported by itself."""

    def step_letter(self, name: str) -> bytes:
        """Refused."""
        raise ReadOnly(f"step {name}: a @read_only method keeps nothing, and a step is kept")

    def answered(self, letter_id: bytes) -> None:
        """Nothing says that this message is done for good, so the answer has to be kept."""

    # --- the side of the actor ---

    @property
    def message_id(self) -> str:
        """See `ActorSide`."""
        return id_text(self._letter.id)

    @property
    def ref(self) -> ActorRef[Any]:
        """See `ActorSide`."""
        return self._turn.ref

    @property
    def storage(self) -> MutableMapping[str, Any]:
        """See `ActorSide`."""
        return self._turn.storage

    def reminders(self) -> Mapping[str, Any]:
        """See `ActorSide`."""
        return self._turn.reminders()

    def write(self, level: str, text: str | bytes) -> None:
        """Printed text goes to the log of the actor."""
        self._turn.write(level, text)

    # --- running ---

    def _play(self) -> Generator[Call, Any, bytes]:
        """The reply."""
        resident = self._turn.resident
        assert resident is not None
        span = (
            None
            if tracing.tracer is None
            else begin_message(cast("TaskActor", self), self._letter, self._turn.tries)
        )
        wrong: BaseException | None = None
        try:
            view = resident.view(cast("ActorSide", self))
            call, types = resident.call_of(self._letter, view)
            reply = value_reply((yield call), types, self._turn.value_limit)
            self._turn.grow(self._effects, len(reply))
            return reply
        except Interrupted:
            raise
        except BaseException as error:  # noqa: BLE001 - the class's own code
            self._effects = Effects()
            wrong = error
            return error_reply(error)
        finally:
            end_message(span, None, wrong)


class Aside(_Aside, TaskActor):
    """One read-only message, on a thread of its own."""

    def __init__(self, turn: TurnActor, letter: Letter) -> None:
        super().__init__(turn.assignment, turn.task, turn.host)
        self._is(turn, letter)

    def parks(self) -> None:
        """It begins to wait."""
        super().parks()
        assert self._turn.asides is not None
        self._turn.asides.waits()

    def perform(self, asides: Asides) -> None:
        """Run it and answer."""
        asides.begin(self)
        try:
            reply = Context().run(self._reply)
            asides.answer(self._letter.id, reply, self._effects)
        except Interrupted:
            pass  # the turn is over
        finally:
            asides.over(self)
            self._stop()

    def _reply(self) -> bytes:
        current_actor.set(self)
        return driven(self._play())


class AsyncAside(_Aside, AsyncTaskActor):
    """One read-only message, in an asyncio task of its own."""

    def __init__(self, turn: TurnActor, letter: Letter, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(turn.assignment, turn.task, turn.host, loop)
        self._is(turn, letter)

    async def perform(self, asides: Asides) -> None:
        """Run it and answer."""
        current_actor.set(self)
        asides.begin(self)
        try:
            asides.answer(self._letter.id, await driven_async(self._play()), self._effects)
        except (Interrupted, asyncio.CancelledError):
            pass  # the turn is over
        finally:
            asides.over(self)
            self._stop()


def letter_aside(data: bytes, turn: TurnActor) -> Letter | None:
    """The letter of these bytes, if it may be answered while another method waits."""
    letter = Letter.unpack(data)
    resident = turn.resident
    if (
        resident is None
        or letter.kind is not Kind.ASK
        or not letter.flags & READ_ONLY
        or letter.id in turn.read
        or not resident.reads(letter)
    ):
        return None
    return letter
