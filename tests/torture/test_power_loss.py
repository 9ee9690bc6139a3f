"""Power loss at any point between two syncs of the real writer: what was acknowledged before it is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import power_loss
import power_tasks
from needs import require
from understudy import Runtime

#: Not as a script, whose tasks would be those of `__main__`.
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import power_tasks
power_tasks.main(sys.argv[2], int(sys.argv[3]))
"""
#: Rounds of the recorded program, and images that are opened of it.
ROUNDS = int(os.environ.get("POWER_ROUNDS", "3"))
CUTS = int(os.environ.get("POWER_CUTS", "100"))
SEED = int(os.environ.get("SEED", "1"))


@pytest.mark.timeout(120 + CUTS)
def test_what_was_acknowledged_before_it_is_there(home: Path, tmp_path: Path) -> None:
    require(shutil.which("gcc"), "gcc, to compile what records the writes")
    shim, log = power_loss.compile_shim(tmp_path), tmp_path / "log"
    log.touch()
    with Runtime(home, app=power_tasks.__file__, workers=1):
        pass
    image = (home / "store.mdb").read_bytes()
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(Path(power_tasks.__file__).parent), str(home), str(ROUNDS)],
        env={**os.environ, "LD_PRELOAD": str(shim), "POWER_LOG": str(log)},
        check=True,
        timeout=100,
    )
    steps = power_loss.steps(log)
    kinds = Counter(step.kind for step in steps)
    assert kinds["S"] > 20
    assert kinds["D"] > 20
    doubtful, wrong = power_loss.play(steps, image, CUTS, SEED, tmp_path)
    print(f"{dict(kinds)}; {CUTS} images, {doubtful} with writes in doubt; {len(wrong)} wrong")
    assert wrong == []
    assert doubtful > CUTS / 10
    # And without a cut the recording is the file, or nothing of this would say anything.
    disk = power_loss.Disk(image)
    for step in steps:
        disk.do(step)
    disk.do(power_loss.Step("S", 0, b""))
    assert (home / "store.mdb").read_bytes() == bytes(disk._safe)
