"""The command line of another Python that imports this same package, in any folder and environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable


def python_command(module: str, fd: int) -> list[str]:
    """The command line that runs `main(fd)` of a `supervisor` module in a new interpreter set up like this one.

    `-m` would run a second copy of the module as `__main__`. PYTHONPATH would reach every program that a task
    starts, including other Pythons.
    """
    flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list)()  # As multiprocessing does.
    package = __name__.rpartition(".linux.")[0]
    path = absolute_entries(sys.path)
    code = f"import sys; sys.path[:] = {path!r}; from {package}.{module} import main; main({fd})"
    return [sys.executable, *flags, "-P", "-c", code]


def absolute_entries(entries: Iterable[str]) -> list[str]:
    """Entries of `sys.path` for another process: '' becomes this process's current folder."""
    # Entries that are no folder or file stay unchanged: import hooks have entries of their own.
    return [os.path.abspath(entry) if not entry or os.path.exists(entry) else entry for entry in entries]
