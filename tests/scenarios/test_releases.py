"""Client, supervisor and workers of two releases meet: an error names the versions of the protocol that they speak."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import letter_tasks
from letters import APP, PATIENCE
from understudy import ProtocolError, Runtime
from understudy.supervisor.wire.codec import VERSION

#: A module that each new interpreter imports, and that makes its process one of the release before.
EARLIER = f"import understudy.supervisor.wire.codec as codec\ncodec.VERSION = {VERSION - 1}\n"
CLIENT = """
import sys
from understudy import ProtocolError, Runtime
try:
    Runtime.connect(sys.argv[1]).ping()
except ProtocolError as error:
    print(error)
"""


@pytest.fixture
def earlier(tmp_path: Path) -> dict[str, str]:
    """The environment in which processes are of the earlier release."""
    tmp_path.joinpath("sitecustomize.py").write_text(EARLIER)
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


@contextmanager
def serving(home: Path, environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "understudy.supervisor.cli", "--home", str(home), "serve", APP]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("serving"), process.communicate(timeout=PATIENCE)
        try:
            yield process
        finally:
            for _ in range(2):
                process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE)


def test_client_and_supervisor(home: Path, earlier: dict[str, str]):
    with serving(home, dict(os.environ)):
        client = Runtime.connect(home)
        info = client.start(letter_tasks.collect)
        end = client.wait_for(info.id)
        command = [sys.executable, "-c", CLIENT, str(home)]
        said = subprocess.run(command, env=earlier, capture_output=True, text=True, timeout=PATIENCE)
        assert (
            f"client speaks protocol version {VERSION - 1}, this supervisor version {VERSION}" in said.stdout
        )
    with client, serving(home, earlier):
        versions = f"client speaks protocol version {VERSION}, this supervisor version {VERSION - 1}"
        # One that has waited since before, and one that comes now.
        with pytest.raises(ProtocolError, match=versions):
            end.result(PATIENCE)
        with pytest.raises(ProtocolError, match=versions), Runtime(home) as rt:
            rt.ping()
        command = [sys.executable, "-m", "understudy.supervisor.cli", "--home", str(home), "cancel", info.id]
        said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert said.returncode
        assert versions in said.stderr
        assert "Traceback" not in said.stderr


def test_workers_of_a_release_that_was_installed_meanwhile(home: Path, tmp_path: Path):
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with serving(home, environ) as process, Runtime.connect(home) as client:
        assert client.run(letter_tasks.add, 1, 1, timeout=PATIENCE) == 2
        tmp_path.joinpath("sitecustomize.py").write_text(EARLIER)
        os.kill(client.tree()["fork_server"], signal.SIGKILL)
        _, said = process.communicate(timeout=PATIENCE)
    assert f"would run speaks protocol version {VERSION - 1}, this supervisor version {VERSION}" in said
    assert process.returncode
