"""`Transactions`: what the messages of a turn have done, and how that is committed.

The effects of the message that is handled count once it is settled. Those of settled messages are reported as one
commit.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from ..errors import ValueTooLarge
from ..refs.letter import KEPT
from ..task.declaration import Task
from .actor import TaskActor
from .effects import Effects

if TYPE_CHECKING:
    from .host import Assignment, Host
    from .resident import Resident

#: Bytes that each row and letter of a commit counts beside its own.
PART_BYTES: Final = 64


class Transactions(TaskActor):
    """Those of one turn."""

    resident: Resident | None

    def __init__(
        self, assignment: Assignment, task: Task[..., Any], host: Host, resident: Resident | None
    ) -> None:
        # Not that of an async task, which the async turn has, too.
        TaskActor.__init__(self, assignment, task, host)
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

    @property
    def _durable(self) -> bool:
        resident = self.resident
        return resident is not None and resident.traits.options.durable

    # --- the message that is handled ---

    def _begin(self, handled: bytes, stream: bytes | None) -> None:
        self.handled = self._asks_under = handled
        stream = stream or self._stream
        if stream != self.assignment.stream:
            # What the method starts and sends belongs to the stream of its message.
            self.assignment = self.assignment._replace(stream=stream)
        self._drop_effects()

    def grow(self, effects: Effects, size: int) -> None:
        """Note that effects take so many bytes more; ValueTooLarge if no commit would hold them."""
        size += effects.size + PART_BYTES
        if size > self.value_limit:
            raise self._too_large(size)
        effects.size = size

    def _answer(self, letter_id: bytes, flags: int, reply: bytes, changed: bool) -> None:
        """`changed`: whether the state has changed. A reply under a key of the caller is kept in any case."""
        effects = self.effects
        keep = changed or bool(flags & KEPT) or effects.change_something
        effects.replies.append((letter_id, reply, keep))
        effects.size += len(reply)

    def _changed_state(self, reply: bytes | None = None, *, reads: bool = False) -> bytes | None:
        """The encoded attributes if they have changed. `reads`: the message was declared to change nothing.

        ValueTooLarge if no commit holds them with the effects and the reply.
        """
        state, size = None, self.effects.size
        if self._durable and not reads:
            assert self.resident is not None
            state = self.resident.changed_state()
        if state is not None:
            size += len(state) + PART_BYTES
        if reply is not None:
            size += len(reply)
        if size > self.value_limit:
            raise self._too_large(size)
        return state

    def _too_large(self, size: int) -> ValueTooLarge:
        return ValueTooLarge(
            f"what one message changes, sends and answers takes {size:,} bytes; the limit is {self.value_limit:,}. Do "
            "it in several messages",
            size,
            self.value_limit,
        )

    def _roll_back(self) -> None:
        self._drop_effects()
        if self._durable:
            assert self.resident is not None
            self.resident.roll_back()

    def _drop_effects(self) -> None:
        if self.effects:
            self.effects = Effects()

    # --- those that are settled ---

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

    def _report(self, *, now: bool) -> None:
        """Report what is settled. `now`: without waiting for other reports."""
        with self._reporting:
            self._send(now=now)

    def _send(self, *, now: bool) -> None:
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
