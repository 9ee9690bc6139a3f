"""Spans of real workers, as a receiver gets them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import trace_tasks as app
from otlp import Receiver, receiver
from understudy import Runtime, State, TaskEnded, TaskFailed
from understudy.actors.tracing.tracer import tracing
from waiting import until

PRODUCER, CONSUMER = 4, 5
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiver() as it:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", it.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        try:
            yield it
        finally:
            tracing.tracer = None


@pytest.fixture
def own() -> Any:
    """A tracer of this program. The provider of the process can be set once."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    return trace.get_tracer("the program")


def runtime(home: Path, **settings: Any) -> Runtime:
    return Runtime(home, **{"app": "trace_tasks", "workers": 1, "traces": 1, "drain": 2.0, **settings})


def test_an_attempt_is_linked_to_its_start(home: Path, spans: Receiver, own: Any) -> None:
    with runtime(home) as rt:
        with own.start_as_current_span("work") as work:
            info = rt.start(app.traced)
        ours = work.get_span_context()
        theirs = rt.result(info)
        span = spans.one("process traces:traced")
        assert (span.kind, span.parent, span.service) == (CONSUMER, "", "understudy")
        assert span.trace == theirs
        assert span.trace != f"{ours.trace_id:032x}"
        ((linked, _),) = span.links
        assert linked == f"{ours.trace_id:032x}"
        assert span.attributes == {
            "messaging.system": "understudy",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": "traces:traced",
            "messaging.message.id": info.id,
            "messaging.message.conversation_id": info.stream_id,
            "understudy.attempt": 1,
            "understudy.kind": "task",
            "understudy.outcome": "value",
        }
        # Many at once, each with a start of its own.
        with own.start_as_current_span("many"):
            many = rt.start_many(app.plain, range(5))
        assert list(rt.results(many)) == list(range(5))
        until(lambda: all(spans.of(each.id) for each in many))
        assert len({spans.of(each.id)[0].links[0][1] for each in many}) == 5


def test_what_a_task_starts_is_in_its_trace(home: Path, spans: Receiver) -> None:
    with runtime(home) as rt:
        own, child, their_trace = rt.run(app.parent)
        consumer = spans.one("process traces:parent")
        producer = spans.one("send traces:plain")
        linked = spans.one("process traces:plain")
    assert consumer.links == [], "its own start was in no trace"
    assert (producer.kind, producer.trace, producer.parent) == (PRODUCER, consumer.trace, consumer.id)
    assert (consumer.trace, producer.attributes["messaging.message.id"]) == (their_trace, child)
    assert linked.links == [(producer.trace, producer.id)]
    assert consumer.attributes["messaging.message.id"] == own


def test_async_tasks_and_runs(home: Path, spans: Receiver) -> None:
    with runtime(home, web="127.0.0.1:0") as rt:
        ids = [rt.run(app.traced_async) for _ in range(3)]
        until(lambda: len(spans.spans) >= 3)
        assert {span.trace for span in spans.spans} == set(ids)
        header = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
        assert rt.web_url is not None
        answer = httpx.post(f"{rt.web_url}/traced", headers=header, timeout=20)
        assert spans.one("process trace_tasks:hook").links == [(TRACE, SPAN)]
        assert answer.text == spans.one("process trace_tasks:hook").trace
        # The API starts in the context of its caller, too.
        token = (home / "web.token").read_text(encoding="utf-8").strip()
        made = httpx.post(
            f"{rt.web_url}/api/tasks",
            headers={**header, "Authorization": f"Bearer {token}"},
            json={"task": "traces:plain", "args": [7]},
            timeout=20,
        )
        (span,) = until(lambda: spans.of(made.json()["id"]))
        assert span.links == [(TRACE, SPAN)]
        # One that is none is no reason to refuse a request.
        assert (
            httpx.post(f"{rt.web_url}/traced", headers={"traceparent": "00-x"}, timeout=20).status_code == 200
        )


def test_retries_deaths_and_errors(home: Path, spans: Receiver) -> None:
    with runtime(home) as rt:
        first = rt.start(app.second_try.options(retry=app.second_try.options_in_force.retry))
        assert rt.result(first) == 2
        assert rt.run(app.later) == 2
        # They are sent after a moment, and the next task kills the worker.
        until(lambda: len(spans.of(first.id)) == 2 and len(spans.spans) >= 4, 20)
        waiting = rt.start(app.waits)
        until(lambda: rt.status(waiting).state is State.RUNNING)
        assert rt.run(app.dies) == 2
        rt.send(waiting, "go on")
        assert rt.result(waiting) == "go on"
        with pytest.raises(TaskFailed):
            rt.run(app.fails)
        failed, worked = sorted(spans.of(first.id), key=lambda span: span.attributes["understudy.attempt"])
        assert (failed.failed, failed.events, failed.attributes["error.type"]) == (
            True,
            ["exception"],
            "ValueError",
        )
        assert (worked.failed, worked.events, worked.attributes["understudy.outcome"]) == (
            False,
            ["retry"],
            "value",
        )
        spans.one("process traces:later", lambda span: span.attributes["understudy.outcome"] == "retry_later")
        # Nobody could tell of the attempts that were killed.
        assert spans.one("process traces:dies").events == ["retry"]
        assert spans.one("process traces:waits").events == ["interruption"]
        assert spans.one("process traces:fails").failed


