"""The command line of another Python that imports this same package, in any folder and environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Final

from ...actors.errors import AppFailed

#: Set in the environment of a new interpreter, which removes it at once. Code that still sees it runs in a
#: program that was started in place of an interpreter.
STARTING: Final = "UNDERSTUDY_STARTING"


def python_command(module: str, fd: int) -> list[str]:
    """The command line that runs `main(fd)` of a `supervisor` module in a new interpreter set up like this one.

    `-m` would run a second copy of the module as `__main__`. PYTHONPATH would reach every program that a task
    starts, including other Pythons.

    Raises AppFailed if `sys.executable` is no interpreter: it would run the program again, which would start the
    next one, without end.
    """
    if getattr(sys, "frozen", False) or not sys.executable or STARTING in os.environ:
        raise AppFailed(
            f"this program has no Python interpreter of its own: {sys.executable or 'sys.executable'} is the program "
            "itself, as PyInstaller and the like pack it, or is not set. Run `understudy serve` with an installed "
            "Python, and attach to it with Runtime.connect(home)"
        )
    flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list)()  # As multiprocessing does.
    package = __name__.rpartition(".linux.")[0]
    path = absolute_entries(sys.path)
    # The first thing that it does: no other program may take the mark for its own.
    start = f"import os, sys; os.environ.pop({STARTING!r}, None); sys.path[:] = {path!r}"
    code = f"{start}; from {package}.{module} import main; main({fd})"
    return [sys.executable, *flags, "-P", "-c", code]


def environment() -> dict[str, str]:
    """The environment for a `python_command`."""
    return {**os.environ, STARTING: "1"}


def absolute_entries(entries: Iterable[str]) -> list[str]:
    """Entries of `sys.path` for another process: '' becomes this process's current folder."""
    # Entries that are no folder or file stay unchanged: import hooks have entries of their own.
    return [os.path.abspath(entry) if not entry or os.path.exists(entry) else entry for entry in entries]
