"""What the frames mean is written once, and somebody on each side handles every one of them."""

from __future__ import annotations

import inspect
import re
from enum import IntEnum
from pathlib import Path

import pytest

from understudy.supervisor.wire import messages
from understudy.supervisor.wire.codec import VERSION
from understudy.supervisor.wire.messages import Answer, Ask, Order, Report

FOLDER = Path(messages.__file__).parents[1]

#: Who sends each kind, and who takes it; HELLO is dealt with by the connection itself.
SENDERS = {
    Ask: (
        "client/access_calls.py",
        "client/actor_calls.py",
        "client/bulk_calls.py",
        "client/calls.py",
        "client/child_map.py",
        "client/connection.py",
        "client/event_calls.py",
        "client/http_calls.py",
        "client/letter_wait.py",
        "client/limiting.py",
        "client/monitoring.py",
        "client/pooling.py",
        "client/results.py",
        "client/runtime.py",
        "client/schedule_calls.py",
        "client/stacking.py",
        "client/tree_calls.py",
        "client/start_rows.py",
        "client/wait.py",
    ),
    Answer: ("service/client_link.py",),
    Order: ("channel/local.py",),
    Report: ("worker/actor_host.py", "worker/report_buffer.py", "worker/worker.py"),
}
TAKERS = {
    Ask: ("service/requests.py", "service/client_link.py"),
    Answer: ("client/connection.py",),
    Order: ("worker/actor_host.py", "worker/worker.py"),
    Report: ("channel/local.py", "execution/attempts.py"),
}


def uses(kind: type[IntEnum], files: tuple[str, ...]) -> set[str]:
    text = "".join((FOLDER / file).read_text(encoding="utf-8") for file in files)
    return set(re.findall(rf"\b{kind.__name__}\.([A-Z]+)\b", text))


@pytest.mark.parametrize("kind", SENDERS, ids=lambda kind: kind.__name__)
def test_every_frame_is_sent_and_taken(kind: type[IntEnum]):
    names = set(kind.__members__)
    assert uses(kind, SENDERS[kind]) == names, "not sent"
    assert uses(kind, TAKERS[kind]) == names, "not taken"


@pytest.mark.parametrize("kind", SENDERS, ids=lambda kind: kind.__name__)
def test_every_frame_says_what_it_holds(kind: type[IntEnum]):
    source = inspect.getsource(kind)
    for name in kind.__members__:
        assert re.search(rf'\b{name} = \d+\n    """\[op\b', source), f"{kind.__name__}.{name} has no shape"


def test_other_operations_are_another_version():
    """The last number of each kind, by version. The row of a version that is not released yet may grow."""
    last = {2: (88, 6, 13, 27)}
    ours = tuple(max(kind) for kind in SENDERS)
    assert last[VERSION] == ours, "raise VERSION if it was released; else change its row"
