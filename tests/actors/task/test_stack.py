"""The stack of a task, as people and programs read it."""

from __future__ import annotations

import json

from understudy import StackFrame, TaskStack, ThreadStack

OWN = ThreadStack("slot", "task", "id", (StackFrame("/a.py", 3, "f", "g()"), StackFrame("/b.py", 0, "g")), 2)
OTHER = ThreadStack("helper", "other", None, ())


def stack(*threads: ThreadStack, note: str = "") -> TaskStack:
    return TaskStack("id", "app:f", 7, 1.5, "worker", note, threads)


def test_it_reads_like_a_traceback():
    assert str(stack(OWN, OTHER, note="mind")) == (
        "slot (most recent call last):\n"
        "  … 2 outer calls\n"
        '  File "/a.py", line 3, in f\n'
        "    g()\n"
        '  File "/b.py", line ?, in g\n'
        "(mind)"
    )
    assert str(OTHER) == "  no Python code"


def test_the_calls_of_the_task_itself():
    assert stack(OWN, OTHER).frames == OWN.frames
    assert stack(OTHER).frames == stack().frames == ()


def test_plain_data():
    data = json.loads(json.dumps(stack(OWN).as_dict()))
    assert data["threads"][0]["frames"][0] == {"file": "/a.py", "line": 3, "function": "f", "source": "g()"}
    assert (data["id"], data["by"], data["worker_pid"]) == ("id", "worker", 7)
