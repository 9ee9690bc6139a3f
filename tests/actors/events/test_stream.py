from __future__ import annotations

from typing import Any

from understudy.actors.errors import ErrorInfo
from understudy.actors.events.event import EventRecord
from understudy.actors.events.stream import stream_of
from understudy.actors.state import State
from understudy.actors.task.handles import TaskRecord
from understudy.actors.task.trigger import Trigger


def event(id: str, time: float, origin: str | None = None) -> EventRecord:
    return EventRecord(id, f"name.{id}", time, "s", origin, (), b"\xc0")


def task(id: str, created: float, **fields: Any) -> TaskRecord:
    known = {"stream_id": "s", "task": f"app:{id}", "state": State.COMPLETED, "attempt": 1}
    return TaskRecord(id=id, created=created, interruptions=0, **{**known, **fields})


def drawn(tree: Any) -> list[str]:
    return [f"{'  ' * depth}{node.kind} {node.id}" for depth, node in tree.walk()]


def test_each_stands_below_what_has_made_it():
    events = [event("e2", 3.0, origin="r1"), event("e1", 1.0)]
    tasks = [
        task("r2", 2.1, kind="event", trigger=Trigger("e1", "name.e1")),
        task("r1", 2.0, kind="event", trigger=Trigger("e1", "name.e1"), error=ErrorInfo("E", "m")),
        task("t1", 4.0, origin_run="r1"),
        task("r3", 5.0, kind="event", trigger=Trigger("e2", "name.e2"), origin_run="r1"),
    ]
    tree = stream_of("s", events, tasks)
    assert drawn(tree) == [
        "event e1",
        "  run r1",
        "    event e2",
        "      run r3",
        "    task t1",
        "  run r2",
    ]
    _, run = list(tree.walk())[1]
    assert (run.name, run.state, run.attempt, run.error) == ("app:r1", State.COMPLETED, 1, "E: m")
    assert tree.as_dict()["roots"][0]["children"][0]["state"] == "completed"


def test_what_has_lost_its_beginning_is_a_root():
    tree = stream_of(
        "s",
        [event("e9", 9.0, origin="gone")],
        [task("t", 1.0, origin_run="gone"), task("r", 2.0, kind="event", trigger=Trigger("gone", "x"))],
    )
    assert drawn(tree) == ["task t", "run r", "event e9"]


def test_an_event_and_a_task_may_have_one_id():
    tree = stream_of("s", [event("same", 1.0)], [task("same", 2.0), task("child", 3.0, origin_run="same")])
    assert drawn(tree) == ["event same", "task same", "  task child"]


def test_a_chain_of_any_length_can_be_walked():
    tasks = [task(f"t{n}", n, origin_run=f"t{n - 1}") for n in range(1, 3_000)]
    depths = [depth for depth, _ in stream_of("s", [], tasks).walk()]
    assert depths == list(range(2_999))
