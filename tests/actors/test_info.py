from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from understudy.actors import ambient
from understudy.actors.errors import ErrorInfo, NoRuntime
from understudy.actors.info import Progress, TaskInfo, TaskRecord
from understudy.actors.state import TERMINAL, State


def record(**changes: Any) -> TaskRecord:
    return TaskRecord(
        **{
            "id": "i",
            "stream_id": "s",
            "task": "app:etl",
            "state": State.QUEUED,
            "attempt": 1,
            "interruptions": 0,
            "created": 1.5,
            **changes,
        }
    )


@pytest.mark.parametrize("state", State)
def test_ended_already(state: State) -> None:
    assert record(state=state).ended_already is (state in TERMINAL)


def test_as_plain_data() -> None:
    full = record(
        state=State.FAILED,
        error=ErrorInfo("ValueError", "no", "tb", {"pid": 3}),
        progress=Progress(1.0, 2.0, "half"),
        options={"priority": 3},
    ).as_dict()
    assert json.loads(json.dumps(full)) == full
    assert type(full["state"]) is str
    assert full["error"] == {"type": "ValueError", "message": "no", "traceback": "tb", "details": {"pid": 3}}
    assert full["progress"] == {"done": 1.0, "total": 2.0, "note": "half"}


def test_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        record().state = State.FAILED  # type: ignore[misc]  # that is the point
    with pytest.raises(FrozenInstanceError):
        TaskInfo("i", "s", "t").id = "j"  # type: ignore[misc]  # as above


class Recorder:
    """A runtime that says what it was asked; falsy, as an empty one could be."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> str:
            self.calls.append((name, *args, kwargs))
            return f"{name}!"

        return call


def test_short_cuts() -> None:
    runtime: Any = Recorder()
    info = TaskInfo("i", "s", "t", runtime=runtime)
    assert info.status() == "status!"  # type: ignore[comparison-overlap]  # the recorder's answer
    assert info.result(3) == "result!"
    assert info.wait(4) == "wait!"  # type: ignore[comparison-overlap]  # as above
    assert info.cancel() == "cancel!"  # type: ignore[comparison-overlap]  # as above
    assert info.restore() == "restore!"
    info.send({"x": 1})
    info.close()
    assert runtime.calls == [
        ("status", "i", {}),
        ("result", "i", {"timeout": 3}),
        ("wait", "i", {"timeout": 4}),
        ("cancel", "i", {}),
        ("restore", "i", {}),
        ("send", "i", {"x": 1}, {}),
        ("close", "i", {}),
    ]


def test_without_a_runtime_of_its_own_the_ambient_one_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime: Any = Recorder()
    monkeypatch.setattr(ambient, "_own", None)
    monkeypatch.setattr(ambient, "_entered", [])
    with pytest.raises(NoRuntime):
        TaskInfo("i", "s", "t").status()
    monkeypatch.setattr(ambient, "_entered", [runtime])
    TaskInfo("i", "s", "t").cancel()
    assert runtime.calls == [("cancel", "i", {})]


def test_the_runtime_is_no_part_of_its_identity() -> None:
    runtime: Any = Recorder()
    assert TaskInfo("i", "s", "t", runtime=runtime) == TaskInfo("i", "s", "t")
    assert "runtime" not in repr(TaskInfo("i", "s", "t", runtime=runtime))
