from __future__ import annotations

import copy
import pickle

import pytest

from understudy.actors.state import TERMINAL, TRANSITIONS, Event, IllegalTransition, State, after, diagram

#: Written out once more, by hand: a slip in the table must not slip into its test.
ALLOWED = {
    ("queued", "dispatch"): "running",
    ("queued", "cancel"): "cancelled",
    ("queued", "fail"): "failed",
    ("running", "complete"): "completed",
    ("running", "fail"): "failed",
    ("running", "time out"): "timed_out",
    ("running", "cancel"): "cancelled",
    ("running", "retry"): "queued",
    ("running", "interrupt"): "queued",
    ("running", "rest"): "idle",
    ("idle", "wake"): "queued",
    ("idle", "cancel"): "cancelled",
    ("idle", "fail"): "failed",
}


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_every_pair(state: State, event: Event) -> None:
    before = {known: dict(ways) for known, ways in TRANSITIONS.items()}
    target = ALLOWED.get((state.value, event.value))
    if target is not None:
        assert after(state, event) is State(target)
    else:
        with pytest.raises(IllegalTransition, match=f"a {state.value} task cannot {event.value}") as caught:
            after(state, event)
        assert (caught.value.state, caught.value.event) == (state, event)
    assert before == TRANSITIONS


def test_the_table_knows_every_state() -> None:
    assert set(TRANSITIONS) == set(State)


def test_terminal_states_have_no_way_out() -> None:
    assert {"completed", "failed", "timed_out", "cancelled"} == TERMINAL
    assert not any(TRANSITIONS[state] for state in TERMINAL)


def test_every_state_is_reached_and_every_live_one_can_be_cancelled() -> None:
    reached = {State.QUEUED} | {target for ways in TRANSITIONS.values() for target in ways.values()}
    assert reached == set(State)
    assert all(after(state, Event.CANCEL) is State.CANCELLED for state in set(State) - TERMINAL)


def test_the_diagram_draws_exactly_the_table() -> None:
    lines = [line.strip() for line in diagram().splitlines()]
    assert lines[:2] == ["stateDiagram-v2", "[*] --> queued"]
    drawn = {line for line in lines[2:] if not line.endswith("[*]")}
    assert drawn == {f"{state} --> {target}: {event}" for (state, event), target in ALLOWED.items()}
    assert {line for line in lines[2:] if line.endswith("[*]")} == {f"{state} --> [*]" for state in TERMINAL}


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_illegal_transition_survives_pickling(again: object) -> None:
    error = IllegalTransition(State.FAILED, Event.RETRY)
    twin = again(error)  # type: ignore[operator]  # three callables of different types
    assert (twin.state, twin.event, str(twin)) == (State.FAILED, Event.RETRY, str(error))
