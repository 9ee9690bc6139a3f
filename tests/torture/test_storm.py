"""The storm's short form: `make torture` until so many processes were killed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import storm

KILLS = 20
#: Seconds after which it ends all the same; what it leaves behind has to be done afterwards.
SECONDS = 10


@pytest.mark.timeout(120)  # on a busy machine
@pytest.mark.parametrize(("clients", "durability"), [("sync,async", "disk"), ("embedded,embedded", "os")])
def test_nothing_is_lost_in_a_storm(clients: str, durability: str) -> None:
    command = [
        sys.executable,
        storm.__file__,
        "--seconds",
        str(SECONDS),
        "--kills",
        str(KILLS),
        "--clients",
        clients,
    ]
    ended = subprocess.run(
        [*command, "--durability", durability], capture_output=True, text=True, timeout=110
    )
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert said["wrong"] == 0
    assert said["kills"]["all"] > 0
    assert said["done"]["starts"] > 0
