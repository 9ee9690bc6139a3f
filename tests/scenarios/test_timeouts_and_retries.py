"""Retries: how often, when, for which errors; and the facts that stay the same in all attempts of a task."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

import stage_tasks as stage
from theatre import PATIENCE, for_many_tests, runtime
from understudy import InvalidOption, Retry, Runtime, TaskFailed, TaskTimedOut
from waiting import until


@pytest.fixture(scope="module", autouse=True)
def rt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with for_many_tests(runtime(tmp_path_factory.mktemp("h") / "home")) as made:
        yield made


DELAYS: list[tuple[dict[str, Any], list[float]]] = [
    ({"backoff": "fixed"}, [5, 5, 5, 5]),
    ({"backoff": "linear"}, [5, 10, 15, 20]),
    ({"backoff": "exponential"}, [5, 10, 20, 40]),
    ({"backoff": "linear", "max_delay": 12}, [5, 10, 12, 12]),
    ({"backoff": "exponential", "max_delay": 12}, [5, 10, 12, 12]),
    ({"backoff": "fixed", "max_delay": 3}, [3, 3, 3, 3]),
]


@pytest.mark.parametrize(("policy", "delays"), DELAYS)
def test_delays(policy: dict[str, Any], delays: list[float]) -> None:
    assert [Retry(attempts=9, delay=5, **policy).wait(n) for n in range(4)] == delays
    spread = [Retry(attempts=9, delay=5, jitter=True, **policy).wait(n, random.Random(n)) for n in range(4)]
    assert spread != delays
    assert all(0.9 * delay <= got <= 1.1 * delay for got, delay in zip(spread, delays, strict=True))


@pytest.mark.parametrize("retries", [1, 0])
def test_a_value_that_comes_too_late_takes_no_message_with_it(rt: Runtime, retries: int) -> None:
    info = stage.too_late.options(retry=Retry(retries, delay=0)).start()
    info.send("precious")
    if retries:
        assert info.result(PATIENCE) == "precious"
        assert info.status().attempt == 2
        return
    record = info.wait(PATIENCE)
    assert (record.state, record.mailbox_depth) == ("timed_out", 1)
    # The task that tries it again begins with attempt 1, and so returns too late, too.
    again = rt.retry(info)
    assert again.wait(PATIENCE).mailbox_depth == 1


def test_the_record_says_when_the_next_attempt_is_due(rt: Runtime) -> None:
    policies = [
        Retry(attempts=9, delay=0.04, max_delay=50),
        Retry(attempts=9, delay=0.02, backoff="linear"),
        Retry(attempts=9, delay=0.02, backoff="exponential"),
    ]
    long = [
        stage.fails.options(retry=Retry(9, 100, policy.backoff, policy.max_delay)).start("value", 9)
        for policy in policies
    ]
    short = [stage.fails.options(retry=policy).start("value", 3) for policy in policies]
    for info, delay in zip(long, (50, 100, 100), strict=True):
        record = until(lambda info=info: (r := info.status()).next_attempt and r, PATIENCE)
        assert (record.state, record.attempt) == ("queued", 2)
        assert record.error is not None
        assert record.error.type == "ValueError"
        assert record.next_attempt == pytest.approx(time.time() + delay, abs=5)
    for info, policy in zip(short, policies, strict=True):
        assert info.result(PATIENCE) == [4, 0]
        record = info.status()
        assert record.next_attempt is None
        assert record.ended is not None
        assert record.ended - record.created >= sum(map(policy.wait, range(3)))


CASES: list[tuple[str, tuple[Any, ...], bool]] = [
    ("storm", (Exception,), True),
    ("storm", (stage.Storm,), True),
    ("storm", (stage.Weather,), True),
    ("weather", (stage.Storm,), False),
    ("storm", ("stage_tasks:Storm",), True),
    ("storm", ("stage_tasks:Weather",), True),
    ("weather", ("stage_tasks:Storm",), False),
    ("value", (stage.Weather, ValueError), True),
    ("value", (KeyError,), False),
    ("value", (), False),
    ("timeout", (TimeoutError,), True),
    ("fail", (Exception,), False),
]


def test_which_errors_are_worth_another_try(rt: Runtime) -> None:
    infos = [
        stage.fails.options(retry=Retry(attempts=2, delay=0, on=on)).start(kind, 2) for kind, on, _ in CASES
    ]
    timed = [
        stage.slow_at_first.options(retry=Retry(attempts=1, delay=0, on=on)).start(1)
        for on in [(TimeoutError,), (Exception,), (ValueError,)]
    ]
    for (kind, on, again), info in zip(CASES, infos, strict=True):
        record = info.wait(PATIENCE)
        assert (record.state, record.attempt) == (("completed", 3) if again else ("failed", 1)), (
            kind,
            on,
        )
        if again:
            assert info.result(PATIENCE) == [3, 0]
        else:
            with pytest.raises(TaskFailed):
                info.result(PATIENCE)
    assert [info.wait(PATIENCE).state for info in timed] == ["completed", "completed", "timed_out"]
    assert [info.status().attempt for info in timed] == [2, 2, 1]
    with pytest.raises(TaskTimedOut):
        timed[2].result(PATIENCE)


def test_retries_run_out(rt: Runtime) -> None:
    failed = stage.fails.options(retry=Retry(attempts=2, delay=0)).start("value", 9)
    late = stage.slow_at_first.options(retry=Retry(attempts=1, delay=0), timeout=0.1).start(9)
    assert (failed.wait(PATIENCE).state, failed.status().attempt) == ("failed", 3)
    assert (late.wait(PATIENCE).state, late.status().attempt) == ("timed_out", 2)


def test_retry_later(rt: Runtime) -> None:
    free = stage.fails.start("later", 4)
    bound = stage.fails.options(retry=Retry(attempts=2, delay=9)).start("later", 4)
    enough = stage.fails.options(retry=Retry(attempts=2, delay=9)).start("later", 2)
    by_policy = stage.fails.options(retry=Retry(attempts=2, delay=77)).start("later_by_policy", 1)
    assert free.result(PATIENCE) == [5, 0], "without a policy every one that was asked for comes"
    assert (bound.wait(PATIENCE).state, bound.status().attempt) == ("failed", 3)
    assert enough.result(PATIENCE) == [3, 0]
    due = until(lambda: by_policy.status().next_attempt, PATIENCE)
    assert due == pytest.approx(time.time() + 77, abs=5)


def test_a_retry_is_the_same_task(rt: Runtime) -> None:
    """Id, mailbox and checkpoint: messages received after the failed attempt's checkpoint come again, in order."""
    info = stage.resumes.start()
    rt.send_many((info.id, n) for n in range(1, 6))
    assert info.result(PATIENCE) == [[1, 2, 3], info.id]
    assert info.status().attempt == 3
    assert info.restore() == [1, 2, 3]


