"""`Steps`: the steps that one attempt knows, and `StepCall`: one call of a step.

The supervisor gives the small ones with the attempt. What it has not given is asked for, a page at a time.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from .. import values
from ..errors import Interrupted, InvalidOption, InvalidValue, NestedStep, StepsFull, UnencodableValue
from ..ids import id_text
from ..shapes import Shape, lift, lower
from ..step_label import STEPS_BYTES, STEPS_LIMIT, call_label, checked_name, has_key, key_label
from ..task.retry import Retry
from .host import Ending, error_outcome

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .actor import TaskActor

#: Bytes of values that an attempt keeps of its own steps with a key, for a further call with the same key.
KEPT_BYTES: Final = 1024 * 1024

#: The name of the step whose function is running in this context.
_inside: Final[ContextVar[str | None]] = ContextVar("understudy_step", default=None)


class Steps:
    """Those of one attempt. Any thread may call any method."""

    def __init__(self, told: tuple[int, int, Sequence[tuple[bytes, bytes]], bool] | None) -> None:
        """`told`: what the assignment says of them."""
        count, size, rows, is_last = told or (0, 0, (), True)
        #: How many the task keeps, and the bytes of their values.
        self.count, self.size = count, size
        self._lock = threading.Lock()
        self._values = dict(rows)
        #: The labels of which all values are here: from the first one to the last, None for the end.
        self._first = b""
        self._last = None if is_last else rows[-1][0] if rows else b""
        #: How often each name was called, by what stands before the number in its label.
        self._calls: Counter[bytes] = Counter()
        #: The names by which this attempt has called keys, the keys that it has done, and bytes of their values here.
        self._names: dict[bytes, str] = {}
        self._done: set[bytes] = set()
        self._kept = 0
        self._under_way: set[bytes] = set()

    def call_number(self, letter: bytes, name: bytes) -> int:
        """The number of this call of a name."""
        with self._lock:
            self._calls[letter + name] += 1
            return self._calls[letter + name]

    def value(self, label: bytes) -> bytes | None:
        """The encoded value of a step, if it is here."""
        return self._values.get(label)

    def is_unknown(self, label: bytes) -> bool:
        """Whether a step without a value here has surely not been done. Otherwise it must be asked for."""
        if label in self._done:
            return False
        return self._first <= label and (self._last is None or label <= self._last)

    def take(self, label: bytes, page: tuple[Sequence[tuple[bytes, bytes]], bool]) -> None:
        """Take in what the supervisor has from this label on."""
        rows, is_last = page
        with self._lock:
            self._values = dict(rows)
            self._kept = 0
            self._first = label
            self._last = None if is_last else rows[-1][0]

    def begin(self, label: bytes, name: str) -> None:
        """A step is about to run. InvalidOption if one with the same key is under way."""
        with self._lock:
            if label in self._under_way:
                raise InvalidOption(
                    f"step {name}: a step with the same key is under way in this attempt. Give each its own key, or "
                    "call one after the other"
                )
            self._under_way.add(label)

    def end(self, label: bytes) -> None:
        """It does not run any more."""
        with self._lock:
            self._under_way.discard(label)

    def note_name(self, label: bytes, name: str) -> None:
        """A step with a key is called by this name; InvalidOption if it had another one in this attempt."""
        with self._lock:
            other = self._names.setdefault(label, name)
        if other != name:
            raise InvalidOption(
                f"step {name} has the key of step {other}, and would get its value: give each step its own key"
            )

    def kept(self, letter: bytes, label: bytes, name: str, value: bytes) -> None:
        """A step is on disk."""
        with self._lock:
            self.count += 1
            self.size += len(value)
            if has_key(label):
                self._done.add(letter + label)
                if self._kept + len(value) <= KEPT_BYTES:
                    self._kept += len(value)
                    self._values[letter + label] = value


class StepCall:
    """One call of a step in an attempt."""

    __slots__ = ("_actor", "_label", "_letter", "_retry", "_shape", "_steps", "name")

    def __init__(
        self, actor: TaskActor, name: str, key: str | None, retry: Retry | None, shape: Shape | None
    ) -> None:
        """NestedStep inside another step, and what `TaskActor.step_letter` raises."""
        outer = _inside.get()
        if outer is not None:
            raise NestedStep(
                f"step {name} is called inside step {outer}: if that is known, this one is not called, and if it is "
                "not, it runs as a whole. Call one after the other in the task",
                name,
                outer,
            )
        self.name = name
        self._actor = actor
        self._retry = retry
        self._shape = shape
        self._letter = letter = actor.step_letter(name)
        self._steps = steps = actor.steps
        if key is None:
            encoded = checked_name(name)
            self._label = call_label(encoded, steps.call_number(letter, encoded))
        else:
            self._label = key_label(key)
            steps.note_name(letter + self._label, name)

    # --- a known one ---

    def missing(self) -> Future[Any] | None:
        """The answer for `take` that is needed to know whether it is known; None if none is."""
        label = self._letter + self._label
        if self._steps.value(label) is not None or self._steps.is_unknown(label):
            return None
        return self._actor.host.steps(self._actor, label)

    def take(self, page: tuple[Sequence[tuple[bytes, bytes]], bool]) -> None:
        """Take in the answer."""
        self._steps.take(self._letter + self._label, page)

    @property
    def stored(self) -> bytes | None:
        """The encoded value, if the step is known."""
        return self._steps.value(self._letter + self._label)

    def decoded(self, packed: bytes) -> Any:
        """The value. An attempt that does the step gets it so, too: it is the same in each of them."""
        try:
            plain = values.unpack(packed)
            return plain if self._shape is None else lift(self._shape, plain, self._what)
        except InvalidValue as error:
            error.add_note(f"This is the stored value of step {self.name}.")
            raise

    # --- one that is not known ---

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Around its function, until its value is on disk."""
        actor, steps = self._actor, self._steps
        if actor.interrupted:
            raise Interrupted
        if steps.count >= STEPS_LIMIT or steps.size >= STEPS_BYTES:
            raise StepsFull(
                f"step {self.name} is not begun: the task keeps {steps.count:,} steps of {steps.size:,} bytes; the "
                f"limits are {STEPS_LIMIT:,} and {STEPS_BYTES:,}. Do the work in several tasks",
                id_text(actor.id),
                steps.count,
                steps.size,
            )
        label = self._letter + self._label
        steps.begin(label, self.name)
        inside = _inside.set(self.name)
        try:
            actor.before_step()
            yield
        finally:
            _inside.reset(inside)
            steps.end(label)

    def pause_after(self, error: Exception, tries: int) -> float | None:
        """Seconds until the next try, after so many; None if the error ends the step."""
        retry = self._retry
        if retry is None or tries > retry.attempts:
            return None
        outcome = error_outcome(error, retry)
        if outcome.ending not in (Ending.ERROR, Ending.TIMED_OUT) or outcome.error is None:
            return None
        return retry.wait(tries - 1) if retry.wants(outcome.error[3]) else None

    def run(self, function: Callable[[], Any]) -> Any:
        """What the function returns, after as many tries as the policy allows."""
        tries = 1
        while True:
            try:
                return function()
            except Exception as error:
                pause = self.pause_after(error, tries)
                if pause is None:
                    raise
                tries += 1
                self._actor.pause(pause)

    def packed(self, value: Any) -> bytes:
        """The encoded value; UnencodableValue and ValueTooLarge name the step."""
        if self._shape is not None:
            try:
                value = lower(self._shape, value, self._what)
            except RecursionError as error:
                raise UnencodableValue("it contains itself, or is nested too deep", self._what) from error
        return values.pack(value, self._what, self._actor.value_limit)

    def keep(self, packed: bytes) -> Future[Any]:
        """Have it written; done once it is on disk."""
        kept = self._actor.host.keep_step(self._actor, self._letter, self._label, self.name, packed)
        # A callback notes it: a CancelledError may arrive while it is being written.
        kept.add_done_callback(lambda done: self._note(done, packed))
        return kept

    def _note(self, done: Future[Any], packed: bytes) -> None:
        if not done.cancelled() and done.exception() is None:
            self._steps.kept(self._letter, self._label, self.name, packed)

    @property
    def _what(self) -> str:
        return f"the value of step {self.name}"
