"""Three rooms, arrows one way, one copy of everything: what keeps the layout what CONTRIBUTING.md says."""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path

import pytest

from checkout import ROOMS, ROOT, dotted, imports, modules, packages

#: Test modules that mirror no module, and why. Scenarios (tests/scenarios) and torture (tests/torture) are free.
EXTRAS = {
    "supervisor/execution/test_second_channel.py": "supervisor/channel/interface.py: execution needs no more than it",
    "test_benchmarks.py": "benchmarks/",
    "test_docs.py": "README.md, docs/",
    "test_examples.py": "examples/",
    "test_facade.py": "the root's __init__.py",
    "test_layout.py": "the repository itself",
    "test_package.py": "the wheel and the sdist",
    "test_support.py": "tests/support",
}

#: Modules without a test module of their own, and where they are tested.
UNTESTED = {
    "storage/file/new_store.py": "tests/storage/test_environment.py: it makes what that opens",
    "supervisor/channel/interface.py": "tests/supervisor/execution: a second channel passes there",
    "supervisor/tasks/attempt.py": "tests/supervisor/tasks/test_live_task.py",
    "supervisor/cli/__main__.py": "tests/supervisor/cli: `python -m`, the same as the command",
    "supervisor/cli/session.py": "tests/supervisor/cli: every command runs in one",
}

#: What a room must not know of, by the top-level names it may not import.
UNKNOWN_TO = {
    "actors": {"click", "lmdb", "multiprocessing", "psutil", "rich", "signal", "socket", "subprocess"},
    "storage": {"click", "multiprocessing", "psutil", "rich", "signal", "socket", "subprocess"},
    "supervisor": set[str](),
}


def room_of(dotted_name: str) -> str:
    return dotted_name.split(".")[1] if dotted_name.startswith("understudy.") else ""


def in_rooms() -> list[Path]:
    return [module for module in modules() if module.parts[0] in ROOMS]


def test_the_package_list_is_the_folders():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert sorted(pyproject["tool"]["setuptools"]["packages"]) == sorted(packages())


def test_every_folder_with_modules_is_a_package():
    folders = {module.parent for module in in_rooms()}
    assert [str(folder) for folder in folders if not (ROOT / folder / "__init__.py").exists()] == []


def test_the_root_holds_no_other_module():
    assert [file.name for file in ROOT.glob("*.py*") if file.suffix in {".py", ".pyi"}] == ["__init__.py"]


@pytest.mark.parametrize("module", in_rooms(), ids=str)
def test_imports_run_one_way(module: Path):
    room = module.parts[0]
    allowed = ROOMS[: ROOMS.index(room) + 1]
    wrong = []
    for line, name, relative in imports(module):
        if name.startswith("understudy."):
            if not relative:
                wrong.append(f"line {line}: {name}: write it relatively")
            if name != "understudy.__version__" and room_of(name) not in allowed:
                wrong.append(f"line {line}: {name}: {room} may import {', '.join(allowed)}")
        elif name.split(".")[0] in UNKNOWN_TO[room]:
            wrong.append(f"line {line}: {name}: {room} knows nothing of that")
    assert wrong == []


def test_every_test_module_mirrors_a_module():
    lonely = []
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        path = file.relative_to(ROOT / "tests")
        if path.parts[0] in {"scenarios", "torture"} or str(path) in EXTRAS:
            continue
        if not (ROOT / path.with_name(path.name.removeprefix("test_"))).exists():
            lonely.append(str(path))
    assert lonely == [], "rename them after the module they test, or declare them in EXTRAS"


def test_every_module_has_a_test_module():
    untested = [
        str(module)
        for module in in_rooms()
        if module.name != "__init__.py"
        and str(module) not in UNTESTED
        and not (ROOT / "tests" / module.with_name(f"test_{module.name}")).exists()
    ]
    assert untested == [], "write their tests, or declare in UNTESTED where they are tested"


def test_every_declared_exception_is_one():
    for name in UNTESTED:
        module = Path(name)
        assert (ROOT / module).exists(), name
        assert not (ROOT / "tests" / module.with_name(f"test_{module.name}")).exists(), name


def test_every_declared_extra_exists():
    assert [name for name in EXTRAS if not (ROOT / "tests" / name).exists()] == []


def test_tests_are_no_package():
    # With an __init__.py they would be imported as a part of the root, under the checkout's folder name.
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_every_module_can_be_imported_and_exists_once():
    for module in modules():
        if module.name != "__main__.py":
            importlib.import_module(dotted(module))
    rooms = [ROOT / room for room in ROOMS]
    copies = [
        name
        for name, module in list(sys.modules.items())
        if any(
            Path(getattr(module, "__file__", None) or "/").resolve().is_relative_to(room) for room in rooms
        )
        and not name.startswith("understudy.")
    ]
    assert copies == []
