"""The tracer of this process: None, which costs one comparison, unless traces are on."""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, Protocol

log = logging.getLogger("understudy")


class TracedAttempt(Protocol):
    """What a tracer looks at when an attempt begins: an assignment; or when an actor begins with a message."""

    @property
    def id(self) -> bytes:
        """That of the task."""

    @property
    def task(self) -> str:
        """The name of the task."""

    @property
    def stream(self) -> bytes:
        """Its correlation id."""

    @property
    def kind(self) -> str:
        """Why there is this task."""

    @property
    def attempt(self) -> int:
        """The number of the attempt."""

    @property
    def interruptions(self) -> int:
        """How often an attempt was interrupted."""

    @property
    def trace(self) -> str | None:
        """The traceparent of its start."""

    @property
    def actor(self) -> bytes | None:
        """Of a message to a class actor, the id of the actor."""


class TracedOutcome(Protocol):
    """What it looks at when the attempt has ended: an outcome."""

    @property
    def ending(self) -> Any:
        """A member of an enumeration."""

    @property
    def error(self) -> tuple[Any, ...] | None:
        """(type, message, traceback, …)"""


class AttemptSpan(Protocol):
    """The span of an attempt that is under way."""

    def end(self, outcome: TracedOutcome) -> None:
        """The attempt has ended. It must not raise."""


class Tracer(Protocol):
    """Makes the spans."""

    def started(self, task: str, id: bytes, stream: bytes) -> str | None:
        """A task is being started, a message sent or an event emitted: the traceparent to keep with it; None if this is
        in no trace."""

    def begun(self, attempt: TracedAttempt) -> AttemptSpan | None:
        """An attempt begins; None if it is not sampled.

        Its span is the current one in this context of `contextvars` from now on.
        """


class _Tracing:
    """Holds the tracer. Modules keep a reference to this object, so that it can be set at any time."""

    __slots__ = ("hands_on", "tracer")

    def __init__(self) -> None:
        self.tracer: Tracer | None = None
        #: Whether the contexts are those of callers elsewhere: they are kept also where nothing is traced.
        self.hands_on = False


tracing: Final = _Tracing()
"""The tracing of this process."""


def is_on() -> bool:
    """Whether starts are traced. A program that has loaded OpenTelemetry by now gets a tracer."""
    if tracing.tracer is None:
        if "opentelemetry.sdk.trace" not in sys.modules:
            return False
        from .otel import trace_starts

        trace_starts()
    return True


def start(task: str, id: bytes, stream: bytes) -> str | None:
    """The traceparent of a start; None if it is in no trace, or the tracer fails."""
    if tracing.tracer is None:
        return None
    try:
        return tracing.tracer.started(task, id, stream)
    except Exception:
        log.exception("a start of %s is not traced", task)
        return None


def begin(attempt: TracedAttempt) -> AttemptSpan | None:
    """The span of an attempt; None if nothing is traced, or the tracer fails: a task does not fail for its sake."""
    if tracing.tracer is None:
        return None
    try:
        return tracing.tracer.begun(attempt)
    except Exception:
        log.exception("an attempt at %s is not traced", attempt.task)
        return None