def test_a_group_of_errors_is_retried_if_each_of_them_is(rt: Runtime) -> None:
    assert rt.run(stage.fetch_all, "connection", "connection", timeout=PATIENCE) == 2
    for errors in (["value"], ["connection", "value"]):
        info = stage.fetch_all.start(*errors)
        with pytest.raises(TaskFailed) as failed:
            info.result(PATIENCE)
        assert failed.value.error is not None
        assert (failed.value.error.type, info.status().attempt) == ("ExceptionGroup", 1)
    careful = stage.fetch_all.options(retry=Retry(2, delay=0.01, not_on=ValueError))
    assert rt.run(careful, "connection", timeout=PATIENCE) == 2
    with pytest.raises(TaskFailed):
        rt.run(careful, "connection", "value", timeout=PATIENCE)


def test_a_function_decides_on_retries(rt: Runtime) -> None:
    assert rt.run(stage.ask, "busy", timeout=PATIENCE) == 2
    with pytest.raises(TaskFailed, match="ValueError: no such thing"):
        rt.run(stage.ask, "no such thing", timeout=PATIENCE)
    # A start cannot store a function; the declared one stays in force.
    with pytest.raises(InvalidOption, match="cannot be stored with one start"):
        rt.start(stage.ask.options(retry=Retry(1, on=stage.is_busy)), "busy")
    assert rt.run(stage.ask.options(priority=3), "busy", timeout=PATIENCE) == 2
