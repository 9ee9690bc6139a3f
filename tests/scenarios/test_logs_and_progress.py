"""A task's log holds its own output, in whole lines and in order, and can be read while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import letter_tasks
from letters import PATIENCE, assert_sound, kill_worker_of, runtime
from theatre import for_many_tests
from understudy import Runtime, State, TaskInfo
from waiting import until


@pytest.fixture(scope="module")
def rt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home = tmp_path_factory.mktemp("h") / "home"
    with for_many_tests(runtime(home, restarts=1_000)) as made:
        yield made
    assert_sound(home)


def lines(rt: Runtime, info: TaskInfo) -> list[tuple[str, str]]:
    """(level, text) of each line in a task's log."""
    return [(line.level, line.text) for line in rt.logs(info.id)]


def test_prints_and_logging_at_every_level(rt: Runtime):
    for body in (letter_tasks.say_everything, letter_tasks.say_everything_async):
        info = rt.start(body)
        info.wait(PATIENCE)
        assert lines(rt, info) == [
            ("stdout", "to stdout"),
            ("stderr", "to stderr"),
            ("stdout", "two"),
            ("stdout", "lines"),
            ("stdout", "in parts"),
            ("stdout", "100 %"),
            ("stdout", "bytes, too: ä"),
            ("info", "letters: an info"),
            ("warning", "letters: a warning"),
            ("error", "letters.below: an error"),
            ("stdout", ""),
            ("stdout", "no end of line"),
            ("stderr", "none here, either"),
        ]
        assert info.status().state is State.COMPLETED
    times = [line.time for line in rt.logs(info.id)]
    assert times == sorted(times)


def test_a_log_can_be_read_while_its_task_runs(rt: Runtime):
    info = rt.start(letter_tasks.repeat_aloud)
    for number in range(3):
        info.send(f"message {number}")
        until(lambda number=number: ("stdout", f"message {number}") in lines(rt, info), PATIENCE)
        assert info.status().state is State.RUNNING
    last = rt.logs(info.id)[-1]
    info.send("one more")
    until(lambda: rt.logs(info.id, after=last.chunk), PATIENCE)
    assert [line.text for line in rt.logs(info.id, after=last.chunk)] == ["one more"]
    info.close()
    info.wait(PATIENCE)
    kept = [("stdout", text) for text in ("message 0", "message 1", "message 2", "one more")]
    assert lines(rt, info) == kept
    # The log belongs to the task, not to the attempt: a retry continues it.
    again = rt.start(letter_tasks.say_and_die)
    again.wait(PATIENCE)
    (mark, text), *said = lines(rt, again)[-2:]
    assert (mark, text.partition(" of ")[0]) == ("attempt", "--- attempt 2")
    assert said == [("stdout", "attempt 2")]
    assert lines(rt, again)[:-2] in ([("stdout", "attempt 1")], [])


def test_tasks_side_by_side_keep_their_lines_apart(rt: Runtime):
    infos = [
        rt.start(body, f"{body.name}-{number}", 50)
        for number in range(5)
        for body in (letter_tasks.chatter, letter_tasks.chatter_async)
    ]
    for info in infos:
        name = info.result(PATIENCE)
        assert lines(rt, info) == [("stdout", f"{name} {number}") for number in range(50)]


def test_a_log_beyond_its_limit_loses_its_oldest_lines_and_says_so(home: Path):
    limit = 64 * 1024
    with runtime(home, log_limit=limit) as rt:
        info = rt.start(letter_tasks.chatter, "chatter", 20_000)
        info.wait(PATIENCE)
        first, *rest = rt.logs(info.id)
        assert first.level == "notice"
        dropped = int(first.text.split()[0].replace(",", ""))
        assert dropped > 0
        assert "dropped" in first.text
        assert [line.text for line in rest] == [f"chatter {number}" for number in range(dropped, 20_000)]
        assert sum(len(line.text) for line in rest) <= limit
    assert_sound(home)


def test_what_is_too_long_or_no_text_at_all_is_kept_as_far_as_it_can_be(home: Path):
    # With a small limit for values, the supervisor would not read a frame of this size.
    with runtime(home, value_limit=1024, log_limit=64 << 20) as rt:
        huge = rt.start(letter_tasks.log_a_lot, 20_000_000)
        assert huge.result(PATIENCE) == 20_000_000
        entry, *printed = rt.logs(huge.id)
        assert entry.text.startswith("letters: xxx")
        assert "…" in entry.text
        assert len(entry.text) < 100_000
        assert sum(len(line.text) for line in printed) == 20_000_000
        odd = rt.start(letter_tasks.print_half_a_pair)
        assert odd.result(PATIENCE) is None
        assert lines(rt, odd) == [("stdout", "half \\ud83d of it"), ("warning", "letters: \\ud83d")]
        assert odd.status().attempt == 1
    assert_sound(home)


def test_progress_is_seen_while_the_task_runs_and_ends_with_it(rt: Runtime):
    info = rt.start(letter_tasks.report)

    def seen(wanted: tuple[Any, ...]) -> bool:
        found = info.status().progress
        return found is not None and (found.done, found.total, found.note) == wanted

    info.send([1, 10, "first"])
    until(lambda: seen((1.0, 10.0, "first")), PATIENCE)
    info.send([2.5, None, "ä" * 2000])
    until(lambda: (now := info.status().progress) is not None and now.done == 2.5, PATIENCE)
    now = info.status().progress
    assert now is not None
    assert now.total is None
    assert len(now.note) <= 1_000
    kill_worker_of(rt, info.id)
    until(lambda: info.status().attempt == 2, PATIENCE)
    info.send([9, 10, "again"])
    until(lambda: seen((9.0, 10.0, "again")), PATIENCE)
    info.close()
    info.wait(PATIENCE)
    assert seen((9.0, 10.0, "again"))
