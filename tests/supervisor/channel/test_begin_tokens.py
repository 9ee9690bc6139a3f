"""Tokens: each is taken exactly once, whatever the other side is doing."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from understudy.supervisor.channel.begin_tokens import BeginTokens
from waiting import until


def test_a_counter():
    tokens = BeginTokens()
    try:
        assert not tokens.take()
        assert tokens.count() == 0
        tokens.add(300)
        assert tokens.count() == 300, "the kernel prints it in hexadecimal"
        assert tokens.take()
        assert tokens.count() == 299, "counting takes nothing"
        assert tokens.drain() == 299
        assert tokens.drain() == 0
    finally:
        tokens.close()
    tokens.close()


def test_it_does_not_survive_an_exec():
    tokens = BeginTokens()
    try:
        assert not os.get_inheritable(tokens.fd)
    finally:
        tokens.close()


def test_threads_share_them_out():
    tokens = BeginTokens()
    taken = [0] * 4

    def take(which: int) -> None:
        while tokens.take():
            taken[which] += 1

    try:
        tokens.add(5_000)
        threads = [threading.Thread(target=take, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(taken) == 5_000
        assert tokens.count() == 0
    finally:
        tokens.close()


@pytest.mark.parametrize("fate", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_every_token_is_taken_once_although_the_peer_is(fate: signal.Signals):
    """A fork takes one after the other and writes a byte for each; it is stopped or killed somewhere in between."""
    tokens = BeginTokens()
    read_end, write_end = os.pipe()
    total = 20_000
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read_end)
            while True:
                if tokens.take():
                    os.write(write_end, b".")
        finally:
            os._exit(1)
    os.close(write_end)
    try:
        tokens.add(total)
        theirs = len(os.read(read_end, 2_000))  # it is well under way
        os.kill(pid, fate)
        if fate is signal.SIGSTOP:
            assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
        else:
            os.waitpid(pid, 0)
        ours = tokens.drain()
        assert tokens.count() == 0
        if fate is signal.SIGSTOP:
            tokens.add(7)
            os.kill(pid, signal.SIGCONT)
            total += 7
            until(lambda: tokens.count() == 0)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        while data := os.read(read_end, 65_536):
            theirs += len(data)
        # Between a take and its byte the peer may have been killed: that one token is its own all the same.
        assert total - 1 <= ours + theirs <= total
        assert theirs
    finally:
        os.close(read_end)
        tokens.close()


def test_the_other_side_wraps_the_descriptor():
    tokens = BeginTokens()
    other = BeginTokens(os.dup(tokens.fd))
    try:
        tokens.add(2)
        assert other.take()
        assert tokens.count() == 1
    finally:
        other.close()
        tokens.close()
