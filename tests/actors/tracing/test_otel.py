"""Spans in one process, by a provider of the test's own; tests/scenarios/test_traces.py has real workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanContext, TraceFlags

import kit_tasks as app
from understudy import InvalidOption, State
from understudy.actors.tracing import otel
from understudy.actors.tracing.otel import AsChosen, OtelTracer
from understudy.actors.tracing.tracer import tracing
from understudy.testing import InlineRuntime

HEADER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans that have ended."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter
    assert tracing.tracer is None, "the runtime has set it back"


def names(made: InMemorySpanExporter) -> list[str]:
    return [span.name for span in made.get_finished_spans()]


def test_a_start_and_its_attempt(made: InMemorySpanExporter) -> None:
    with InlineRuntime(traces=1) as rt:
        with trace.get_tracer("the test").start_as_current_span("work") as work:
            info = rt.start(app.add, 2, 3)
        assert rt.result(info) == 5
        record = rt.status(info)
        assert record.trace is not None
        assert record.trace.split("-")[1] == f"{work.get_span_context().trace_id:032x}"
        retried = rt.retry(info)
        assert rt.status(retried).trace == record.trace
        rt.settle()
    assert sorted(names(made)) == [*[f"process {app.add.name}"] * 2, f"send {app.add.name}", "work"]
    process, again = (span for span in made.get_finished_spans() if span.name.startswith("process"))
    assert process.parent is again.parent is None
    assert process.links[0].context == again.links[0].context
    assert f"{process.links[0].context.span_id:016x}" == record.trace.split("-")[2]


def test_an_attempt_after_a_crash_has_the_same_link(made: InMemorySpanExporter) -> None:
    with InlineRuntime(traces=1) as rt:
        with trace.get_tracer("the test").start_as_current_span("work"):
            info = rt.start(app.collect)
        rt.settle()
        rt.crash()
        rt.close_mailbox(info)
        rt.wait(info)
        (process,) = [
            span for span in made.get_finished_spans() if span.name == f"process {app.collect.name}"
        ]
        assert [event.name for event in process.events] == ["interruption"]
        assert len(process.links) == 1


class WrongAtBegin(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("a processor of the app")


class WrongAtEnd(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("an exporter of the app")


@pytest.mark.parametrize(("kind", "said"), [(WrongAtBegin, "is not traced"), (WrongAtEnd, "a span was lost")])
def test_a_tracer_that_fails_fails_no_task(
    kind: type[SpanProcessor],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(kind())
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    with InlineRuntime(traces=1) as rt:
        with trace.use_span(trace.NonRecordingSpan(SpanContext(1, 2, False, TraceFlags(1)))):
            assert rt.status(rt.start(app.add, 1, 1)).trace is None
        assert "a start of" in caplog.text
        assert rt.run(app.add, 4, 4) == 8
        assert said in caplog.text
        caplog.clear()
        info = rt.start(app.collect_async)
        rt.close_mailbox(info)
        assert rt.result(info) == []
        assert said in caplog.text


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_sampler_of_a_worker(share: float) -> None:
    sampler = AsChosen(share)
    chosen = sampler.should_sample(None, 1 << 127, "process x", attributes={"messaging.system": otel.SYSTEM})
    assert chosen.decision is Decision.RECORD_AND_SAMPLE
    for attributes in (None, {}, {"messaging.system": "another"}):
        other = sampler.should_sample(None, (1 << 64) - 1, "x", attributes=attributes)
        assert (other.decision is Decision.RECORD_AND_SAMPLE) == (share == 1)
    assert str(share) in sampler.get_description()


@pytest.mark.parametrize(("share", "fewest", "most"), [(0.5, 300, 700), (0.01, 0, 60), (1, 1_000, 1_000)])
def test_a_share_of_the_attempts(share: float, fewest: int, most: int) -> None:
    tracer = OtelTracer(share)
    assert fewest <= sum(tracer._samples(None) for _ in range(1_000)) <= most
    assert tracer._samples(HEADER)
    assert not tracer._samples(HEADER[:-1] + "0")


def test_nothing_inside_of_what_is_not_sampled_is(made: InMemorySpanExporter) -> None:
    with InlineRuntime(traces=1) as rt:
        unsampled = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(TraceFlags.DEFAULT))
        with trace.use_span(trace.NonRecordingSpan(unsampled)):
            info = rt.start(app.add, 1, 1)
        assert rt.result(info) == 2
        assert rt.status(info).trace == f"00-{1:032x}-{2:016x}-00"
    assert names(made) == []


def test_a_start_outside_of_a_trace_makes_no_span(made: InMemorySpanExporter) -> None:
    assert OtelTracer().started("x", bytes(16), bytes(16)) is None
    assert names(made) == []


def test_a_broken_context_is_no_link() -> None:
    assert otel._links("00-x") == []
    assert otel._links(None) == []
    (link,) = otel._links(HEADER)
    assert link.context.trace_flags & TraceFlags.SAMPLED


@pytest.mark.parametrize("name", ["none", "console", "otlp"])
def test_exporters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", name)
    exporter = otel._exporter()
    assert (exporter is None) == (name == "none")
    if exporter is not None:
        exporter.shutdown()


def test_an_unknown_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(InvalidOption, match="otlp, console or none"):
        otel._exporter()


def test_states_are_as_without(made: InMemorySpanExporter) -> None:
    with InlineRuntime(traces=1) as rt:
        info = rt.start(app.until_cancelled)
        rt.settle()
        rt.cancel(info)
        rt.wait(info)
        assert rt.status(info).state is State.CANCELLED
    assert len(names(made)) == 1
