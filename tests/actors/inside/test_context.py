from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from understudy.actors.errors import NoRuntime, NotInTask
from understudy.actors.ids import id_text, new_id
from understudy.actors.inside import context
from understudy.actors.inside.context import NOTE_LIMIT, lineage_here
from understudy.actors.task import current_runtime

CALLS: dict[str, Callable[[], Any]] = {
    "receive": context.receive,
    "checkpoint": lambda: context.checkpoint(1),
    "restore": context.restore,
    "cancelled": context.cancelled,
    "sleep": lambda: context.sleep(0),
    "progress": lambda: context.progress(1),
    "current": context.current,
}


@pytest.mark.parametrize("name", CALLS)
def test_outside_of_a_task(name: str) -> None:
    with pytest.raises(NotInTask, match=f"^{name} works only inside a running task"):
        CALLS[name]()


@pytest.mark.parametrize("name", ["receive", "checkpoint", "restore", "sleep"])
def test_what_would_block_the_event_loop_is_refused_in_an_async_task(stage: Any, name: str) -> None:
    async def body() -> Any:
        with pytest.raises(NotInTask, match=f"use `await aio.{name}"):
            CALLS[name]()

    stage.perform(body).value()


@pytest.mark.parametrize("name", ["cancelled", "progress", "current"])
def test_what_does_not_block_works_in_both(stage: Any, name: str) -> None:
    async def body() -> None:
        CALLS[name]()

    def sync_body() -> None:
        CALLS[name]()

    stage.perform(body).value()
    stage.perform(sync_body).value()


class Recorder:
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def send(self, id: str, message: Any) -> None:
        self.calls.append(("send", id, message))

    def restore(self, id: str) -> Any:
        self.calls.append(("restore", id))
        return {"n": 1}

    def actor(self, cls: Any, name: str | None, /, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(("actor", cls, name, args, kwargs))
        return "ref"


def test_send_and_restore_by_id_need_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Recorder()
    monkeypatch.setattr(current_runtime, "_own", None)
    monkeypatch.setattr(current_runtime, "_entered", [])
    with pytest.raises(NoRuntime):
        context.send("i", 1)
    with pytest.raises(NoRuntime):
        context.restore("i")
    monkeypatch.setattr(current_runtime, "_entered", [runtime])
    context.send("i", {"x": 1})
    assert context.restore("j") == {"n": 1}
    assert runtime.calls == [("send", "i", {"x": 1}), ("restore", "j")]


def test_an_actor_of_the_current_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Recorder()
    monkeypatch.setattr(current_runtime, "_own", None)
    monkeypatch.setattr(current_runtime, "_entered", [])
    with pytest.raises(NoRuntime):
        context.actor("app:Account", "ada")
    monkeypatch.setattr(current_runtime, "_entered", [runtime])
    assert context.actor("app:Account", "ada", 1, name="Ada") == "ref"
    assert runtime.calls == [("actor", "app:Account", "ada", (1,), {"name": "Ada"})]


def test_current(stage: Any) -> None:
    stream, origin = new_id(), new_id()
    seen: list[Any] = []

    def body() -> None:
        seen.append(context.current())
        seen.append(lineage_here())

    begun = time.time()
    play = stage.perform(body, attempt=3, stream=stream, origin=origin, timeout=60.0, interruptions=2)
    play.value()
    now, lineage = seen
    assert now.id == id_text(play.actor.id)
    assert (now.task, now.attempt, now.interruptions, now.cancel_reason) == ("tests:body", 3, 2, None)
    assert (now.stream_id, now.origin_run) == (id_text(stream), id_text(origin))
    assert begun + 60 <= now.deadline <= time.time() + 60
    assert lineage == (play.actor.id, stream)
    assert lineage_here() is None


def test_current_without_timeout_and_origin(stage: Any) -> None:
    seen: list[Any] = []
    stage.perform(lambda: seen.append(context.current())).value()
    assert (seen[0].deadline, seen[0].origin_run) == (None, None)


def test_progress(stage: Any) -> None:
    def body() -> None:
        context.progress(1)
        context.progress(2, 4, "half")
        context.progress(3, note="\ud800" + "x" * 2 * NOTE_LIMIT)

    play = stage.perform(body)
    play.value()
    assert play.progress[:2] == [(1.0, None, ""), (2.0, 4.0, "half")]
    note = play.progress[2][2]
    assert len(note) <= NOTE_LIMIT + 10
    note.encode()


def test_progress_with_what_is_no_number_is_the_tasks_error(stage: Any) -> None:
    assert stage.perform(lambda: context.progress("half")).outcome().error[0] == "ValueError"  # type: ignore[arg-type]  # the point
