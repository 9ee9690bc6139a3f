"""CallersTrace: the trace context of who makes a request, for what the request starts.

The web process makes no spans of its own. A task that a request starts is linked to the span of its caller.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from ...actors.tracing.traceparent import is_traceparent
from ...actors.tracing.tracer import TracedAttempt, tracing

_caller: Final[ContextVar[str | None]] = ContextVar("caller", default=None)


class CallersTrace:
    """A `Tracer`."""

    def started(self, _task: str, _id: bytes, _stream: bytes) -> str | None:
        """See `Tracer`."""
        return _caller.get()

    def begun(self, _attempt: TracedAttempt) -> None:
        """See `Tracer`. Nothing runs here."""


def hand_on() -> None:
    """Have what this process starts keep the context of `note`."""
    tracing.tracer, tracing.hands_on = CallersTrace(), True


def note(traceparent: str | None) -> None:
    """Keep the context of the request that this asyncio task handles. One that is none counts as none."""
    _caller.set(traceparent if is_traceparent(traceparent) else None)
