"""The stored names of modules and exception classes. They are the same in every process of an app."""

from __future__ import annotations

import sys
from typing import Final

#: The module names of the script: in the process that runs it, and in the children of multiprocessing.
_MAIN: Final = ("__main__", "__mp_main__")


def module_name(module: str) -> str:
    """A module's name in every process of the app: a script stays `__main__`, `python -m x` becomes `x`."""
    if module in _MAIN:
        spec = getattr(sys.modules.get(module), "__spec__", None)
        return "__main__" if spec is None else str(spec.name)
    return module


def class_name(kind: type) -> str:
    """A class's name in a stored policy: `module:qualname`."""
    return f"{module_name(kind.__module__)}:{kind.__qualname__}"