def test_a_drain_sends_the_last_spans(home: Path, spans: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    with runtime(home) as rt:
        info = rt.start(app.waits)
        until(lambda: rt.status(info).state is State.RUNNING)
        rt.run(app.plain)
        assert spans.spans == []
    assert spans.one("process traces:waits").events == ["interrupted"]
    spans.one("process traces:plain")


def test_a_receiver_that_does_not_answer_holds_up_nothing(
    home: Path, spans: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with runtime(home) as rt:
            assert list(rt.results(rt.start_many(app.plain, range(2_000)))) == list(range(2_000))
            began = time.monotonic()
        assert time.monotonic() - began < 20


def test_a_start_that_is_not_sampled_has_no_spans(home: Path, spans: Receiver) -> None:
    unsampled = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("the program")
    with runtime(home) as rt:
        with unsampled.start_as_current_span("work"):
            assert rt.run(app.parent)
        rt.run(app.traced)
        spans.one("process traces:traced")
    assert {span.name for span in spans.spans} == {"process traces:traced"}


def test_a_share_of_none_and_of_one(home: Path, spans: Receiver) -> None:
    with runtime(home, traces=0) as rt:
        assert rt.run(app.traced) is None, "a worker without traces loads nothing of them"
    with runtime(home.with_name("2"), traces=1e-9) as rt:
        assert rt.run(app.traced) is not None
        assert len(list(rt.results(rt.start_many(app.plain, range(500))))) == 500
    assert spans.spans == []


def test_each_message_to_an_actor_is_linked_to_its_sender(home: Path, spans: Receiver, own: Any) -> None:
    with runtime(home) as rt:
        one, two = rt.actor(app.Counter, "one"), rt.actor(app.Counter, "two")
        slow = rt.actor(app.AsyncCounter, "slow")
        with own.start_as_current_span("work") as work:
            assert one.call(app.Counter.add) == 1
            one.cast(app.Counter.tell_of_it, two)
            seen, seen_async = one.call(app.Counter.seen), slow.call(app.AsyncCounter.seen)
            with pytest.raises(ValueError, match="not this"):
                two.call(app.Counter.refuse)
        ours = f"{work.get_span_context().trace_id:032x}"
        added = spans.one(
            "process traces:Counter.add", lambda span: span.attributes["understudy.actor"] == one.id
        )
        assert (added.kind, added.parent, added.failed) == (CONSUMER, "", False)
        assert [trace for trace, _ in added.links] == [ours]
        assert added.attributes["understudy.kind"] == "ask"
        # What the method sends is in the trace of its message.
        told = spans.one("process traces:Counter.tell_of_it")
        sent = spans.one("send traces:Counter.add")
        assert (sent.trace, sent.parent) == (told.trace, told.id)
        theirs = spans.one(
            "process traces:Counter.add", lambda span: span.attributes["understudy.actor"] == two.id
        )
        assert theirs.links == [(sent.trace, sent.id)]
        for name, trace in (("Counter", seen), ("AsyncCounter", seen_async)):
            span = spans.one(f"process traces:{name}.seen")
            assert (span.trace, [linked for linked, _ in span.links]) == (trace, [ours])
        refused = spans.one("process traces:Counter.refuse")
        assert (refused.failed, refused.events, refused.attributes["error.type"]) == (
            True,
            ["exception"],
            "ValueError",
        )
    assert not [
        span for span in spans.spans if span.name in ("process traces:Counter", "process traces:AsyncCounter")
    ]


def test_the_runs_of_an_event_are_linked_to_its_emitter(home: Path, spans: Receiver, own: Any) -> None:
    with runtime(home) as rt:
        with own.start_as_current_span("work") as work:
            event = rt.emit("trace.made")
        rt.result(event.runs[0])
        (span,) = until(lambda: spans.of(event.runs[0]))
        assert [trace for trace, _ in span.links] == [f"{work.get_span_context().trace_id:032x}"]
        theirs = rt.run(app.emits)
        sent = spans.one("send trace.made")
        assert sent.trace == theirs
        spans.one("process trace_tasks:handles", lambda span: span.links == [(sent.trace, sent.id)])


def test_tasks_that_are_cancelled(home: Path, spans: Receiver) -> None:
    with runtime(home) as rt:
        info = rt.start(app.naps)
        until(lambda: rt.status(info).state is State.RUNNING)
        rt.cancel(info)
        with pytest.raises(TaskEnded):
            rt.result(info)
        spans.one("process traces:naps")


def test_an_app_may_have_a_provider_of_its_own(home: Path, tmp_path: Path, spans: Receiver) -> None:
    app_file = tmp_path / "own_provider.py"
    app_file.write_text(
        """
from understudy import on_worker_start, task

@on_worker_start
def set_up():
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider(resource=Resource({"service.name": "mine"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)

@task(name="own")
def own():
    pass
""",
        encoding="utf-8",
    )
    with runtime(home, app=str(app_file)) as rt:
        rt.run("own")
        assert spans.one("process own").service == "mine"
