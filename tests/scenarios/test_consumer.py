"""A consumer is killed at any point: with checkpoints its sum is exact, without them no message is lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import letter_tasks
from letters import PATIENCE, assert_sound, kill_worker_of, runtime
from theatre import for_many_tests, parked
from understudy import Runtime, Task
from waiting import until

MESSAGES = 10_000
EVERY = 100
ROUNDS = 20
SUM = sum(range(MESSAGES))


@pytest.fixture(scope="module")
def rt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home = tmp_path_factory.mktemp("h") / "home"
    with for_many_tests(runtime(home, max_crashes=1_000_000, restarts=1_000)) as made:
        yield made
    assert_sound(home)


def test_the_sum_is_exact_wherever_its_worker_is_killed(home: Path):
    """Half of the kills come at a message chosen in advance, half from outside at a checkpoint chosen in advance."""
    chance = random.Random(1)
    with runtime(home, max_crashes=1_000_000) as rt:
        for number in range(ROUNDS):
            inside = number % 2 == 0
            deadly = [chance.randrange(1, MESSAGES)] if inside else []
            consumer = letter_tasks.add_up_async if number % 4 == 2 else letter_tasks.add_up
            info = rt.start(consumer, EVERY, deadly)
            rt.send_many((info.id, message) for message in range(MESSAGES))
            rt.close(info.id)
            if not inside:
                mark = chance.randrange(EVERY, MESSAGES - EVERY)
                until(
                    lambda info=info, mark=mark: (rt.restore(info.id) or {"count": 0})["count"] >= mark,
                    PATIENCE,
                )
                kill_worker_of(rt, info.id)
            result = rt.result(info.id, PATIENCE)
            assert (result["sum"], result["count"]) == (SUM, MESSAGES), f"round {number}, {deadly}"
            if inside:
                assert result["attempts"] == 2
    assert_sound(home)


def written(path: Path) -> list[list[int]]:
    """The messages that each attempt has written down."""
    attempts: dict[int, list[int]] = {}
    for line in path.read_text(encoding="ascii").splitlines():
        attempt, message = map(int, line.split())
        attempts.setdefault(attempt, []).append(message)
    return [attempts[attempt] for attempt in sorted(attempts)]


def test_without_state_every_message_is_handled_at_least_once_and_in_order(rt: Runtime, tmp_path: Path):
    info = rt.start(letter_tasks.write_down, str(tmp_path / "seen"), [1, 7, 400, 2])
    rt.send_many((info.id, message) for message in range(1_000))
    rt.close(info.id)
    rt.result(info.id, PATIENCE)
    attempts = written(tmp_path / "seen")
    assert len(attempts) == 5
    for messages in attempts:
        assert messages == list(range(messages[0], messages[-1] + 1))
    for before, after in pairwise(attempts):
        assert before[0] <= after[0] <= before[-1], "what was not handled yet must not be acknowledged"
    assert attempts[-1][-1] == 999


@pytest.mark.parametrize(
    ("task", "second_begins_with"),
    [
        (letter_tasks.look_back, 0),
        (letter_tasks.save_and_write_down, 1),
        (letter_tasks.write_down.options(ack="checkpoint"), 0),
    ],
    ids=["restore", "checkpoint", "ack=checkpoint"],
)
def test_who_has_a_state_gets_exactly_what_came_after_it(
    rt: Runtime, tmp_path: Path, task: Task, second_begins_with: int
):
    deadly = ([3],) if task.name.endswith("write_down") and "save" not in task.name else ()
    info = rt.start(task, str(tmp_path / "seen"), *deadly)
    rt.send_many((info.id, message) for message in range(5))
    rt.close(info.id)
    rt.result(info.id, PATIENCE)
    assert written(tmp_path / "seen") == [[0, 1, 2], list(range(second_begins_with, 5))]


@pytest.mark.parametrize(
    ("how", "ack", "left"),
    [
        ("", None, 0),
        ("restore", None, 4),
        ("checkpoint", None, 3),
        ("", "checkpoint", 4),
        ("restore", "receive", 0),
        ("checkpoint", "receive", 0),
    ],
)
def test_when_a_message_counts_as_dealt_with(rt: Runtime, how: str, ack: str | None, left: int):
    info = rt.start(letter_tasks.take.options(ack=ack), 4, how)
    rt.send_many((info.id, message) for message in range(4))
    # By then the task waits for a fifth message. In `receive` mode this acknowledges the fourth.
    parked([info], rt)
    until(lambda: (done := info.status().progress) and done.done == 4, PATIENCE)
    until(lambda: info.status().mailbox_depth == left, PATIENCE, lambda: str(info.status()))
    info.cancel()
    info.wait(PATIENCE)
