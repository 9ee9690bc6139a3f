"""The verdict on an attempt that has ended: pure functions without a clock or process.

An accepted cancel overrides every other rule, so that the final state agrees with the answer to `cancel`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ...actors.attempt.host import Ending, Outcome
from ...actors.state import Event
from ...actors.task.options import Options
from ...actors.task.retry import lineage

ErrorRow = tuple[str, str, str, dict[str, Any]]
"""(type, message, traceback, details), as in a record."""

#: Names for `Retry.wants`.
TIMEOUT_LINEAGE: Final = (tuple(lineage(TimeoutError)),)
CRASH_LINEAGE: Final = (tuple(lineage(Exception)),)


def error_row(fields: tuple[Any, ...] | None) -> ErrorRow | None:
    """The error of an outcome as in a record."""
    return None if fields is None else (*fields[:3], fields[4] if len(fields) > 4 else {})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The next event of a task."""

    event: Event
    error: ErrorRow | None = None
    delay: float | None = None
    """Seconds before the next attempt, for a retry."""
    keep_value: bool = False
    """Whether the value that came with the outcome is stored."""
    timed_out: bool = False
    """Whether the attempt that is retried has timed out."""


COMPLETED: Final = Verdict(Event.COMPLETE, keep_value=True)
"""The verdict on nearly every attempt: it returned a value, without a cancel or a timeout."""


def completes(ending: Ending, *, cancelled: bool, timed_out: bool) -> bool:
    """Whether `judge` would say COMPLETED, as for nearly every attempt; this costs no objects."""
    return ending is Ending.VALUE and not cancelled and not timed_out


def acknowledges(ending: Ending, *, timed_out: bool) -> bool:
    """Whether the messages that the attempt had dealt with at its end are read.

    A value that comes after the deadline does not count, and neither does what it stands for.
    """
    return not (timed_out and ending is Ending.VALUE)


def judge(
    outcome: Outcome,
    options: Options,
    attempt: int,
    *,
    cancelled: bool,
    timed_out: bool,
    delays_from: int = 1,
    tries_from: int = 1,
    rng: random.Random | None = None,
) -> Verdict:
    """The verdict on an attempt whose code has ended (`attempt` counts from 1).

    The retry of attempt number `delays_from` has the first delay of the policy, and attempt number `tries_from` is the
    first one that it covers.

    1. A task whose cancel was accepted is cancelled, whatever its code returned. The value is kept.
    2. An attempt past its deadline has timed out, whatever its code returned. It may be retried.
    3. A value completes the task. An interruption queues it again and costs no attempt. So does a worker without the
       task's code; the error of its import is kept meanwhile.
    4. `Fail` fails the task. `RetryLater` retries it while the policy has retries left. A task without a policy
       (attempts=0) gets every retry that it asks for.
    5. Any other error is retried if the policy covers it and has retries left.
    """
    error = error_row(outcome.error)
    retried = partial(_retried, options, attempt, delays_from, tries_from, rng)
    if cancelled:
        return Verdict(Event.CANCEL, error, keep_value=outcome.ending is Ending.VALUE)
    if timed_out:
        late: ErrorRow = (
            "Timeout",
            f"attempt {attempt} took longer than {options.timeout:g} s",
            "",
            {} if error is None else error[3],
        )
        return retried(TIMEOUT_LINEAGE, late) or Verdict(Event.TIME_OUT, late)
    match outcome.ending:
        case Ending.VALUE:
            return COMPLETED
        case Ending.INTERRUPTED | Ending.REST | Ending.ABSENT:
            # The last two are for turns of actors only, which are not judged here.
            return Verdict(Event.INTERRUPT)
        case Ending.UNDECLARED:
            return Verdict(Event.INTERRUPT, error)
        case Ending.TIMED_OUT:
            late = ("Timeout", *error[1:]) if error is not None else ("Timeout", "", "", {})
            return retried(TIMEOUT_LINEAGE, late) or Verdict(Event.TIME_OUT, late)
        case Ending.FAIL:
            return Verdict(Event.FAIL, error)
        case Ending.RETRY_LATER:
            policy = options.retry
            if policy.attempts and attempt - tries_from >= policy.attempts:
                return Verdict(Event.FAIL, error)
            delay = (
                policy.wait(attempt - delays_from, rng) if outcome.delay is None else max(0.0, outcome.delay)
            )
            return Verdict(Event.RETRY, error, delay)
        case Ending.ERROR:
            names = outcome.error[3] if outcome.error else []
            return retried(names, error) or Verdict(Event.FAIL, error)


def judge_crash(
    error: ErrorRow,
    options: Options,
    attempt: int,
    *,
    cancelled: bool,
    crashes: int,
    max_crashes: int,
    delays_from: int = 1,
    tries_from: int = 1,
    rng: random.Random | None = None,
) -> Verdict:
    """The verdict on the task that is to blame for the death of its worker. `crashes` includes this death."""
    if cancelled:
        return Verdict(Event.CANCEL)
    if crashes >= max_crashes:
        message = f"its worker died {crashes} times while it ran; the last time: {error[1]}"
        return Verdict(Event.FAIL, ("Poisoned", message, "", {**error[3], "crashes": crashes}))
    retried = _retried(options, attempt, delays_from, tries_from, rng, CRASH_LINEAGE, error)
    return retried or Verdict(Event.FAIL, error)


def _retried(
    options: Options,
    attempt: int,
    delays_from: int,
    tries_from: int,
    rng: random.Random | None,
    names: Any,
    error: ErrorRow | None,
) -> Verdict | None:
    policy = options.retry
    if attempt - tries_from < policy.attempts and policy.wants(names):
        wait = policy.wait(attempt - delays_from, rng)
        return Verdict(Event.RETRY, error, wait, timed_out=names is TIMEOUT_LINEAGE)
    return None
