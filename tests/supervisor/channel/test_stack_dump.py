"""Stacks by signal: from a process that holds its interpreter, and from one that does not want to."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from puppets import end, program, said
from understudy.supervisor.channel import stack_dump
from understudy.supervisor.channel.stack_dump import MARKS, SIGNAL, StackDumps, StackMemory
from understudy.supervisor.rules.stacks import parse
from waiting import until

CODE = """
import re, signal, os, sys, threading, time
from understudy.supervisor.channel.stack_dump import SIGNAL, StackDumps
dumps = StackDumps(int(sys.argv[1]))

def listens():
    dumps.listen()
    listening.set()
    while True:
        time.sleep(1000)

def holds():
    mark = dumps.mark()
    mark.set(b"m" * 16)
    print([os.getpid(), threading.get_ident()], flush=True)
    re.match(r"(a+)+$", "a" * 64 + "b")

listening = threading.Event()
if "deaf" not in sys.argv:
    threading.Thread(target=listens, daemon=True).start()
    listening.wait()
if "ignores" in sys.argv:
    signal.signal(SIGNAL, signal.SIG_DFL)
holds()
"""


@pytest.fixture
def memory() -> Iterator[StackMemory]:
    made = StackMemory()
    yield made
    made.close()
    made.close()


@contextmanager
def holding(memory: StackMemory, *how: str) -> Iterator[list[Any]]:
    """A process that holds its interpreter: [its pid, the identifier of the thread that does]."""
    process = program(CODE, str(memory.fd), *how, pass_fds=[memory.fd])
    try:
        yield said(process)
        assert process.poll() is None, "nothing has ended it"
    finally:
        end(process)


def test_it_is_taken_while_the_interpreter_is_held(memory: StackMemory):
    with holding(memory) as (pid, ident):

        def ends_with() -> list[str]:
            text = asyncio.run(memory.take(pid))
            assert text is not None
            assert text.count("Current thread") == 1, "it holds one dump, the last"
            (holder,) = [each for each in parse(text) if each.ident == ident]
            return [call[2] for call in holder.calls][-2:]

        until(lambda: ends_with() == ["holds", "match"])
        assert [ends_with() for _ in range(3)] == [["holds", "match"]] * 3
        assert memory.tasks() == {ident: b"m" * 16}


def test_those_who_ask_at_once_share_one(memory: StackMemory):
    async def story(pid: int) -> list[str | None]:
        return await asyncio.gather(*(memory.take(pid) for _ in range(20)))

    with holding(memory) as (pid, _):
        texts = asyncio.run(story(pid))
        assert len(set(texts)) == 1
        assert texts[0]


@pytest.mark.parametrize("how", ["deaf", "ignores"])
def test_a_process_without_the_handler_gets_no_signal(memory: StackMemory, how: str):
    with holding(memory, how) as (pid, _):
        assert asyncio.run(memory.take(pid)) is None


def test_a_process_that_stands_still_takes_no_longer_than_the_limit(
    memory: StackMemory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stack_dump, "DUMP_WITHIN", 0.05)
    with holding(memory) as (pid, _):
        os.kill(pid, signal.SIGSTOP)
        assert asyncio.run(memory.take(pid)) is None
        os.kill(pid, signal.SIGCONT)
        monkeypatch.setattr(stack_dump, "DUMP_WITHIN", 20)
        assert asyncio.run(memory.take(pid))


def test_a_process_that_is_gone(memory: StackMemory):
    with holding(memory) as (pid, _):
        pass_on = pid
    assert asyncio.run(memory.take(pass_on)) is None


def test_marks_are_free_again_when_their_threads_end(memory: StackMemory):
    dumps = StackDumps(os.dup(memory.fd))
    for _ in range(3):
        marks = [dumps.mark() for _ in range(MARKS + 2)]
        for number, mark in enumerate(marks):
            mark.set(number.to_bytes(16, "big"))
        # All are of this thread; the last one that was given a place counts.
        assert list(memory.tasks()) == [threading.get_ident()]
        marks[5].clear()
        del marks, mark
        assert memory.tasks() == {}


def test_a_fork_leaves_the_marks_alone(memory: StackMemory):
    dumps = StackDumps(os.dup(memory.fd))
    mark = dumps.mark()
    mark.set(b"m" * 16)
    pid = os.fork()
    if not pid:
        del mark
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert list(memory.tasks().values()) == [b"m" * 16]


def test_the_signal_is_no_usual_one():
    assert signal.SIGRTMIN + 3 < SIGNAL < signal.SIGRTMAX - 3
