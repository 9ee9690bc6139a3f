"""An app with everything that a process does at its start and at its end, and tasks that write in every way."""

from __future__ import annotations

import atexit
import logging
import os
import random
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from understudy import (
    Executor,
    Retry,
    current,
    on_worker_start,
    on_worker_stop,
    receive,
    sleep,
    task,
    task_dir,
)
from understudy.supervisor.worker import report_buffer

#: The folder in which all of it is noted.
NOTES = os.environ.get("ENDING_NOTES", "")
#: Lines that a subprocess prints: more than the thread that captures them has read when the subprocess has ended.
CAPTURED = 3000

own = logging.getLogger("ending")
own.addHandler(logging.StreamHandler())
own.propagate = False
logging.basicConfig(format="%(levelname)s:%(message)s")
kept_stdout, kept_bytes, first_stdout = sys.stdout, sys.stdout.buffer, sys.__stdout__


def note(what: str) -> None:
    """A file named after what has happened and the process in which it has."""
    if NOTES:
        Path(NOTES, f"{what}-{os.getpid()}").touch()


if NOTES:
    shared = tempfile.TemporaryDirectory(dir=NOTES, prefix="shared-")
    atexit.register(note, "import-exit")


@on_worker_start
def begin() -> None:
    note("start")
    atexit.register(note, "hook-exit")


@on_worker_start
def refuse() -> None:
    if os.path.exists(os.path.join(NOTES, "refuse")):
        raise ConnectionError("no database")


@on_worker_stop
def finish() -> None:
    note("stop")
    raise RuntimeError("does not matter")


@task(keep=0)
def leave() -> int:
    """Leaves a temporary folder and an exit function."""
    globals()["left"] = tempfile.TemporaryDirectory(dir=NOTES, prefix="left-")
    atexit.register(note, "task-exit")
    return os.getpid()


@task
def leave_executor(count: int) -> int:
    """Lets go of an executor that sends nothing before the exit functions of its worker are called."""
    executor, go = Executor(), threading.Event()
    queue = executor._queue
    send = queue._send

    def send_later(*rows: Any) -> None:
        go.wait()
        send(*rows)

    queue._send = send_later  # type: ignore[method-assign]
    atexit.register(go.set)
    for _ in range(count):
        executor.submit(draw.options(delay=3600))
    return os.getpid()


@task
def hang_at_exit() -> int:
    atexit.register(threading.Event().wait)
    return os.getpid()


@task
def say_by_kept_streams() -> None:
    own.warning("own handler")
    logging.getLogger("any").error("root's handler")
    print("kept text", file=kept_stdout)
    kept_bytes.write(b"kept bytes\n")
    print("first", file=first_stdout)


@task
def say_late(folder: str) -> None:
    """A thread of it writes when the file `go` is there, after the end of the task."""

    def late() -> None:
        while not Path(folder, "go").exists():
            pass
        print("a late line")
        logging.getLogger("any").warning("a late record")
        sys.stdout.write("no end of line")
        sys.stdout.flush()
        Path(folder, "said").touch()

    threading.Thread(target=late, daemon=True).start()


@task(capture_output=True)
def say_by_descriptors() -> None:
    print("python")
    subprocess.run(["sh", "-c", "echo child; echo error >&2"], check=True)
    os.write(1, b"caf\xc3")
    os.write(1, b"\xa9 without end")


@task
def say_by_child() -> None:
    subprocess.run(["echo", "child"], check=True)


@task(retry=Retry(attempts=2, delay=0))
def try_again() -> list[str]:
    """Each attempt prints, and leaves a file in the task's folder."""
    attempt = current().attempt
    print(f"attempt {attempt}")
    (task_dir() / str(attempt)).touch()
    if attempt < 3:
        raise ValueError
    return sorted(path.name for path in task_dir().iterdir())


@task(isolate=True)
def draw() -> float:
    return random.random()


@task
def say_between() -> None:
    """Prints before the second message. Its worker sends lines only with what makes it send them."""
    report_buffer.LOG_LINGER = 3600.0  # type: ignore[misc]
    receive()
    print("before the second message")
    receive()
    sleep(3600)


@task(capture_output=True)
def say_between_by_child() -> None:
    """As `say_between`, by a subprocess and with many lines. It leaves another one that has the descriptors."""
    report_buffer.LOG_LINGER = 3600.0  # type: ignore[misc]
    receive()
    subprocess.run(["seq", str(CAPTURED)], check=True)
    receive()
    subprocess.Popen(["sleep", "600"])
    sleep(3600)


@task(capture_output=True)
def say_by_child_when_told(folder: str) -> None:
    """A subprocess prints when the test leaves the file `go`."""
    Path(folder, "begun").touch()
    while not Path(folder, "go").exists():
        sleep(0.01)
    subprocess.run(["seq", str(CAPTURED)], check=True)
    Path(folder, "said").touch()
