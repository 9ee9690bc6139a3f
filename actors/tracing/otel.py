"""The tracer on OpenTelemetry. The names follow its conventions for messaging.

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/

* A start is a span of the kind PRODUCER, in the trace of the code that starts.
* An attempt is a span of the kind CONSUMER and the root of a trace of its own, because it may come days later and many
  times. It has a link to the start.
* A message to a class actor, and an event, is sent as a task is started; a message is handled as an attempt is made.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Sequence
from random import random
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context, trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..errors import InvalidOption
from ..ids import id_text
from .tracer import tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from .tracer import TracedAttempt, TracedOutcome

log = logging.getLogger("understudy")

SYSTEM: Final = "understudy"
#: Seconds that the last spans of a worker may take to be sent.
FLUSH_WITHIN: Final = 5.0
#: Characters of an error's message in a span.
MESSAGE: Final = 1_000

_SYSTEM_KEY: Final = "messaging.system"
#: What the code of an attempt that is not sampled is in: its own spans are not sampled either.
_NOT_SAMPLED: Final = trace.set_span_in_context(
    trace.NonRecordingSpan(SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.DEFAULT))),
    context.Context(),
)
_TEXT: Final = TraceContextTextMapPropagator()
_HEADER: Final = "traceparent"


class AsChosen(Sampler):
    """Samples the attempts for which an `OtelTracer` makes a span, and a share of what else happens in a worker."""

    def __init__(self, share: float) -> None:
        self._share = TraceIdRatioBased(share)

    def should_sample(
        self,
        parent_context: context.Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        """See `Sampler`."""
        ours = attributes is not None and attributes.get(_SYSTEM_KEY) == SYSTEM
        chosen: Sampler = ALWAYS_ON if ours else self._share
        return chosen.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """See `Sampler`."""
        return f"AsChosen{{{self._share.get_description()}}}"


class OtelTracer:
    """A `Tracer`. It uses the provider that is set in this process."""

    def __init__(self, share: float = 1.0) -> None:
        """`share`: that of the attempts to make a span for, of those whose start is in no trace."""
        self._tracer = trace.get_tracer(SYSTEM)
        self._share = share

    def started(self, task: str, id: bytes, stream: bytes) -> str | None:
        """See `Tracer`. A start outside of any trace makes no span: its attempt may be sampled by itself.

        The span ends at once: whether the start is refused shows in the span around it.
        """
        around = trace.get_current_span().get_span_context()
        if not around.is_valid:
            return None
        if not around.trace_flags & TraceFlags.SAMPLED:
            # Its attempts are told so. Nobody will see the span's id.
            return f"00-{around.trace_id:032x}-{around.span_id:016x}-00"
        span = self._tracer.start_span(f"send {task}", kind=SpanKind.PRODUCER)
        if span.is_recording():
            span.set_attributes(_attributes("send", task, id, stream))
        span.end()
        carrier: dict[str, str] = {}
        _TEXT.inject(carrier, trace.set_span_in_context(span))
        return carrier.get(_HEADER)

    def begun(self, attempt: TracedAttempt) -> OtelSpan | None:
        """See `Tracer`. An attempt that is not sampled costs little, because most are not."""
        if not self._samples(attempt.trace):
            context.attach(_NOT_SAMPLED)
            return None
        span = self._tracer.start_span(
            f"process {attempt.task}",
            context=context.Context(),
            kind=SpanKind.CONSUMER,
            links=_links(attempt.trace),
            attributes={
                **_attributes("process", attempt.task, attempt.id, attempt.stream),
                "understudy.attempt": attempt.attempt,
                "understudy.kind": attempt.kind,
                **({} if attempt.actor is None else {"understudy.actor": id_text(attempt.actor)}),
            },
        )
        context.attach(trace.set_span_in_context(span))
        # Whatever ended the attempts before this one, also a death that no code has seen.
        if attempt.attempt > 1:
            span.add_event("retry", {"understudy.attempt": attempt.attempt})
        if attempt.interruptions:
            span.add_event("interruption", {"understudy.interruptions": attempt.interruptions})
        return OtelSpan(span)

    def _samples(self, traceparent: str | None) -> bool:
        if traceparent is not None:
            return bool(int(traceparent[-2:], 16) & TraceFlags.SAMPLED)
        return self._share >= 1 or random() < self._share  # noqa: S311 - a sample, no secret


class OtelSpan:
    """An `AttemptSpan`."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def end(self, outcome: TracedOutcome) -> None:
        """See `AttemptSpan`."""
        try:
            self._end(outcome)
        except Exception:  # of an exporter or a processor of the app
            log.exception("a span was lost")

    def _end(self, outcome: TracedOutcome) -> None:
        span = self._span
        if span.is_recording():
            span.set_attribute("understudy.outcome", outcome.ending.name.lower())
            if outcome.ending.name == "INTERRUPTED":
                span.add_event("interrupted")
            if outcome.error is not None:
                kind, message, traceback = outcome.error[:3]
                span.set_attribute("error.type", kind)
                span.add_event(
                    "exception",
                    {
                        "exception.type": kind,
                        "exception.message": message[:MESSAGE],
                        "exception.stacktrace": traceback,
                    },
                )
                span.set_status(StatusCode.ERROR, f"{kind}: {message[:MESSAGE]}")
        span.end()


def _attributes(operation: str, task: str, id: bytes, stream: bytes) -> dict[str, str]:
    return {
        _SYSTEM_KEY: SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": task,
        "messaging.message.id": id_text(id),
        "messaging.message.conversation_id": id_text(stream),
    }


def _links(traceparent: str | None) -> list[Link]:
    if traceparent is None:
        return []
    found = trace.get_current_span(
        _TEXT.extract({_HEADER: traceparent}, context.Context())
    ).get_span_context()
    return [Link(found)] if found.is_valid else []


# --- setting it up ---


def trace_starts() -> None:
    """Make a span for each start of this process, which has a provider of its own or none."""
    if tracing.tracer is None:
        tracing.tracer = OtelTracer()


def trace_worker(share: float) -> None:
    """Trace a fresh worker, with the provider that a start hook of the app has set, or else with one that sends to
    where the environment says. The last spans are sent when the worker ends in good order."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        provider = TracerProvider(
            resource=Resource.create({} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: SYSTEM}),
            sampler=ParentBased(AsChosen(share)),
            shutdown_on_exit=False,
        )
        exporter = _exporter()
        if exporter is not None:
            provider.add_span_processor(BatchSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        atexit.register(_shut_down, provider)
    tracing.tracer = OtelTracer(share)


def _exporter() -> SpanExporter | None:
    """What OTEL_TRACES_EXPORTER names: otlp, which is the default, console or none."""
    name = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    match name:
        case "otlp":
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            return OTLPSpanExporter()
        case "console":
            return ConsoleSpanExporter()
        case "none":
            return None
    raise InvalidOption(f"OTEL_TRACES_EXPORTER must be otlp, console or none: {name!r:.80}")


def _shut_down(provider: TracerProvider) -> None:
    """Send the last spans. A receiver that does not answer holds up no drain."""
    last = threading.Thread(target=provider.shutdown, name="understudy-traces", daemon=True)
    last.start()
    last.join(FLUSH_WITHIN)
