"""Missing standard streams: in a process of its own, for it changes that process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import os, socket, sys
from understudy.supervisor.linux.standard_streams import open_missing_streams
taken = socket.socket() if len(sys.argv) > 2 else None
open_missing_streams()
open_missing_streams()
print("printed")
sys.stdout.flush()
for number in range(3):
    os.fstat(number)
later = os.open(os.devnull, os.O_RDONLY)
kept = taken is None or os.readlink(f"/proc/self/fd/{taken.fileno()}").startswith("socket:")
with open(sys.argv[1], "w") as file:
    file.write(repr((later > 2, kept)))
"""


@pytest.mark.parametrize("closed", [">&-", "<&- >&-", "<&- >&- 2>&-", ""])
@pytest.mark.parametrize("taken", ["", "socket"])
def test_missing_streams_become_the_null_device(closed: str, taken: str, tmp_path: Path):
    out = tmp_path / "out"
    script = tmp_path / "child.py"
    script.write_text(CHILD, encoding="utf-8")
    done = subprocess.run(
        [
            "sh",
            "-c",
            f'exec "$@" {closed}',
            "sh",
            sys.executable,
            str(script),
            str(out),
            *([taken] if taken else []),
        ],
        capture_output=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert out.read_text() == "(True, True)"
