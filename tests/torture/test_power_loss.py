"""Power loss at any point between two syncs of the real writer: acknowledged work is still there."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import power_loss
import power_tasks
from needs import require

#: As a module, not as a script, whose tasks would be in `__main__`.
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import power_tasks
power_tasks.main(sys.argv[2], int(sys.argv[3]))
"""
#: Rounds of the recorded program, and images of it that are opened.
ROUNDS = int(os.environ.get("POWER_ROUNDS", "3"))
CUTS = int(os.environ.get("POWER_CUTS", "100"))
SEED = int(os.environ.get("SEED", "1"))


@pytest.mark.timeout(120 + CUTS)
def test_what_was_acknowledged_before_it_is_there(home: Path, tmp_path: Path) -> None:
    require(shutil.which("gcc"), "gcc, to compile what records the writes")
    shim, log = power_loss.compile_shim(tmp_path), tmp_path / "log"
    log.touch()
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(Path(power_tasks.__file__).parent), str(home), str(ROUNDS)],
        env={**os.environ, "LD_PRELOAD": str(shim), "POWER_LOG": str(log), "POWER_HOME": str(home)},
        check=True,
        timeout=100,
    )
    steps = power_loss.steps(log)
    kinds = Counter(step.kind for step in steps)
    assert kinds["S"] > 20
    assert kinds["D"] > 20
    # The first replacement made the store; each of the others was a compaction, and was reported to the
    # caller.
    assert kinds["R"] == 1 + sum(step.data == b'["compacted"]' for step in steps) > 3
    # Without a cut the record must give the file; otherwise it would prove nothing.
    disk = power_loss.Disk()
    for step in steps:
        if step.kind != "A":
            disk.do(step)
    assert (home / "store.mdb").read_bytes() == disk.after_all()
    lock = os.urandom(8192)
    # In memory if possible, so that opening an image does not wait for this machine's disk.
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as images:
        played = power_loss.play(steps, CUTS, SEED, Path(images), lock)
    print(
        f"{dict(kinds)}; {played.images} images, {played.doubtful} with something in doubt, "
        f"{played.swapping} at a swap; {len(played.wrong)} wrong"
    )
    assert played.wrong == []
    assert played.doubtful > CUTS / 10


def test_without_the_syncs_of_a_swap_it_would_be_seen() -> None:
    """An unsynced name may be the old file's, and an unsynced draft may hold anything."""
    Step = power_loss.Step
    before = [Step("W", 1, 0, b"old"), Step("S", 1, 0, b""), Step("R", 1, 0, b""), Step("F", 0, 0, b"")]
    draft = [Step("W", 2, 0, b"new"), Step("S", 2, 0, b""), Step("R", 2, 0, b"")]
    for left_out, seen in ((None, {b"old", b"new"}), (draft[1], {b"old", b"new", b""})):
        disk, images = power_loss.Disk(), set()
        for step in [*before, *draft]:
            if step is not left_out:
                disk.do(step)
        chance = random.Random(1)
        images = {disk.after_power_loss(chance).data for _ in range(200)}
        assert images == seen
        disk.do(Step("F", 0, 0, b""))
        assert {disk.after_power_loss(chance).data for _ in range(200)} == seen - {b"old"}
