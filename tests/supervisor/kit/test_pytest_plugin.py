from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from checkout import ROOT

PLUGIN = "understudy.supervisor.kit.pytest_plugin"

TESTS = """
import sys
from understudy import task

def test_nothing_is_loaded_for_others():
    assert "asyncio" not in sys.modules or "understudy.supervisor.client.runtime" not in sys.modules

@task
def double(n: int) -> int:
    return 2 * n

def test_it_is_the_ambient_runtime(understudy_runtime):
    assert double.start(4).result() == 8

def test_each_test_has_its_own(understudy_runtime):
    assert understudy_runtime.list() == []
"""


def test_the_fixture(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider", "test_it.py"]
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3 passed" in ended.stdout, ended.stdout + ended.stderr


def test_pytest_finds_it() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["project"]["entry-points"]["pytest11"] == {"understudy": PLUGIN}
