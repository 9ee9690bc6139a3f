"""The capture of descriptors, in a process of its own: it is that process's standard output that it takes."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from typing import Any

START = """
import ctypes, os, subprocess, sys
from understudy.supervisor.worker.descriptor_capture import DescriptorCapture
log = []
def said(): os.write(3, repr(log).encode())
"""


def run(source: str, redirect: str = "") -> tuple[Any, str]:
    """What the capture has logged, and what has come out of the process."""
    command = f'exec "$0" -c "$1" 3>&2 {redirect}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, START + textwrap.dedent(source)],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    return ast.literal_eval(done.stderr.splitlines()[-1]), done.stdout


def test_lines_of_every_writer_until_the_close():
    logged, out = run(
        r"""
        print("before", end=" ")
        capture = DescriptorCapture(lambda level, line: log.append((level, line)))
        subprocess.run(["sh", "-c", "echo child; printf caf"])
        os.write(1, b"\xc3"), os.write(1, b"\xa9")
        ctypes.CDLL(None).printf(b" printf")
        os.write(2, b"error\nrest")
        capture.close()
        print("after", flush=True)
        log.sort()
        said()
        """
    )
    assert logged == [("stderr", "error"), ("stderr", "rest"), ("stdout", "café printf"), ("stdout", "child")]
    assert out == "before after\n"


def test_a_child_that_writes_on_does_not_hold_the_end():
    logged, out = run(
        """
        capture = DescriptorCapture(lambda level, line: log.append(line))
        child = subprocess.Popen(["yes", "on and on"])
        while not log: pass
        capture.close()
        child.wait()
        log[:] = sorted(set(log))[-1:]
        said()
        """
    )
    assert logged == ["on and on"]
    assert out == ""


def test_what_has_been_written_is_logged_before_its_thread_has_read_it():
    logged, _ = run(
        """
        import select
        class Late(DescriptorCapture):
            def _run(self):
                select.select([self._stop], [], [])
                self.catch_up()
        capture = Late(lambda level, line: log.append(line))
        subprocess.run(["echo", "child"])
        capture.catch_up()
        log.append("told")
        os.write(2, b"later")
        capture.close()
        capture.catch_up()
        said()
        """
    )
    assert logged == ["child", "told", "later"]


def test_standard_descriptors_that_are_closed():
    logged, _ = run(
        """
        capture = DescriptorCapture(lambda level, line: log.append(line))
        os.write(1, b"out"), os.write(2, b"err")
        capture.close()
        for fd in (1, 2):
            try: log.append(os.fstat(fd))
            except OSError: pass
        said()
        """,
        "<&- >&- 2>&-",
    )
    assert sorted(logged) == ["err", "out"]
