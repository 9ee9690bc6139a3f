from __future__ import annotations

import copy
import json
import pickle
from dataclasses import FrozenInstanceError
from typing import Any, cast
from uuid import UUID

import pytest

from understudy.actors import values
from understudy.actors.errors import ErrorInfo, InvalidOption, InvalidValue, NoRuntime, TaskNotFound
from understudy.actors.ids import id_text
from understudy.actors.state import TERMINAL, State
from understudy.actors.task import current_runtime
from understudy.actors.task.handles import Progress, StoredArguments, TaskInfo, TaskRecord, id_of

ID, S, ORIGIN = b"i" * 16, b"s" * 16, b"o" * 16


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
    with pytest.raises(AttributeError):
        TaskInfo(ID, S, "t").id = "j"  # type: ignore[misc]  # as above


def test_what_a_handle_says() -> None:
    info = TaskInfo(ID, S, "t", ORIGIN)
    assert (info.id, info.stream_id, info.origin_run) == (id_text(ID), id_text(S), id_text(ORIGIN))
    assert (info.id_bytes, info.task) == (ID, "t")
    assert TaskInfo(ID, S, "t").origin_run is None
    assert repr(TaskInfo(ID, S, "t")) == f"TaskInfo(id={id_text(ID)!r}, stream_id={id_text(S)!r}, task='t')"
    assert f"origin_run={id_text(ORIGIN)!r}" in repr(info)
    assert hash(info) == hash(TaskInfo(ID, S, "t"))
    assert info != TaskInfo(S, S, "t")
    assert info != id_text(ID)


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
    info = TaskInfo(ID, S, "t", runtime=runtime)
    assert info.status() == "status!"  # type: ignore[comparison-overlap]  # the recorder's answer
    assert info.result(3) == "result!"
    assert info.wait(4) == "wait!"  # type: ignore[comparison-overlap]  # as above
    assert info.cancel() == "cancel!"  # type: ignore[comparison-overlap]  # as above
    assert info.restore() == "restore!"
    info.send({"x": 1}, timeout=5)
    info.close(timeout=6)
    assert runtime.calls == [
        ("status", info, {}),
        ("result", info, {"timeout": 3}),
        ("wait", info, {"timeout": 4}),
        ("cancel", info, {"timeout": None}),
        ("restore", info, {}),
        ("send", info, {"x": 1}, {"timeout": 5}),
        ("close_mailbox", info, {"timeout": 6}),
    ]


def test_without_a_runtime_of_its_own_the_ambient_one_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime: Any = Recorder()
    monkeypatch.setattr(current_runtime, "_own", None)
    monkeypatch.setattr(current_runtime, "_entered", [])
    with pytest.raises(NoRuntime):
        TaskInfo(ID, S, "t").status()
    monkeypatch.setattr(current_runtime, "_entered", [runtime])
    info = TaskInfo(ID, S, "t")
    info.cancel()
    assert runtime.calls == [("cancel", info, {"timeout": None})]


def test_the_runtime_is_no_part_of_its_identity() -> None:
    runtime: Any = Recorder()
    assert TaskInfo(ID, S, "t", runtime=runtime) == TaskInfo(ID, S, "t")
    assert "runtime" not in repr(TaskInfo(ID, S, "t", runtime=runtime))


def test_a_handle_is_a_value() -> None:
    info = TaskInfo(ID, S, "t", ORIGIN, runtime=cast("Any", Recorder()))
    for there in (pickle.loads(pickle.dumps(info)), values.unpack(values.pack(info))):
        assert (there.id, there.stream_id, there.task, there.origin_run) == (
            info.id,
            info.stream_id,
            info.task,
            info.origin_run,
        )
        assert there._runtime_or_none is None
    assert values.unpack(values.pack({"of": [info]})) == {"of": [info]}
    assert copy.copy(info) is copy.deepcopy(info) is info


def test_what_names_a_task() -> None:
    text = id_text(ID)
    assert id_of(text) == id_of(UUID(text)) == id_of(TaskInfo(ID, S, "t")) == ID
    with pytest.raises(TaskNotFound, match="'x' is not a task id") as caught:
        id_of("x")
    assert caught.value.id == "x"
    for wrong in (None, 5, ID, [text]):
        with pytest.raises(InvalidOption, match="a task is named by"):
            id_of(wrong)  # type: ignore[arg-type]  # that is the point


def test_arguments_are_read_once_and_only_when_they_are_asked_for():
    reads: list[int] = []

    def read() -> bytes:
        reads.append(1)
        return values.pack([[1, {2}], {"a": "b"}])

    record = TaskRecord("i", "i", "t", State.QUEUED, 1, 0, 0.0, arguments=StoredArguments(read))
    assert "arguments" not in record.as_dict()
    assert not reads
    assert (record.args, record.kwargs) == ([1, {2}], {"a": "b"})
    assert len(reads) == 1
    twin = pickle.loads(pickle.dumps(record))
    assert (twin, twin.args) == (record, record.args)
    assert TaskRecord("i", "i", "t", State.QUEUED, 1, 0, 0.0).args == []


def test_arguments_of_unknown_types_are_shown():
    class Money:
        def __init__(self, cents: int) -> None:
            if cents < 0:
                raise ValueError
            self.cents = cents

    values.register(Money, "shop.Money", lambda money: money.cents, Money)
    packed = values.pack([[[Money(7), {Money(8)}]], {}])
    try:
        assert isinstance(StoredArguments(packed).value()[0][0][0], Money)
        del values._by_name["shop.Money"]
        ((one, others),) = StoredArguments(packed).value()[0]
        assert (one.name, one.value, repr(one)) == ("shop.Money", 7, "<shop.Money: 7>")
        assert [other.value for other in others] == [8]
        with pytest.raises(InvalidValue, match=r"shop\.Money"):
            values.unpack(packed)
    finally:
        del values._by_type[Money]
