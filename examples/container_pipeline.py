"""Count words in packages of Python's standard library, each in its own container, while a worker is killed.

One task, `count`, starts a container for each package. The container mounts the package's folder read-only,
counts with the image's own tools and writes a file to /data, which is its output. The task adds up these
files. It starts the containers under keys, so that it can begin again at any time. It then gets the
containers that it has already started.

Meanwhile this program SIGKILLs the worker that runs the task. The sums must equal those of a plain loop over
the same files; if they do not, the exit code is 1.

    python examples/container_pipeline.py [--image busybox] [--packages N] [--home FOLDER]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from understudy import BoxConf, Runtime, TaskFailed, box, current, progress, task

PACKAGES = [
    "json",
    "email",
    "asyncio",
    "unittest",
    "logging",
    "importlib",
    "concurrent",
    "html",
    "http",
    "wsgiref",
]
SCRIPT = r"""
find /package -name '*.py' -exec cat {} + | tr -cs 'A-Za-z_' '\n' | grep . | sort | uniq -c >/data/words.txt
echo "$(wc -l </data/words.txt) different words in $NAME"
"""

Counts = dict[str, int]


def container(folder: Path, image: str) -> BoxConf:
    """The container that counts the words of one folder."""
    return BoxConf(
        image,
        script=SCRIPT,
        size="medium",
        env={"NAME": folder.name, "LC_ALL": "C"},
        mounts={"/package": str(folder)},
        outputs=["/data/words.txt"],
    )


@task(timeout=600)
def count(folders: list[str], image: str) -> Counts:
    """Count the words in all of these folders."""
    me = current()
    infos = [
        box.start(container(Path(folder), image), key=f"{me.id} {folder}", retry=2, stream_id=me.stream_id)
        for folder in folders
    ]
    total: Counter[str] = Counter()
    for number, info in enumerate(infos, 1):
        result = info.result()
        for line in Path(result["outputs"]["/data/words.txt"]).read_text().splitlines():
            times, word = line.split()
            total[word] += int(times)
        progress(number, len(infos), result["stdout"].strip())
    return dict(total)


def count_plainly(folders: list[Path]) -> Counts:
    """The same counts without containers."""
    words: Counter[str] = Counter()
    for folder in folders:
        for file in folder.rglob("*.py"):
            words.update(word.decode() for word in re.findall(rb"[A-Za-z_]+", file.read_bytes()))
    return dict(words)


def kill_the_worker(rt: Runtime, stream: str) -> str:
    """SIGKILL the worker once a container runs; a text that says so."""
    while not any(record.checkpoint_time for record in rt.list(task="understudy.box", stream=stream)):
        if rt.list(state="failed", stream=stream):
            return "no container could be started"
        time.sleep(0.05)
    pid = next(worker["pid"] for worker in rt.tree()["workers"] if worker["tasks"])
    os.kill(pid, signal.SIGKILL)
    return f"SIGKILL to the worker (pid {pid})"


def main() -> int:
    """Run the example; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--image", default="busybox", help="an image with sh, find, tr, sort and uniq (busybox)"
    )
    parser.add_argument(
        "--packages", type=int, default=6, help=f"how many packages, at most {len(PACKAGES)} (6)"
    )
    parser.add_argument("--home", help="the home folder; by default one that is removed in the end")
    given = parser.parse_args()
    library = Path(sysconfig.get_path("stdlib"))
    folders = [library / name for name in PACKAGES[: given.packages]]
    home = given.home or tempfile.mkdtemp(prefix="containers-")
    begun = time.monotonic()
    try:
        with Runtime(home, workers=1) as rt:
            info = rt.start(count, [str(folder) for folder in folders], given.image)
            print(kill_the_worker(rt, info.stream_id))
            try:
                counts: Any = rt.result(info.id, timeout=300)
            except TaskFailed as error:
                print(f"failed: {error}", file=sys.stderr)
                return 1
            boxes = rt.list(task="understudy.box", stream=info.stream_id)
            resumed = sum(record.interruptions > 0 for record in boxes)
        seconds = time.monotonic() - begun
        print(f"{len(boxes)} containers in {seconds:.1f} s; {resumed} were found again by a new worker")
    finally:
        if given.home is None:
            shutil.rmtree(home, ignore_errors=True)
    if counts != count_plainly(folders):
        print("the sums differ from the plain ones", file=sys.stderr)
        return 1
    print(f"equal to the plain computation: {sum(counts.values()):,} words, {len(counts):,} different ones")
    return 0


if __name__ == "__main__":
    sys.exit(main())
