"""Events against one real supervisor that these tests share; crashes, disks and deploys are scenarios."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import event_tasks
from event_tasks import Till, bill, fails, listens_to, waits_async, waits_for
from leftovers import left_behind, ours
from understudy import (
    AsyncRuntime,
    EventCycle,
    EventNotFound,
    InvalidOption,
    NotInTask,
    Runtime,
    State,
    TaskFailed,
    TaskInfo,
    UnencodableValue,
    ValueTooLarge,
    listen,
)
from waiting import until

PATIENCE = 30.0


@pytest.fixture(autouse=True)
def leaves_no_process() -> None:
    """Not after each test: workers come and go while the tests share a supervisor. See `rt`."""


@pytest.fixture(scope="module")
def rt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home = tmp_path_factory.mktemp("h") / "home"
    before = ours()
    with Runtime(
        home, app="event_tasks", workers=1, durability="os", drain=1.0, value_limit=100_000, task_listens=5
    ) as runtime:
        yield runtime
    assert left_behind(before, [home]) == []


def ready(rt: Runtime, info: TaskInfo[Any]) -> None:
    """The task listens."""
    until(lambda: [event for event in rt.events(name="listener.ready") if event.data == info.id], PATIENCE)


def test_handlers_run_and_what_they_emit_stays_in_the_stream(rt: Runtime):
    made = rt.emit("order.paid", {"id": 7, "fails": 2}, id="stripe/1")
    assert (made.id, len(made.runs)) == ("stripe/1", 2)
    first, second = (rt.wait(run, PATIENCE) for run in made.runs)
    assert (first.task, first.attempt, second.task, second.attempt) == ("audit", 1, "event_tasks:bill", 3)
    assert first.stream_id == second.stream_id == made.stream_id
    assert (second.kind, second.origin_run) == ("event", None)
    assert second.trigger is not None
    assert (second.trigger.event_id, second.trigger.event) == ("stripe/1", "order.paid")
    value = rt.result(second.id)
    assert (value["event"], value["trigger"], value["kind"]) == ("stripe/1", "stripe/1", "event")
    invoice = rt.event(value["emitted"])
    assert (invoice.stream_id, invoice.origin_run, invoice.runs) == (made.stream_id, second.id, ())
    assert [event.id for event in rt.events(name="invoice.created", unmatched=True)][:1] == [invoice.id]
    drawn = [(depth, node.kind, node.name, node.state) for depth, node in rt.stream(made.stream_id).walk()]
    assert drawn == [
        (0, "event", "order.paid", None),
        (1, "run", "audit", State.COMPLETED),
        (1, "run", "event_tasks:bill", State.COMPLETED),
        (2, "event", "invoice.created", None),
    ]


def test_one_id_is_one_event_however_many_emit_it(rt: Runtime):
    gate, told = threading.Barrier(6), []

    def emits() -> None:
        gate.wait(PATIENCE)
        told.append(rt.emit("order.raced", {"id": 1}, id="race/1"))

    threads = [threading.Thread(target=emits) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(told) == 6
    assert len(set(told)) == 1
    assert len(rt.events(name="order.raced")) == 1
    assert len(rt.stream(told[0].stream_id).roots) == 1
    rt.wait(told[0].runs[0], PATIENCE)


def test_emit_many(rt: Runtime):
    made = rt.emit_many([("audit.many", 1), ("audit.many", 2, "many/2"), ("audit.other", 3)])
    assert made[1].id == "many/2"
    assert [rt.result(info.runs[0], PATIENCE) for info in made] == ["audit.many", "audit.many", "audit.other"]
    assert rt.emit_many([]) == []
    assert rt.emit_many([("audit.many", 2, "many/2")]) == [made[1]]
    for wrong in ([("audit.x",)], ["audit.x"], [("a", 1, "b", 2)]):
        with pytest.raises(InvalidOption, match="name, data"):
            rt.emit_many(wrong)
    with pytest.raises(InvalidOption):
        rt.emit_many([("audit.none", 1), ("no name", 2)])
    assert not rt.events(name="audit.none")


def test_pages_and_patterns(rt: Runtime):
    rt.emit_many([(f"page.{number % 2}", number) for number in range(10)])
    assert [event.data for event in rt.events(name="page.*", limit=3)] == [9, 8, 7]
    assert [event.data for event in rt.events(name="page.0")] == [8, 6, 4, 2, 0]
    page = rt.events(name="page.0", limit=2)
    assert [event.data for event in rt.events(name="page.0", limit=2, before=page[-1])] == [4, 2]
    assert [event.data for event in rt.events(name="page.**", limit=2, before=page[-1].id)] == [5, 4]
    assert not rt.events(name="page.0", limit=0)
    assert [event.data for event in rt.events(name="page.0", limit=2, before=page.cursor)] == [4, 2]
    assert rt.events(name="page.0", limit=9).cursor is None
    assert rt.events(name="page.0", unmatched=True, limit=1)[0].data == 8
    with pytest.raises(InvalidOption):
        rt.events(name="page..")
    with pytest.raises(InvalidOption):
        rt.events(limit=-1)


def test_the_streams_page_by_page(rt: Runtime):
    made = [rt.emit("stream.begun", number) for number in range(5)]
    rt.emit("stream.grown", stream_id=made[1].stream_id)
    rt.wait(rt.start(listens_to, 0))  # alone, it is no stream
    wanted = [made[number].stream_id for number in (1, 4, 3, 2, 0)]
    first = rt.streams(limit=5)
    assert [stream.id for stream in first] == wanted
    assert {(stream.kind, stream.name) for stream in first} == {("event", "stream.begun")}
    assert first[0].newest >= first[1].newest >= first[0].time
    found: list[str] = []
    cursor = None
    while len(found) < 5:
        page = rt.streams(limit=2, before=cursor)
        found += [stream.id for stream in page]
        cursor = page.cursor
    assert found[:5] == wanted
    with pytest.raises(InvalidOption):
        rt.streams(before="x")
    with pytest.raises(InvalidOption):
        rt.streams(limit=0)


def test_replay(rt: Runtime):
    made = rt.emit("order.again", {"id": 1})
    rt.wait(made.runs[0], PATIENCE)
    again = rt.replay(made, bill)
    assert again.runs != made.runs
    assert rt.wait(again.runs[0], PATIENCE).trigger.event_id == made.id  # type: ignore[union-attr]
    assert [run for _, run in rt.event(made).runs] == [*made.runs, *again.runs]
    assert len(rt.replay(made.id).runs) == 1
    with pytest.raises(InvalidOption, match="does not handle"):
        rt.replay(made, fails)
    for unknown in ("nothing/1", rt.start(fails, "x").id):
        with pytest.raises(EventNotFound):
            rt.replay(unknown)
        with pytest.raises(EventNotFound):
            rt.event(unknown)
    with pytest.raises(EventNotFound):
        rt.stream("01a2240c-8104-75cc-808c-164b23005b2e")


@pytest.mark.parametrize(
    ("name", "data", "options", "error"),
    [
        ("order paid", None, {}, InvalidOption),
        ("understudy.task.failed", None, {}, InvalidOption),
        ("order.paid", None, {"id": ""}, InvalidOption),
        ("order.paid", {"at": object()}, {}, UnencodableValue),
        ("order.paid", "x" * 100_000, {}, ValueTooLarge),
    ],
)
def test_bad_events_are_refused_before_they_are_sent(
    rt: Runtime, name: str, data: Any, options: dict[str, Any], error: type[Exception]
):
    with pytest.raises(error):
        rt.emit(name, data, **options)


def test_the_place_in_the_data_is_named(rt: Runtime):
    with pytest.raises(UnencodableValue, match=r"^data\['at'\]\[1\] is of type object"):
        rt.emit("order.paid", {"at": [1, object()]})


def test_circles_end(rt: Runtime):
    made = rt.emit("loop", 1)
    until(lambda: len(rt.events(name="loop", limit=1000)) == 64, PATIENCE)
    last = rt.events(name="loop", limit=1)[0]
    with pytest.raises(TaskFailed, match="number 65 in a row") as caught:
        rt.result(last.runs[0][1], PATIENCE)
    assert caught.value.error.type == EventCycle.__name__
    assert last.data == 64
    assert last.stream_id == made.stream_id


def test_listening(rt: Runtime):
    info = rt.start(waits_for, "heard.*", 3, {"to.name": "Ada"})
    ready(rt, info)
    rt.emit("heard.x", {"to": {"name": "Bob"}, "n": 0})
    rt.emit_many([("heard.x", {"to": {"name": "Ada"}, "n": n}) for n in range(3)])
    assert [data["n"] for data in info.result(PATIENCE)] == [0, 1, 2]
    late = rt.start(waits_for, "heard.*", 4, None, 3600)
    assert [data["n"] for data in late.result(PATIENCE)] == [0, 0, 1, 2]
    coroutine = rt.start(waits_async, "heard.async")
    ready(rt, coroutine)
    rt.emit("heard.async", 5)
    assert coroutine.result(PATIENCE) == 5


def test_the_limit_of_listens(rt: Runtime):
    rt.start(listens_to, 5).result(PATIENCE)
    with pytest.raises(TaskFailed, match="listens to 5 patterns"):
        rt.start(listens_to, 6).result(PATIENCE)


def test_listen_needs_a_task(rt: Runtime):
    with pytest.raises(NotInTask):
        listen("a.*")
    with pytest.raises(NotInTask):
        rt.listen("a.*")


def test_the_runtimes_own_events_start_alerts(rt: Runtime):
    def told_of(id: str) -> list[Any]:
        return [event for event in rt.events(name="understudy.**") if event.data.get("id") == id]

    info = rt.start(fails, "oops")
    rt.wait(info, PATIENCE)
    (event,) = told_of(info.id)
    assert rt.result(event.runs[0][1], PATIENCE) == "event_tasks:fails: oops"
    assert event.stream_id == info.stream_id
    again = rt.start(fails, "fail too")
    rt.wait(again, PATIENCE)
    (event,) = told_of(again.id)
    alert = event.runs[0][1]
    assert rt.wait(alert, PATIENCE).state is State.FAILED
    assert told_of(alert) == []


def test_the_death_of_a_worker_is_an_event(rt: Runtime):
    before = len(rt.events(name="understudy.worker.died"))
    rt.wait(rt.start(event_tasks.dies), PATIENCE)
    until(lambda: len(rt.events(name="understudy.worker.died")) > before, PATIENCE)
    died = rt.events(name="understudy.worker.died", limit=1)[0]
    assert rt.result(died.runs[0][1], PATIENCE) == died.data["exit"] == "SIGABRT"


def test_an_actor_emits_with_its_commit(rt: Runtime):
    till = rt.actor(Till, "one")
    id = till.call("pay", 5)
    event = rt.event(id)
    assert (event.name, event.data, event.origin_run) == ("order.paid", {"id": 5}, till.id)
    assert len(event.runs) == 2
    for _, run in event.runs:
        rt.wait(run, PATIENCE)
    with pytest.raises(ValueError, match="a refund"):
        till.call("pay", -5)
    till.call("pay", 6)
    paid = [event.data["id"] for event in rt.events(name="order.paid") if event.origin_run == till.id]
    assert paid == [6, 5]


def test_the_async_runtime(rt: Runtime):
    async def story() -> None:
        async with AsyncRuntime.connect(rt.home) as again:
            made = await again.emit("audit.async", 1, id="async/1")
            assert await again.result(made.runs[0], PATIENCE) == "audit.async"
            assert await again.emit_many([("audit.async", 1, "async/1")]) == [made]
            assert (await again.event("async/1")).name == "audit.async"
            assert [event.id for event in await again.events(name="audit.async")] == ["async/1"]
            assert len((await again.replay("async/1")).runs) == 1
            assert (await again.stream(made.stream_id)).id == made.stream_id

    asyncio.run(story())


def test_emit_from_an_async_handler(rt: Runtime):
    made = rt.emit("audit.all", 3, id="whole")
    rt.wait(made.runs[0], PATIENCE)
    done = rt.event("done/whole")
    assert (done.data, done.stream_id, done.origin_run) == (3, made.stream_id, made.runs[0])
