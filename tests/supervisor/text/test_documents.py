from __future__ import annotations

from typing import Any

from understudy.actors.errors import ErrorInfo
from understudy.actors.state import State
from understudy.actors.task.handles import Progress, TaskRecord
from understudy.actors.trees.status import ChildStatus, LastExit, TreeStatus
from understudy.supervisor.text import documents

NOW = 1_900_000_000.0
ISO = "2030-03-17T17:46:40.000+00:00"


def record(state: State = State.RUNNING, **fields: Any) -> TaskRecord:
    known = {"id": "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d", "stream_id": "s", "task": "app:x", "attempt": 1}
    return TaskRecord(**{**known, "interruptions": 0, "created": NOW - 60, "state": state, **fields})


def test_a_task_is_plain_and_its_times_are_iso():
    shown = documents.task(record(started=NOW, progress=Progress(1, 2, "n"), error=ErrorInfo("E", "m")))
    assert shown["state"] == "running"
    assert shown["started"] == ISO
    assert shown["ended"] is None
    assert shown["progress"] == {"done": 1, "total": 2, "note": "n"}
    assert shown["error"]["type"] == "E"


def test_a_tree_with_the_times_of_all_its_children():
    ended = LastExit("abnormal", "it died", NOW)
    inner = ChildStatus("b", "t/a/b", "app:b", None, "failed", None, 1, ended)
    outer = ChildStatus("a", "t/a", None, None, "running", None, 1, None, (inner,))
    shown = documents.tree(TreeStatus("t", "running", 1, ended, (outer,)))
    assert shown["last_exit"] == {"kind": "abnormal", "reason": "it died", "time": ISO}
    (child,) = shown["children"]
    assert child["last_exit"] is None
    assert child["children"][0]["last_exit"]["time"] == ISO


def test_counts_are_sorted_by_name():
    shown = documents.counts({"b": {State.FAILED: 1}, "a": {State.QUEUED: 2}})
    assert list(shown.items()) == [("a", {"queued": 2}), ("b", {"failed": 1})]
