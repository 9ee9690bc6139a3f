"""Shared by all tests: a home to work in, and a check that no test leaves a process behind.

Helpers that are no fixtures live in tests/support, which pytest puts on sys.path (`pythonpath` in
pyproject.toml): `from waiting import until`, `from needs import require`.
"""

from __future__ import annotations

import compileall
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkout import ROOMS, ROOT
from leftovers import adopt_nobody, left_behind, mark_session, ours


def pytest_configure(config: pytest.Config) -> None:
    mark_session()
    if not hasattr(config, "workerinput"):  # once for all of pytest-xdist's processes
        _write_bytecode()
    # A shell without job control starts `make test &` with SIGINT ignored, and every program under test inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # So does `nohup make test` with SIGHUP. A handler is not inherited, and this process goes on all the same.
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


def _write_bytecode() -> None:
    """Compile the package and the helpers, which thousands of processes import.

    If PYTHONDONTWRITEBYTECODE is set, as it is in many containers, each of them would compile 70 modules anew: 0.2 s.
    """
    compileall.compile_file(ROOT / "__init__.py", quiet=2)
    for folder in (*ROOMS, "tests/support", "tests/torture"):
        compileall.compile_dir(ROOT / folder, quiet=2)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep what pytest makes of the test modules: to rewrite their asserts takes most of a collection."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    try:
        return (yield)
    finally:
        sys.dont_write_bytecode = before


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a home folder of this test's own; it does not exist yet.

    Short, whatever the test is called: the socket's path inside it has to fit into 107 bytes.
    """
    return tmp_path_factory.mktemp("h") / "home"


@pytest.fixture(autouse=True)
def leaves_no_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test after which a process is still there that was not there before it, and ends that process."""
    folders: list[Path] = []
    if "tmp_path" in request.fixturenames:
        folders.append(request.getfixturevalue("tmp_path"))
    if "home" in request.fixturenames:
        folders.append(request.getfixturevalue("home").parent)
    before = ours(folders)
    yield
    lines = left_behind(before, folders)
    adopt_nobody()
    if lines:
        pytest.fail("left behind:\n  " + "\n  ".join(lines), pytrace=False)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The same for what fixtures of a wider scope have started."""
    if lines := left_behind(set()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line("left behind at the end:", red=True)
            for line in lines:
                reporter.write_line(f"  {line}", red=True)
