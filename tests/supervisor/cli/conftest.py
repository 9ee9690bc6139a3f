"""A served home, and the command line as a user calls it: another process, its output and its exit code."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import pytest

from understudy.supervisor.cli.main import run
from waiting import until

CODE = "from understudy.supervisor.cli.main import main; main()"
#: As a process: no PATH is needed, nothing of the working directory is imported.
UNDERSTUDY = [sys.executable, "-W", "error", "-P", "-c", CODE]

APP = """
import logging
from datetime import date
from understudy import Event, emit, on
from understudy import Fail, Retry, cancelled, checkpoint, current, monitor, progress, publish, receive, restore, sleep
from understudy import task

@task
def add(a, b=1):
    print("adding", a, "and", b)
    return a + b

@on("order.*", name="tale:bill")
def bill(event: Event):
    emit("invoice.created", event.data, id=f"invoice/{event.id}")
    return event.data

@task(name="tale:[red]wolf[/red]")
def wolf():
    print("\\x1b[2J\\x1b]0;title\\x07[bold]huff[/bold]")
    logging.getLogger("pig").warning("first\\nsecond")
    raise ValueError("\\x1b[31mpuff\\x1b[0m [bold]")

@task(name="tale:teller")
def teller(count):
    for n in range(count):
        print("told", n)
        publish("token", n)
    if count < 0:
        raise ValueError("nothing to tell")

@task
def odd():
    return {"day": date(2030, 1, 31), "raw": b"ab", 7: {3, 1, 2}}

@task(timeout=None)
def post():
    count = restore() or 0
    # Ends by itself when cancelled: killed after its grace, it would get the served home a new worker later on.
    while (letter := receive()) is not None and not cancelled():
        count += 1
        print("letter", letter)
        progress(count, 10, "reading")
        checkpoint(count)
    return count

@task(name="tale:zigzag", retry=Retry(attempts=3, delay=0))
def flaky(tries):
    if current().attempt < tries:
        raise ConnectionError("not yet")
    receive()

@task(grace=5)
def hours():
    sleep(3600)

@task(name="tale:nap_once", unique=True)
def nap_once(seconds):
    sleep(seconds)

@task(grace=5)
def family():
    child = hours.options(link=True).start()
    monitor(child)
    receive()
"""


BANK = """
from datetime import date
from understudy import Actor, actor, sleep, task

class Account(Actor, durable=True):
    def __init__(self, owner, balance=0):
        self.owner, self.balance = owner, balance

    def on_receive(self, message):
        if message == "bad":
            raise ValueError("\x1b[31mno")
        self.storage[f"note/{len(self.storage)}"] = message

    def deposit(self, n, times=1):
        self.balance += n * times
        return self.balance

    def remember(self):
        self.remind("statement", Account.deposit, 1, delay=3600, every=86400)

    def refuse(self, why):
        raise BrokenPipeError(why)

    def odd(self):
        return date(2030, 1, 31)

    def doze(self):
        sleep(3600)

class Counter(Actor):
    def __init__(self):
        self.count = 0

    def add(self, n):
        self.count += n
        return self.count

@task
def open_accounts(*names):
    for name in names:
        actor(Account, name, name.title())

@task
def open_counter():
    return actor(Counter).id
"""


@dataclass
class Answer:
    """What a command has said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Stage:
    """A home, the app beside it, and processes that work on it."""

    #: The command line's beginning, for those who start it in a way of their own.
    command: ClassVar[list[str]] = UNDERSTUDY

    home: Path
    serves: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.home.parent

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_H")}
        for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "NOTIFY_SOCKET"):
            kept.pop(name, None)
        return {**kept, "UNDERSTUDY_HOME": str(self.home), "TERM": "xterm-256color", **more}

    def popen(self, *args: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*UNDERSTUDY, *args],
            cwd=self.folder,
            env=self.environment(**environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *args: str, input: str = "", **environ: str) -> Answer:
        """The command in this process, which is many times as fast; `shell` is the real thing."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with (
            patch.dict(os.environ, self.environment(**environ), clear=True),
            patch("sys.stdin", io.StringIO(input)),
            chdir(self.folder),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = int(run(args))
        texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
        return Answer(code, *texts)

    def shell(self, *args: str, input: str = "", **environ: str) -> Answer:
        """The command as a process of its own."""
        done = subprocess.run(
            [*UNDERSTUDY, *args],
            cwd=self.folder,
            env=self.environment(**environ),
            input=input,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert "Traceback" not in done.stderr or "app.py" in done.stderr, done.stderr
        return Answer(done.returncode, done.stdout, done.stderr)

    def write(self, source: str = APP, name: str = "app") -> None:
        self.folder.joinpath(f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")

    def serve(self, *options: str, app: str = "app", **environ: str) -> tuple[subprocess.Popen[str], str]:
        """A supervisor that serves, and the line it has said so with."""
        process = self.popen("serve", app, "--workers", "1", *options, **environ)
        self.serves.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving"), process.communicate(timeout=10)
        return process, line

    def start(self, *args: str) -> str:
        answer = self("start", *args)
        assert answer.code == 0, answer
        return answer.out.strip()

    def state(self, id: str) -> str:
        return str(self("show", id, "--json").json["state"])

    def until_state(self, id: str, state: str) -> None:
        until(lambda: self.state(id) == state, message=lambda: self.state(id))

    def close(self) -> None:
        for process in self.serves:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)


@pytest.fixture
def stage(home: Path) -> Iterator[Stage]:
    """A home of this test's own, with nobody serving it yet."""
    made = Stage(home)
    made.write()
    made.write(BANK, "bank")
    yield made
    made.close()


@pytest.fixture(scope="package")
def new_stage(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Stage]:
    """Makes a home with nothing in it, for a fixture of wider scope. Close it."""
    return lambda: Stage(tmp_path_factory.mktemp("n") / "home")


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One served home for all tests that need no other."""
    made = Stage(tmp_path_factory.mktemp("s") / "home")
    made.write()
    made.serve()
    made("run", "app:add", "1")  # from now on its worker is there, and counts as no test's own
    yield made
    made.close()


@pytest.fixture(scope="package")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One served home for all tests of class actors."""
    made = Stage(tmp_path_factory.mktemp("b") / "home")
    made.write(BANK, "bank")
    made.serve(app="bank")
    made("run", "bank:open_accounts")  # as above
    yield made
    made.close()


@pytest.fixture
def quietly(served: Stage) -> Iterator[Callable[..., str]]:
    """Starts tasks that are cancelled after the test."""
    ids: list[str] = []

    def start(*args: str) -> str:
        ids.append(served.start(*args))
        return ids[-1]

    yield start
    if ids:
        served("cancel", *ids)
