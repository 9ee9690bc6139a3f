"""The life of a task, as one table.

Everything that may change a task's state is an event; `after(state, event)` looks the next state up and raises
for an event that the state does not allow, **and changes nothing**. The code that ends tasks, the tests and the
drawing in docs/tasks.md all read `TRANSITIONS`; there is no second copy of it.

Rules that the table keeps:

1. A terminal state has no way out. Trying a terminal task again makes a new task.
2. Only a queued task is dispatched, and only a running one completes, fails, times out or is interrupted.
3. A retry and an interruption lead back to `queued`; only the retry counts as an attempt.
4. Cancelling works from every state that is not terminal.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a task is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What can happen to a task."""

    DISPATCH = "dispatch"
    COMPLETE = "complete"
    FAIL = "fail"
    TIME_OUT = "time out"
    CANCEL = "cancel"
    RETRY = "retry"
    INTERRUPT = "interrupt"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.QUEUED: {
        Event.DISPATCH: State.RUNNING,
        Event.CANCEL: State.CANCELLED,
        # A queued task that its app no longer declares, or whose worker died too often, fails without running.
        Event.FAIL: State.FAILED,
    },
    State.RUNNING: {
        Event.COMPLETE: State.COMPLETED,
        Event.FAIL: State.FAILED,
        Event.TIME_OUT: State.TIMED_OUT,
        Event.CANCEL: State.CANCELLED,
        Event.RETRY: State.QUEUED,
        Event.INTERRUPT: State.QUEUED,
    },
    State.COMPLETED: {},
    State.FAILED: {},
    State.TIMED_OUT: {},
    State.CANCELLED: {},
}

TERMINAL: frozenset[State] = frozenset(state for state, ways_out in TRANSITIONS.items() if not ways_out)
"""States that are written exactly once and never change."""


class IllegalTransition(RuntimeError):
    """The table has no such way. This is a defect of Understudy, never of a user's task."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"a {state} task cannot {event}")
        self.state = state
        self.event = event

    def __reduce__(self) -> tuple[type[IllegalTransition], tuple[State, Event]]:
        return type(self), (self.state, self.event)


def after(state: State, event: Event) -> State:
    """The state that follows; raises IllegalTransition where the table has none."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(state, event) from None


def diagram() -> str:
    """The table as a Mermaid state diagram; docs/tasks.md holds exactly this text."""
    lines = ["stateDiagram-v2", "    [*] --> queued"]
    for state, ways_out in TRANSITIONS.items():
        lines += [f"    {state} --> {target}: {event}" for event, target in ways_out.items()]
    lines += [f"    {state} --> [*]" for state in State if state in TERMINAL]
    return "\n".join(lines)
