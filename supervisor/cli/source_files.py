"""`SourceFiles`, the Python files of an app, and which of them have changed."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

from ..app import AppSpec

log = logging.getLogger("understudy")

#: Seconds between two looks. They become rarer if a look takes long: looking takes at most 1 / SHARE of the time.
LOOK_EVERY: Final = 0.25
SHARE: Final = 20
#: The most files that are looked at.
FILES_LIMIT: Final = 10_000
#: Folders with these names hold no code of the app.
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})

Stamp = tuple[int, int, int]


class SourceFiles:
    """All .py files below the folders that the app is imported from, and of its packages elsewhere.

    Hidden folders, virtual environments and the home are left out.
    """

    def __init__(self, spec: AppSpec, home: Path) -> None:
        self._roots = _roots(spec)
        self._home = str(home)
        self._told = False
        self._seen: dict[str, Stamp] = {}
        #: Seconds until the next look.
        self.pause = LOOK_EVERY
        self.changed()

    def changed(self) -> set[str]:
        """The files that were written, made or removed since the last call."""
        began = time.monotonic()
        before, self._seen = self._seen, dict(self._stamps())
        self.pause = max(LOOK_EVERY, SHARE * (time.monotonic() - began))
        return {path for path, _ in before.items() ^ self._seen.items()}

    def _stamps(self) -> Iterator[tuple[str, Stamp]]:
        count = 0
        for path in self._files():
            if count == FILES_LIMIT:
                if not self._told:
                    self._told = True
                    log.warning("--reload watches %d files only, not all below %s", count, self._roots)
                return
            try:
                stat = os.stat(path)
            except OSError:
                continue  # removed meanwhile
            count += 1
            yield path, (stat.st_mtime_ns, stat.st_size, stat.st_ino)

    def _files(self) -> Iterator[str]:
        for root in self._roots:
            if root.endswith(".py"):
                yield root
            for folder, folders, files in os.walk(root):
                folders[:] = sorted(name for name in folders if self._is_apps(os.path.join(folder, name)))
                yield from (os.path.join(folder, name) for name in sorted(files) if name.endswith(".py"))

    def _is_apps(self, folder: str) -> bool:
        name = os.path.basename(folder)
        return not (
            name.startswith(".")
            or name in _SKIPPED
            or folder == self._home
            or os.path.exists(os.path.join(folder, "pyvenv.cfg"))
        )


def _roots(spec: AppSpec) -> list[str]:
    """The folders of the app's modules; a module that is installed elsewhere has its own package or file."""
    roots = dict.fromkeys(spec.sys_path)
    for module in spec.modules:
        found = PathFinder.find_spec(module.partition(".")[0], [*spec.sys_path, *sys.path])
        if found is None:
            continue
        for place in [*(found.submodule_search_locations or [found.origin or ""])]:
            if place and not any(place.startswith(os.path.join(root, "")) for root in spec.sys_path):
                roots[place] = None
    return list(roots)
