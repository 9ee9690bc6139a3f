"""`TurnSide`: what the code of an actor reaches while one of its methods runs.

References send by it, and the actor's own methods have it as `self._understudy`.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Final, NoReturn

from ..errors import InvalidOption, NotInTask, ReadOnly
from ..ids import id_text, new_id
from ..refs.letter import Kind, Letter
from ..refs.port import PostKind
from ..refs.ref import ActorRef
from ..refs.reminder import Reminder
from ..refs.storage import Storage
from .actor_rows import ActorRows
from .item import item_body
from .transactions import PART_BYTES, Transactions

#: Bytes that the id of an answer that has arrived counts in a commit. These are in one list, which must not get longer
#: than a frame takes.
SEEN_BYTES: Final = 256
#: Answers of one message whose arrival is noted. The others are kept for as long as the options say.
SEEN_LIMIT: Final = 10_000


class TurnSide(Transactions):
    """That of one turn. Implements `Turn` and `ActorSide`."""

    beside: bytes | None = None
    _wants_rest = False
    _hook_here: str | None = None
    """What is running that handles no message."""

    # --- what references use ---

    def post(self, target: bytes, data: bytes, kind: PostKind) -> None:
        """Send a letter, a message to a task or an event with the commit of the message that is being handled."""
        if self._durable:
            self.grow(self.effects, len(data))
            self.effects.posts.append((target, data, kind))
            return
        with self._reporting:
            # Without state there is nothing to roll back with it. So it is settled at once.
            if self.settled.size + len(data) + PART_BYTES > self.value_limit:
                self._send(now=True)
            self.grow(self.settled, len(data))
            self.settled.posts.append((target, data, kind))

    def publish(self, name: str, value: Any) -> None:
        """Publish an item into the stream of the message that is being handled, with its commit."""
        body = item_body(name, value, self.host.clock.time(), self.value_limit)
        self.post(self.assignment.stream, body, PostKind.ITEM)

    def next_ask_id(self, what: bytes) -> bytes:
        """The id for the next ask of this message that wants this: the same one if the message is handled again."""
        return self.effects.next_ask_id(self._asks_under, what)

    def answered(self, letter_id: bytes) -> None:
        """Note that the answer to this ask has arrived."""
        if len(self.effects.seen) < SEEN_LIMIT:
            self.effects.seen.append(letter_id)
            self.effects.size += SEEN_BYTES

    # --- what the actor's own methods use ---

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
        self.post(self.id, letter.pack(), PostKind.LETTER)

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

    def _check_durable(self, what: str) -> None:
        if not self._durable:
            raise InvalidOption(
                f"self.{what} needs an actor that is on disk: declare the class with durable=True"
            )

    # --- steps ---

    def step_letter(self, name: str) -> bytes:
        """A step belongs to the message that is being handled."""
        if not self._durable:
            raise InvalidOption(
                f"step {name} needs an actor that is on disk: declare the class with durable=True"
            )
        if self._hook_here is not None:
            raise NotInTask(
                f"step {name}: steps belong to a message, and {self._hook_here} handles none. Call it in a method"
            )
        if self.handled in self.read:
            raise ReadOnly(f"step {name}: a @read_only method keeps nothing, and a step is kept")
        return self.handled

    def before_step(self) -> None:
        """What the messages before this one did is on disk with the step, or earlier."""
        self.commit_earlier()

    # --- what only tasks have ---

    def receive(self, timeout: float | None = None, shield: bool = False) -> NoReturn:
        """Refused."""
        raise _not_here("receive", "each message is a call of a method, or of on_receive")

    def _next(self, shield: bool = False) -> NoReturn:
        """Refused, as all that takes messages: those of an actor are letters."""
        raise _not_here("waiting for messages beside connections", "receive from the connection alone")

    def checkpoint(
        self, value: Any, send: Any = (), publish: Any = (), emit: Any = (), shield: bool = False
    ) -> NoReturn:
        """Refused."""
        raise _not_here(
            "checkpoint", "its attributes are stored with each message; set one, or self.storage[key]"
        )

    def restore(self) -> NoReturn:
        """Refused."""
        raise _not_here("restore", "its attributes and self.storage are what was stored")


def _not_here(what: str, instead: str) -> NotInTask:
    return NotInTask(f"{what} works only in a task. This is an actor: {instead}")
