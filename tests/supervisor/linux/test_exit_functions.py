"""Each process calls the exit functions that were registered in it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

IMPORTS = """
import atexit, multiprocessing.util, os, sys, tempfile
from understudy.supervisor.linux import exit_functions
"""


def run(source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program that forks; the child disowns what it has inherited and ends as a worker does."""
    program = [sys.executable, "-c", IMPORTS + textwrap.dedent(source), *arguments]
    return subprocess.run(program, capture_output=True, text=True, timeout=30, check=False)


def test_a_fork_leaves_out_what_it_has_inherited(tmp_path: Path):
    done = run(
        """
        shared = tempfile.TemporaryDirectory(dir=sys.argv[1], prefix="shared-")
        atexit.register(print, "the parent's", flush=True)
        if os.fork() == 0:
            exit_functions.disown()
            own = tempfile.TemporaryDirectory(dir=sys.argv[1], prefix="own-")
            multiprocessing.util.get_temp_dir()
            atexit.register(print, "the child's", flush=True)
            exit_functions.run(20, 0)
            os._exit(0)
        os.wait()
        print(sorted(name.partition("-")[0] for name in os.listdir(sys.argv[1])), flush=True)
        """,
        str(tmp_path),
    )
    assert done.stdout.splitlines() == ["the child's", "['shared']", "the parent's"], done.stderr
    assert list(tmp_path.iterdir()) == []


def test_those_of_understudy_are_called_in_each_fork_after_its_own():
    done = run(
        """
        exit_functions.at_exit(lambda: print("first", flush=True))
        exit_functions.at_exit(lambda: print("second", flush=True))
        if os.fork() == 0:
            exit_functions.disown()
            atexit.register(print, "the child's", flush=True)
            exit_functions.run(20, 0)
            os._exit(0)
        os.wait()
        os._exit(0)
        """
    )
    assert done.stdout.splitlines() == ["the child's", "second", "first"], done.stderr


def test_a_function_that_raises_keeps_no_other_from_its_own():
    done = run(
        """
        atexit.register(print, "first", flush=True)
        atexit.register(lambda: 1 / 0)
        exit_functions.run(20, 0)
        os._exit(3)
        """
    )
    assert (done.returncode, done.stdout) == (3, "first\n")
    assert "ZeroDivisionError" in done.stderr


def test_one_that_hangs_is_cut_off_with_the_code():
    done = run(
        """
        import threading
        atexit.register(threading.Event().wait)
        exit_functions.run(0.05, 7)
        """
    )
    assert done.returncode == 7
    assert "have not returned within 0.05 s" in done.stderr
