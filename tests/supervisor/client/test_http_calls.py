"""Runs of HTTP requests in an `InlineRuntime`: their kind, their slots, their keys and changed declarations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from understudy import Request, State, TriggerChanged, current, http, sleep, task
from understudy.actors.http.declaration import HttpTrigger
from understudy.supervisor.client.deadline import NO_DEADLINE
from understudy.supervisor.client.http_calls import Handled, HttpCalls, HttpRun
from understudy.supervisor.client.steps import finish
from understudy.testing import InlineRuntime


@http("POST", "/inline/hook/{name}", auth="none", dedupe="X-Id")
@task(name="inline hook")
def hook(request: Request) -> list[Any]:
    trigger = current().trigger
    assert trigger is not None
    return [current().kind, request.params["name"], trigger.method, trigger.path, trigger.delivery]


@http("POST", "/inline/async", auth="none")
@task(name="inline async hook")
async def async_hook(request: Request) -> str:
    return current().kind


@task(name="inline nap")
def nap() -> None:
    sleep(1000)


REQUEST = Request("POST", "/inline/hook/a", params={"name": "a"})


@pytest.fixture
def rt() -> Iterator[InlineRuntime]:
    with InlineRuntime(workers=1, slots=1) as rt:
        yield rt


def handled(task: Any) -> Handled:
    return Handled(task.name, task.triggers[0])


def start(rt: InlineRuntime, handled: Handled, delivery: str | None = None) -> HttpRun:
    calls = HttpCalls(rt._client, rt._ends)
    return finish(calls.start(NO_DEADLINE, handled, REQUEST, delivery), NO_DEADLINE, rt._client.late)


def test_the_declarations_come_as_data(rt: InlineRuntime):
    calls = HttpCalls(rt._client, rt._ends)
    found = finish(calls.triggers(NO_DEADLINE), NO_DEADLINE, rt._client.late)
    assert handled(hook) in found
    assert handled(async_hook) in found


def test_a_run_knows_its_kind_and_its_trigger(rt: InlineRuntime):
    run = start(rt, handled(hook), "d-1")
    assert rt.result(_text(run)) == ["http", "a", "POST", "/inline/hook/{name}", "d-1"]
    record = rt.status(_text(run))
    assert (record.kind, record.trigger and record.trigger.delivery) == ("http", "d-1")
    assert rt.result(_text(start(rt, handled(async_hook)))) == "http"


def test_the_same_delivery_is_the_same_run(rt: InlineRuntime):
    first = start(rt, handled(hook), "d-2")
    again = start(rt, handled(hook), "d-2")
    other = start(rt, handled(hook), "d-3")
    assert (again.id, again.repeated, first.repeated) == (first.id, True, False)
    assert other.id != first.id


def test_a_retry_keeps_kind_and_trigger(rt: InlineRuntime):
    run = start(rt, handled(hook), "d-4")
    rt.result(_text(run))
    again = rt.retry(_text(run))
    assert rt.result(again.id) == rt.result(_text(run))
    assert rt.status(again.id).kind == "http"


@pytest.mark.parametrize(
    "changed",
    [
        Handled("inline hook", HttpTrigger("POST", "/inline/hook/{name}", auth="token", dedupe="X-Id")),
        Handled("inline hook", HttpTrigger("GET", "/inline/hook/{name}", auth="none", dedupe="X-Id")),
        Handled("inline async hook", handled(hook).trigger),
        Handled("inline nap", handled(hook).trigger),
    ],
)
def test_a_declaration_that_has_changed_starts_nothing(rt: InlineRuntime, changed: Handled):
    before = len(rt.list())
    with pytest.raises(TriggerChanged):
        start(rt, changed)
    assert len(rt.list()) == before


def test_it_waits_behind_no_task(rt: InlineRuntime):
    for _ in range(50):
        rt.start(nap.options(priority=100))
    assert rt.result(_text(start(rt, handled(hook)))) is not None
    assert rt.result(_text(start(rt, handled(async_hook)))) == "http"
    assert rt.counts()


def test_what_is_queued_is_shown_as_waiting_for_a_slot(rt: InlineRuntime):
    run = start(rt, handled(hook))
    assert rt.status(_text(run)).state in (State.QUEUED, State.RUNNING, State.COMPLETED)


def _text(run: HttpRun) -> str:
    from understudy.actors.ids import id_text

    return id_text(run.id)
