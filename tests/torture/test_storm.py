"""The storm's short form: `make torture` until a number of processes is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import storm
from engines import engine

KILLS = 20
#: Seconds after which it ends in any case; its remaining work must be done afterwards.
SECONDS = 20


def done_in(options: str) -> dict[str, Any]:
    """The counts of a storm without a fault."""
    command = [sys.executable, storm.__file__, "--seconds", str(SECONDS), *options.split()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert said["wrong"] == 0
    assert said["kills"]["all"] > 0
    assert said["done"]["starts"] > 0
    assert said["done"]["connections"] > 0
    assert said["done"]["asks answered by actors"] > 0
    assert said["done"]["events emitted"] > 0
    assert said["done"]["entries watched"] > 0
    assert said["done"]["ends of tasks with limits, and of unique ones"] > 0
    assert said["done"]["trees: acted"] > 0
    assert said["done"]["values of steps"] > 0
    assert said["done"]["ended with their parents"] > 0
    assert said["done"]["ends told to monitors"] > 0
    done: dict[str, Any] = said["done"]
    return done


@pytest.mark.timeout(120)  # on a busy machine
@pytest.mark.parametrize(("clients", "durability"), [("sync,async", "disk"), ("embedded,embedded", "os")])
def test_nothing_is_lost_in_a_storm(clients: str, durability: str) -> None:
    done_in(f"--kills {KILLS} --pace 0.1 --clients {clients} --durability {durability}")


@pytest.mark.timeout(120)
def test_no_container_is_lost_in_a_storm() -> None:
    engine()
    done = done_in(f"--kills {KILLS} --pace 0.2 --clients sync,async --containers")
    assert done["containers ended"] > 0
