"""The verdict on an attempt: a grid of ending × policy × attempt × cancelled × timed out."""

from __future__ import annotations

import itertools
import random

import pytest

from understudy.actors.attempt.host import Ending, Outcome
from understudy.actors.state import TRANSITIONS, Event, State
from understudy.actors.task.options import Options
from understudy.actors.task.retry import Retry, lineage
from understudy.supervisor.rules.verdict import (
    COMPLETED,
    Verdict,
    acknowledges,
    completes,
    judge,
    judge_crash,
)

POLICIES = {
    "none": Retry(),
    "two": Retry(2, delay=3, backoff="linear"),
    "two of ValueError": Retry(2, delay=3, backoff="linear", on=(ValueError,)),
    "two of TimeoutError": Retry(2, delay=3, backoff="linear", on=(TimeoutError,)),
}
ERROR = ("KeyError", "it is gone", "Traceback …", [lineage(KeyError)])
ROW = ("KeyError", "it is gone", "Traceback …", {})
LATER = 7.0

OUTCOMES = {
    Ending.VALUE: Outcome(Ending.VALUE, b"value"),
    Ending.ERROR: Outcome(Ending.ERROR, error=ERROR),
    Ending.FAIL: Outcome(Ending.FAIL, error=ERROR),
    Ending.RETRY_LATER: Outcome(Ending.RETRY_LATER, error=ERROR, delay=LATER),
    Ending.INTERRUPTED: Outcome(Ending.INTERRUPTED),
    Ending.UNDECLARED: Outcome(Ending.UNDECLARED),
    Ending.REST: Outcome(Ending.REST),
    Ending.ABSENT: Outcome(Ending.ABSENT),
    Ending.TIMED_OUT: Outcome(Ending.TIMED_OUT, error=(*ERROR, {"exit_code": 143})),
}

GRID = list(itertools.product(POLICIES, (1, 2, 3), (False, True), (False, True)))


def expected(
    ending: Ending, policy: str, attempt: int, cancelled: bool, timed_out: bool
) -> tuple[Event, float | None]:
    """(event, delay), told in other words than the code's."""
    retries_left = policy != "none" and attempt <= 2
    linear = 3.0 * attempt
    if cancelled:
        return Event.CANCEL, None
    if timed_out or ending is Ending.TIMED_OUT:
        again = retries_left and policy != "two of ValueError"
        return (Event.RETRY, linear) if again else (Event.TIME_OUT, None)
    if ending is Ending.VALUE:
        return Event.COMPLETE, None
    if ending in (Ending.INTERRUPTED, Ending.UNDECLARED, Ending.REST, Ending.ABSENT):
        return Event.INTERRUPT, None
    if ending is Ending.FAIL:
        return Event.FAIL, None
    if ending is Ending.RETRY_LATER:
        return (Event.RETRY, LATER) if policy == "none" or attempt <= 2 else (Event.FAIL, None)
    again = retries_left and policy == "two"
    return (Event.RETRY, linear) if again else (Event.FAIL, None)


@pytest.mark.parametrize("ending", Ending)
def test_the_grid(ending: Ending):
    for policy, attempt, cancelled, timed_out in GRID:
        case = (policy, attempt, cancelled, timed_out)
        options = Options(retry=POLICIES[policy], timeout=60)
        verdict = judge(OUTCOMES[ending], options, attempt, cancelled=cancelled, timed_out=timed_out)
        assert (verdict.event, verdict.delay) == expected(ending, *case), case
        assert verdict.event in TRANSITIONS[State.RUNNING], "a verdict that the table has no way for"
        kept = ending is Ending.VALUE and verdict.event in {Event.COMPLETE, Event.CANCEL}
        assert verdict.keep_value is kept, case
        if timed_out and not cancelled:
            details = {"exit_code": 143} if ending is Ending.TIMED_OUT else {}
            late = f"attempt {attempt} took longer than 60 s"
            assert verdict.error == ("Timeout", late, "", details)
        elif ending is Ending.TIMED_OUT and not cancelled:
            assert verdict.error == ("Timeout", *ROW[1:3], {"exit_code": 143})
        elif verdict.event in {Event.FAIL, Event.RETRY}:
            assert verdict.error == ROW, case
        elif verdict.event in {Event.COMPLETE, Event.INTERRUPT}:
            assert verdict.error is None, case


