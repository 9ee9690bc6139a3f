"""Worker processes of a peer, started by the peer's command line and stopped in the peer's way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from peers.drive import Missing

#: Seconds to end after SIGTERM; after that it is killed.
STOP_LIMIT = 10.0


@contextmanager
def running(
    commands: Sequence[Sequence[str]], folder: Path, environ: Mapping[str, str]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Runs these commands of the benchmarks' environment side by side."""
    processes = []
    with (folder / "workers.log").open("wb") as log:
        try:
            for name, *arguments in commands:
                program = shutil.which(name, path=os.path.dirname(sys.executable))
                if program is None:
                    raise Missing(f"its command {name} is not installed")
                processes.append(
                    subprocess.Popen(
                        [program, *arguments],
                        stdout=log,
                        stderr=log,
                        cwd=folder,
                        env={**os.environ, **environ},
                    )
                )
            yield processes
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                try:
                    process.wait(STOP_LIMIT)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
