"""The stored names of modules and exception classes. They are the same in every process of an app."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Final

#: The module names of the script: in the process that runs it, and in the children of multiprocessing.
_MAIN: Final = ("__main__", "__mp_main__")


#: The globals of a program that another program runs; see `note_program`.
_run_by_another: list[dict[str, Any]] = []


def program() -> dict[str, Any]:
    """The globals of the main program."""
    return _run_by_another[-1] if _run_by_another else vars(sys.modules["__main__"])


def note_program(namespace: dict[str, Any]) -> None:
    """Take in the globals of code that declares a task.

    A profiler or tracer (`python -m cProfile program.py`) is `__main__` itself, and runs the program in globals
    that say `__main__`, too.
    """
    if namespace.get("__name__") == "__main__" and namespace is not program():
        known = namespace is vars(sys.modules["__main__"]) or not namespace.get("__file__")
        _run_by_another[:] = [] if known else [namespace]


def module_name(module: str) -> str:
    """A module's name in every process of the app: a script stays `__main__`, `python -m x` becomes `x`."""
    if module in _MAIN:
        spec = (
            program().get("__spec__")
            if module == "__main__"
            else getattr(sys.modules.get(module), "__spec__", None)
        )
        return "__main__" if spec is None else str(spec.name)
    return module


def class_name(kind: type) -> str:
    """A class's name in a stored policy: `module:qualname`."""
    return f"{module_name(kind.__module__)}:{kind.__qualname__}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """ " Did you mean 'jobs:right'?"; empty if no known name is like this one.

    A bare name means the only task of this name in any module.
    """
    names = list(dict.fromkeys(known))
    same = [other for other in names if other.rpartition(":")[2] == name]
    close = same if len(same) == 1 else get_close_matches(name, names, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def some_of(name: str, known: Iterable[str], most: int = 10) -> str:
    """The known names, those of the same module first; at most `most` of them, and how many more there are."""
    module = name.rpartition(":")[0]
    names = sorted(known, key=lambda other: (other.rpartition(":")[0] != module, other))
    more = len(names) - most
    return ", ".join([*names[:most], *([f"{more} more"] if more > 0 else [])]) or "none at all"
