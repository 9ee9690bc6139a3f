"""The storm's short form: `make torture` until so many processes were killed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import storm

KILLS = 20
#: Seconds after which it ends all the same; what it leaves behind has to be done afterwards.
SECONDS = 4


@pytest.mark.timeout(120)  # on a busy machine
@pytest.mark.parametrize(("clients", "durability"), [("sync,async", "disk"), ("embedded,embedded", "os")])
def test_nothing_is_lost_in_a_storm(clients: str, durability: str) -> None:
    options = f"--seconds {SECONDS} --kills {KILLS} --pace 0.1 --clients {clients} --durability {durability}"
    command = [sys.executable, storm.__file__, *options.split()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert said["wrong"] == 0
    assert said["kills"]["all"] > 0
    assert said["done"]["starts"] > 0
