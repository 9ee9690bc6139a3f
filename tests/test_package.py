"""The wheel and the sdist: built from a copy of the checkout, installed into an empty environment, used from
outside. Needs no network: the dependencies are taken from the environment that runs the tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from email.parser import HeaderParser
from pathlib import Path

import httpx
import pytest

import understudy
from checkout import ROOT, modules

pytestmark = pytest.mark.timeout(300)  # seconds; builds twice and makes an environment

NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv*", ".understudy", "__pycache__", "*.egg-info", "build", "dist", ".*_cache", ".hypothesis"
)


def call(command: Sequence[str | Path], cwd: Path) -> str:
    """Run a command without this environment's Python settings; its output."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=cwd, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=NOT_SOURCE)
    call(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist"], cwd=folder / "source"
    )
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [wheel] = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel in it."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", wheel]
    call([sys.executable, "-m", "pip", "--python", python, *install], cwd=folder)
    [site_packages] = (folder / "lib").glob("python3*/site-packages")
    # A path in a .pth file is put on sys.path, but the .pth files over there are not read: the editable
    # install of the checkout stays out.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path):
    expected = {f"understudy/{module}" for module in modules()} | {"understudy/py.typed"}
    for folder in ("static", "templates"):
        files = (ROOT / "supervisor/web/dashboard" / folder).rglob("*.*")
        expected |= {f"understudy/{file.relative_to(ROOT)}" for file in files}
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert found == expected


def test_the_wheel_says_what_it_is(wheel: Path):
    archive = zipfile.ZipFile(wheel)
    [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    header = HeaderParser().parsestr(archive.read(metadata).decode())
    assert header["Name"] == "understudy"
    assert header["Version"] == understudy.__version__
    assert header["License-Expression"] == "MIT"
    assert header["Requires-Python"] == ">=3.11"
    assert any(name.endswith("/LICENSE") for name in archive.namelist())


def test_the_sdist_can_be_tested(built: Path):
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"Makefile", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "py.typed"}
    wanted |= {str(file.relative_to(ROOT)) for file in (ROOT / "tests").rglob("*.py")}
    assert wanted - names == set()
    assert [name for name in names if name.startswith((".typing", "build/"))] == []


def test_the_installed_package_is_complete(installed: Path, tmp_path: Path):
    code = "import understudy; print(understudy.__file__); [getattr(understudy, name) for name in understudy.__all__]"
    place = call([installed / "python", "-W", "error", "-c", code], cwd=tmp_path).strip()
    assert Path(place).is_relative_to(installed.parent)


def test_the_dashboard_is_served_from_the_installed_package(installed: Path, tmp_path: Path):
    """By the command, as a user has it: a page, with everything that it needs."""
    (tmp_path / "drama.py").write_text("from understudy import task\n\n@task\ndef scene(): pass\n")
    home = tmp_path / "h"
    process = subprocess.Popen(
        [
            installed / "understudy",
            "--home",
            home,
            "serve",
            "drama",
            "--workers",
            "1",
            "--web",
            "127.0.0.1:0",
        ],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with understudy.Runtime.connect(home) as rt:
            rt.ping(timeout=60)
            url = rt.web_url
            token = (home / "web.token").read_text().strip()
            assert rt.supervisor_pid == process.pid, "it is the installed one that serves"
            headers = {"Authorization": f"Bearer {token}"}
            # The web process comes up behind the socket, which is open already.
            page = httpx.get(f"{url}/", headers=headers, timeout=60)
            assert page.status_code == 200
            assert "<h1>Overview</h1>" in page.text
            parts = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text))
            assert len(parts) >= 6
            for part in [*parts, "/static/chart.js", "/static/vendor/htmx.min.js"]:
                answer = httpx.get(f"{url}{part}", headers=headers, timeout=60)
                assert answer.status_code == 200, part
                assert len(answer.content) > 100, part
            for address in ("/tasks", "/trees", "/limits", "/audit", "/system", "/start?task=drama:scene"):
                assert httpx.get(f"{url}{address}", headers=headers, timeout=60).status_code == 200, address
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_the_command_is_installed(installed: Path, tmp_path: Path):
    assert understudy.__version__ in call([installed / "understudy", "--version"], cwd=tmp_path)
