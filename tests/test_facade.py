"""The root's `__init__.py`: lazy, complete, and the same for people, programs and type checkers."""

from __future__ import annotations

import ast
import inspect
import pickle
import subprocess
import sys

import pytest

import understudy
from checkout import ROOT
from understudy.actors import errors

TREE = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))


def seen_by_type_checkers() -> dict[str, str]:
    """The imports under `if TYPE_CHECKING`: public name -> the module that the facade must take it from."""
    [block] = [
        node
        for node in TREE.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    table: dict[str, str] = {}
    for node in block.body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            assert node.module is not None
            for alias in node.names:
                if alias.name != "*":
                    name = (alias.asname or alias.name).lstrip("_")
                    whole_module = name in understudy._MODULES
                    table[name] = f"{node.module}.{alias.name}" if whole_module else node.module
    return table


def test_the_types_and_the_table_agree():
    modules = {name: module for name, module in understudy._MODULES.items() if "." not in name}
    assert seen_by_type_checkers() == {**understudy._HOMES, **modules}


@pytest.mark.parametrize("name", understudy.__all__)
def test_every_name_resolves(name: str):
    value = getattr(understudy, name)
    assert value is not None
    assert name in dir(understudy)
    assert value is getattr(understudy, name)


def test_every_error_is_public():
    declared = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__ and not name.startswith("_")
    }
    assert declared <= set(understudy.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'understudy' has no attribute 'nothing'"):
        _ = understudy.nothing


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout.strip()


def test_importing_it_loads_nothing():
    code = "import sys, understudy; print([name for name in sys.modules if name.startswith('understudy.')])"
    assert run(code) == "[]"


def test_asking_for_an_error_loads_no_supervisor():
    code = """
import sys
from understudy import TaskFailed
print([name for name in sys.modules if name.startswith(('understudy.supervisor', 'understudy.storage', 'lmdb'))])
"""
    assert run(code) == "[]"


@pytest.mark.parametrize(
    "statement",
    [
        "from understudy import aio",
        "import understudy; aio = understudy.aio",
        "import understudy.aio as aio",
        "import understudy.aio; aio = understudy.aio",
        "import importlib; aio = importlib.import_module('understudy.aio')",
        "import understudy.actors.inside.aio; from understudy.aio import sleep; from understudy import aio",
    ],
)
def test_aio_is_one_module_whichever_way_it_is_imported(statement: str):
    code = f"{statement}; import understudy.actors.inside.aio as real; print(aio is real, real.__spec__.name)"
    assert run(code) == "True understudy.actors.inside.aio"


@pytest.mark.parametrize(
    ("statement", "module"),
    [
        ("from understudy import ws", "api"),
        ("import understudy.ws as ws", "api"),
        ("from understudy.ws import connect; import understudy; ws = understudy.ws", "api"),
        ("from understudy import aio; ws = aio.ws", "aio"),
        ("from understudy.aio import ws", "aio"),
        ("import understudy.aio.ws as ws", "aio"),
        ("import understudy.aio.ws; ws = understudy.aio.ws", "aio"),
    ],
)
def test_ws_is_one_module_whichever_way_it_is_imported(statement: str, module: str):
    code = f"{statement}; import understudy.actors.websocket.{module} as real; print(ws is real, real.__spec__.name)"
    assert run(code) == f"True understudy.actors.websocket.{module}"


def test_who_uses_no_websockets_loads_none():
    code = "import sys; from understudy import aio, Runtime, receive; print('websockets' in sys.modules)"
    assert run(code) == "False"


def test_a_supervisor_loads_nothing_that_reads_forms():
    code = "import sys, understudy.supervisor.daemon.embedded; print('email' in sys.modules)"
    assert run(code) == "False"


def test_public_classes_pickle_by_the_name_of_their_home():
    assert pickle.loads(pickle.dumps(understudy.TaskFailed)) is errors.TaskFailed
