"""The states of a task and the transitions between them, as one table.

Every change of a task's state is an event. `after(state, event)` looks up the next state. It raises if the
state does not allow the event, and **changes nothing**. The code that ends tasks, the tests and the diagram
in docs/tasks.md all read `TRANSITIONS`; there is no second copy of it.

Rules of the table:

1. A final state has no transition. Trying a task again after its final state makes a new task.
2. Only a queued task is dispatched. Only a running task completes, times out or is interrupted.
3. A retry and an interruption lead back to `queued`. Only the retry counts as an attempt.
4. A task can be cancelled in every state that is not final.
5. Only an actor rests. It is queued again when it has something to do; an idle one can otherwise only end.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The state of a task."""

    QUEUED = "queued"
    RUNNING = "running"
    IDLE = "idle"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """An event that changes a task's state."""

    DISPATCH = "dispatch"
    COMPLETE = "complete"
    FAIL = "fail"
    TIME_OUT = "time out"
    CANCEL = "cancel"
    RETRY = "retry"
    INTERRUPT = "interrupt"
    REST = "rest"
    WAKE = "wake"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.QUEUED: {
        Event.DISPATCH: State.RUNNING,
        Event.CANCEL: State.CANCELLED,
        # A queued task fails without running if its app no longer declares it, or its worker died too often.
        Event.FAIL: State.FAILED,
    },
    State.RUNNING: {
        Event.COMPLETE: State.COMPLETED,
        Event.FAIL: State.FAILED,
        Event.TIME_OUT: State.TIMED_OUT,
        Event.CANCEL: State.CANCELLED,
        Event.RETRY: State.QUEUED,
        Event.INTERRUPT: State.QUEUED,
        Event.REST: State.IDLE,
    },
    State.IDLE: {
        Event.WAKE: State.QUEUED,
        # An idle actor fails with its worker if its state is not on disk.
        Event.FAIL: State.FAILED,
        Event.CANCEL: State.CANCELLED,
    },
    State.COMPLETED: {},
    State.FAILED: {},
    State.TIMED_OUT: {},
    State.CANCELLED: {},
}

TERMINAL: frozenset[State] = frozenset(state for state, ways_out in TRANSITIONS.items() if not ways_out)
"""The final states. Each is written exactly once and never changes."""


class IllegalTransition(RuntimeError):
    """The table has no such transition. This is a defect of Understudy, never of a user's task."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"a {state} task cannot {event}")
        self.state = state
        self.event = event

    def __reduce__(self) -> tuple[type[IllegalTransition], tuple[State, Event]]:
        return type(self), (self.state, self.event)


def after(state: State, event: Event) -> State:
    """The next state; IllegalTransition if the table has none."""
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
