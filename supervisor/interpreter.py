"""Starting another Python that imports this very package, whatever the folder and environment there."""

from __future__ import annotations

import subprocess
import sys

from .app import absolute_entries


def python_command(module: str, fd: int) -> list[str]:
    """The command line that runs `main(fd)` of a module of this room in a fresh interpreter, set up like this one.

    Not `-m`: that would run a second copy of the module as `__main__`. Not PYTHONPATH: that would reach every
    program that a task starts, other Pythons among them.
    """
    flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list)()  # As multiprocessing does.
    package = __name__.rpartition(".")[0]
    path = absolute_entries(sys.path)
    code = f"import sys; sys.path[:] = {path!r}; from {package}.{module} import main; main({fd})"
    return [sys.executable, *flags, "-P", "-c", code]
