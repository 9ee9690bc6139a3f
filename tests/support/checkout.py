"""The checkout as data: its place, its packages, their modules and their imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

#: The repository's root, which is the package `understudy`.
ROOT = Path(__file__).resolve().parents[2]
#: The rooms, in the order in which imports may *not* run: a room may import itself and the rooms before it.
ROOMS = ("actors", "storage", "supervisor")


def packages() -> list[str]:
    """Dotted names of all folders that hold an `__init__.py`, the root first."""
    folders = sorted(
        file.parent.relative_to(ROOT) for room in ROOMS for file in (ROOT / room).rglob("__init__.py")
    )
    return ["understudy", *(".".join(("understudy", *folder.parts)) for folder in folders)]


def modules() -> list[Path]:
    """All modules of the package, relative to the root."""
    return [
        Path("__init__.py"),
        *sorted(file.relative_to(ROOT) for room in ROOMS for file in (ROOT / room).rglob("*.py")),
    ]


def dotted(module: Path) -> str:
    """`understudy.actors.errors` for `actors/errors.py`."""
    parts = module.with_suffix("").parts
    return ".".join(("understudy", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imports(module: Path) -> Iterator[tuple[int, str, bool]]:
    """(line, absolute dotted name, whether it was written relatively) of each import of a module, at any depth."""
    package = module.parent.parts
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, False
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                start = [node.module or ""]
            else:
                base = package[: len(package) - node.level + 1]
                start = ["understudy", *base, *([node.module] if node.module else [])]
            for alias in node.names:
                yield node.lineno, ".".join([*start, alias.name]), node.level > 0