def test_what_the_code_raised_while_it_was_cancelled_is_kept_as_its_error():
    assert judge(OUTCOMES[Ending.ERROR], Options(), 1, cancelled=True, timed_out=False) == Verdict(
        Event.CANCEL, ROW
    )


def test_retry_later_without_a_delay_takes_the_policys():
    outcome = Outcome(Ending.RETRY_LATER, error=ERROR)
    options = Options(retry=Retry(3, delay=2, backoff="exponential"))
    delays = [judge(outcome, options, n, cancelled=False, timed_out=False).delay for n in (1, 2, 3)]
    assert delays == [2.0, 4.0, 8.0]


def test_a_negative_delay_of_a_foreign_worker_counts_as_none():
    outcome = Outcome(Ending.RETRY_LATER, error=ERROR, delay=-5.0)
    assert judge(outcome, Options(), 1, cancelled=False, timed_out=False).delay == 0.0


def test_jitter_is_drawn_from_the_given_source():
    options = Options(retry=Retry(1, delay=10, jitter=True))
    delays = {
        judge(
            OUTCOMES[Ending.ERROR], options, 1, cancelled=False, timed_out=False, rng=random.Random(seed)
        ).delay
        for seed in range(20)
    }
    assert len(delays) > 1
    assert all(delay is not None and 9 <= delay <= 11 for delay in delays)


CRASH = ("WorkerDied", "its worker (pid 7) died: SIGSEGV", "", {"pid": 7, "signal": "SIGSEGV"})


@pytest.mark.parametrize(
    ("policy", "attempt", "crashes", "event"),
    [
        ("none", 1, 1, Event.FAIL),
        ("two", 1, 1, Event.RETRY),
        ("two", 2, 2, Event.RETRY),
        ("two", 3, 2, Event.FAIL),
        ("two", 1, 3, Event.FAIL),
        ("two of ValueError", 1, 1, Event.FAIL),
    ],
)
def test_a_death_counts_as_an_exception_until_it_has_happened_too_often(
    policy: str, attempt: int, crashes: int, event: Event
):
    verdict = judge_crash(
        CRASH, Options(retry=POLICIES[policy]), attempt, cancelled=False, crashes=crashes, max_crashes=3
    )
    assert verdict.event is event
    assert verdict.error is not None
    if crashes < 3:
        assert verdict.error == CRASH
    else:
        assert verdict.error[0] == "Poisoned"
        assert "died 3 times" in verdict.error[1]
        assert verdict.error[3] == {"pid": 7, "signal": "SIGSEGV", "crashes": 3}


@pytest.mark.parametrize("crashes", [0, 1, 3])
def test_a_cancel_that_was_accepted_stands_after_a_death(crashes: int):
    options = Options(retry=POLICIES["two"])
    verdict = judge_crash(CRASH, options, 1, cancelled=True, crashes=crashes, max_crashes=3)
    assert verdict == Verdict(Event.CANCEL)


@pytest.mark.parametrize("ending", Ending)
@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("timed_out", [False, True])
def test_the_short_form_says_what_judge_says(ending: Ending, cancelled: bool, timed_out: bool):
    verdict = judge(Outcome(ending), Options(timeout=1.0), 1, cancelled=cancelled, timed_out=timed_out)
    assert completes(ending, cancelled=cancelled, timed_out=timed_out) is (verdict is COMPLETED)


@pytest.mark.parametrize("ending", Ending)
def test_only_a_value_that_comes_too_late_leaves_its_messages_unread(ending: Ending):
    assert acknowledges(ending, timed_out=False)
    assert acknowledges(ending, timed_out=True) is (ending is not Ending.VALUE)
