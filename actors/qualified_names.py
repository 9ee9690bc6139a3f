"""How modules and exception classes are named in what is stored, so that every process of an app means the same."""

from __future__ import annotations

import sys
from typing import Final

#: The script being run, in the process that was started with it and in those that multiprocessing made from it.
_MAIN: Final = ("__main__", "__mp_main__")


def module_name(module: str) -> str:
    """A module's name as every process of the app knows it: a script stays `__main__`, `python -m x` is `x`."""
    if module in _MAIN:
        spec = getattr(sys.modules.get(module), "__spec__", None)
        return "__main__" if spec is None else str(spec.name)
    return module


def class_name(kind: type) -> str:
    """How a class is named in a stored policy: `module:qualname`."""
    return f"{module_name(kind.__module__)}:{kind.__qualname__}"
