from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import pytest

from understudy.supervisor.cli.notify import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_ready_and_stopping_arrive(home: Path, abstract: bool):
    address = f"@{home.parent.name}-{os.getpid()}" if abstract else str(home.parent / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(5)
        manager.bind("\0" + address[1:] if abstract else address)
        notifier = Notifier(environ := {"NOTIFY_SOCKET": address})
        assert environ == {}, "no task may speak in the supervisor's name"
        notifier.ready("all is well")
        assert manager.recv(999).decode() == f"READY=1\nMAINPID={os.getpid()}\nSTATUS=all is well"
        notifier.stopping("bye")
        assert manager.recv(999) == b"STOPPING=1\nSTATUS=bye"


def test_without_a_service_manager_nothing_happens():
    Notifier({}).ready("x")


def test_a_service_manager_that_is_gone_is_only_a_warning(home: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        Notifier({"NOTIFY_SOCKET": str(home)}).ready("x")
    assert "cannot notify" in caplog.text
