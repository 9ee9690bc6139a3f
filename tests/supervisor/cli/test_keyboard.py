from __future__ import annotations

import os
import pty
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from understudy.supervisor.cli.keyboard import Keyboard


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """(our end, the other end, which is stdin and stdout). No fixture: pytest sets both anew after them."""
    ours, theirs = pty.openpty()
    with (
        os.fdopen(theirs, "r", closefd=False) as stdin,
        os.fdopen(theirs, "w", closefd=False) as stdout,
        patch.object(sys, "stdin", stdin),
        patch.object(sys, "stdout", stdout),
    ):
        yield ours, theirs
    os.close(theirs)
    os.close(ours)


def test_q_leaves_and_other_keys_do_not():
    with terminal() as (ours, theirs):
        modes = termios.tcgetattr(theirs)
        with Keyboard() as keyboard:
            os.write(ours, b"ab\n")
            assert not keyboard.left_within(0.05)
            os.write(ours, b"xQ")
            assert keyboard.left_within(10)
        assert termios.tcgetattr(theirs) == modes


def test_without_a_terminal_it_only_waits():
    with patch.object(sys, "stdin", None), Keyboard() as keyboard:
        assert not keyboard.left_within(0.01)
