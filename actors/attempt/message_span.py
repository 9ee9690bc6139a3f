"""The span of one message to a class actor. A turn has none, because it handles messages of several senders."""

from __future__ import annotations

from typing import NamedTuple

from ..refs.letter import Kind, Letter
from ..tracing.tracer import AttemptSpan, begin
from .actor import TaskActor
from .host import Ending, Outcome, error_outcome

_KINDS = {Kind.TELL: "tell", Kind.ASK: "ask", Kind.REMINDER: "reminder", Kind.STOP: "stop"}


class TracedMessage(NamedTuple):
    """A message, as `TracedAttempt` wants it."""

    id: bytes
    task: str
    stream: bytes
    kind: str
    attempt: int
    interruptions: int
    trace: str | None
    actor: bytes | None


def begin_message(actor: TaskActor, letter: Letter, tries: int) -> AttemptSpan | None:
    """The span of a message that is being handled; None if it is not sampled. `tries`: how often it was before."""
    name = actor.task.name if letter.path is None else f"{actor.task.name}.{letter.path}"
    stream = letter.stream or actor.assignment.stream
    kind = _KINDS[letter.kind]
    return begin(TracedMessage(letter.id, name, stream, kind, tries + 1, 0, letter.trace, actor.id))


def end_message(span: AttemptSpan | None, outcome: Outcome | None, error: BaseException | None) -> None:
    """It was handled, with this error or none. `outcome` is that of the turn, if the turn has ended with it."""
    if span is None:
        return
    if error is None:
        stopped = outcome is not None and outcome.ending is Ending.INTERRUPTED
        span.end(outcome if stopped and outcome is not None else Outcome(Ending.VALUE))
        return
    ending = Ending.ERROR if outcome is None else outcome.ending
    span.end(Outcome(ending, error=error_outcome(error).error))
