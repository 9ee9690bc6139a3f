"""What `faulthandler` writes, and which of its threads is the task's."""

from __future__ import annotations

import faulthandler
import tempfile
import threading

import pytest

from understudy.supervisor.rules import stacks
from understudy.supervisor.rules.stacks import (
    OTHER_CALLS,
    OTHERS,
    OWN_CALLS,
    Dumped,
    arranged,
    bounded,
    own_code,
    parse,
    runs_loop,
    runs_task,
)

ROOT = "/site/understudy/"
PLUMBING = (f"{ROOT}supervisor/", f"{ROOT}actors/", "/lib/python/")
MINE, THEIRS = b"m" * 16, b"t" * 16

BOOT = ("/lib/python/threading.py", 1002, "_bootstrap", "")
SLOT = (f"{ROOT}supervisor/worker/slots.py", 9, "_run", "")
ENTRY = (f"{ROOT}actors/attempt/actor.py", 180, "_perform", "")
RECEIVE = (f"{ROOT}actors/inside/context.py", 40, "receive", "")
LOOP = ("/lib/python/asyncio/base_events.py", 640, "run_forever", "")
CODE = ("/app/code.py", 7, "work", "")
LIBRARY = ("/lib/python/site-packages/lib.py", 7, "work", "")


def thread(ident: int, *calls: stacks.Call) -> Dumped:
    return Dumped(ident, "", list(calls))


def test_a_real_dump_is_understood():
    done = threading.Event()

    def waits_here() -> None:
        done.wait()

    waiting = threading.Thread(target=waits_here)
    waiting.start()
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        found = parse(file.read().decode())
    done.set()
    waiting.join()
    by_ident = {each.ident: each for each in found}
    mine = by_ident[threading.get_ident()].calls
    assert mine[-1][0] == __file__
    assert mine[-1][2] == "test_a_real_dump_is_understood"
    assert mine[-1][1] > 0
    assert "waits_here" in [call[2] for call in by_ident[waiting.ident or 0].calls]


def test_lines_that_say_something_else_are_left_out():
    text = (
        '  File "lost.py", line 1 in lost\n'
        "Current thread 0x00007f (most recent call first):\n"
        "  Garbage-collecting\n"
        '  File "a b.py", line ??? in <lambda>\n'
        '  File "c.py", line 3 in f\n'
        "  ...\n\n"
        "Thread 0x1f [named] (most recent call first):\n"
        "  <no Python frame>\n"
        "...\n"
        '  File "cut o'
    )
    assert parse(text) == [
        Dumped(0x7F, "", [("c.py", 3, "f", ""), ("a b.py", 0, "<lambda>", "")], cut=True),
        Dumped(0x1F, "named"),
    ]
    assert parse("") == []


def test_the_code_of_a_task_begins_where_the_runtime_calls_it():
    assert own_code([BOOT, SLOT, ENTRY, CODE, RECEIVE], PLUMBING) == [CODE, RECEIVE]
    assert own_code([BOOT, SLOT, ENTRY, RECEIVE], PLUMBING) == [BOOT, SLOT, ENTRY, RECEIVE]
    assert own_code([BOOT, SLOT, ENTRY, LIBRARY], PLUMBING) == [LIBRARY]
    assert own_code([BOOT, CODE], PLUMBING) == [CODE]
    assert own_code([BOOT, SLOT], PLUMBING) == [BOOT, SLOT], "nothing is the task's"
    assert own_code([], PLUMBING) == []
    qualified = (ENTRY[0], 1, "TaskActor._perform", "")
    assert own_code([BOOT, qualified, CODE], PLUMBING) == [CODE]
    assert runs_task([BOOT, qualified, CODE])
    assert not runs_task([BOOT, ("/app/actor.py", 1, "_perform", ""), CODE])
    assert runs_loop([BOOT, LOOP, CODE])
    assert not runs_loop([BOOT, CODE])


def test_no_more_is_kept_than_is_shown():
    calls = [("f" * 1000, number, "g" * 1000, "s" * 1000) for number in range(OWN_CALLS + 5)]
    left_out, kept = bounded(calls, OWN_CALLS)
    assert (left_out, len(kept)) == (5, OWN_CALLS)
    assert [call[1] for call in kept] == list(range(5, OWN_CALLS + 5))
    assert max(map(len, (kept[0][0], kept[0][2]))) == stacks.NAME
    assert len(kept[0][3]) == stacks.SOURCE
    assert bounded(calls[:3], OWN_CALLS)[0] == 0
    others = [thread(number, BOOT, *([CODE] * 100)) for number in range(OTHERS + 10)]
    _, rows = arranged(others, MINE, {}, PLUMBING, is_async=False, alone=False)
    assert len(rows) == OTHERS
    assert {len(row[4]) for row in rows} == {OTHER_CALLS}


def busy(ident: int) -> Dumped:
    return thread(ident, BOOT, SLOT, ENTRY, CODE)


@pytest.mark.parametrize(
    ("tasks", "roles", "said"),
    [
        ({1: MINE, 2: THEIRS}, [("task", MINE), ("other", THEIRS), ("other", None)], "C holds it up"),
        (
            {2: THEIRS, 3: b"x" * 16},
            [("task", MINE), ("other", THEIRS), ("other", b"x" * 16)],
            "C holds it up",
        ),
        ({2: THEIRS}, [("maybe", None), ("maybe", None), ("other", THEIRS)], "one of these 2 threads"),
        ({1: MINE, 2: MINE}, [("maybe", None)] * 3, "one of these 3 threads"),
        ({1: b"x" * 16, 2: THEIRS, 3: b"y" * 16}, [("other", b"x" * 16)], "not among"),
    ],
)
def test_which_thread_is_the_tasks(tasks: dict[int, bytes], roles: list[tuple[str, bytes | None]], said: str):
    threads = [busy(1), busy(2), busy(3), thread(4, BOOT, SLOT)]
    note, rows = arranged(threads, MINE, tasks, PLUMBING, is_async=False, alone=False)
    assert [row[1:3] for row in rows][: len(roles)] == roles
    assert len(rows) == 3, "threads that only belong to the runtime say nothing"
    assert said in note


def test_an_async_task_is_on_the_loop():
    threads = [busy(1), thread(2, BOOT, LOOP, CODE)]
    note, rows = arranged(threads, MINE, {1: THEIRS}, PLUMBING, is_async=True, alone=False)
    assert [row[1:3] for row in rows] == [("loop", None), ("other", THEIRS)]
    assert "may run another task" in note
    note, rows = arranged(threads[1:], MINE, {}, PLUMBING, is_async=True, alone=True)
    assert [row[1:3] for row in rows] == [("task", MINE)]
    assert "may run" not in note


def test_a_stack_that_was_cut_off_says_so():
    cut = Dumped(1, "named", [ENTRY, CODE], cut=True)
    _, [(name, _, _, left_out, calls)] = arranged([cut], MINE, {}, PLUMBING, is_async=False, alone=True)
    assert (name, left_out, calls) == ("named", 1, [CODE])
