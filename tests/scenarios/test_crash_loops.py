"""The supervisor gives up clearly and soon: an app that cannot be imported, workers that die as they start."""

from __future__ import annotations

import os
import textwrap
import time
from pathlib import Path

import pytest

from puppets import said
from theatre import PATIENCE, serving
from understudy import AppFailed, Runtime, Task
from waiting import until

FINE = """
from understudy import task

@task
def hello():
    return "hello"
"""

BAD = {
    "raises": ("1 / 0\n", "ZeroDivisionError"),
    "exits": ("import os\nos._exit(5)\n", "exit code 5"),
    "leaves": ("import sys\nsys.exit('no')\n", "SystemExit"),
}

#: Workers, which are forked twice, die before they do anything; each leaves a line.
STILLBORN = (
    FINE
    + """
import os
forks = 0
def born():
    global forks
    forks += 1
    if forks == 2:
        with open(os.environ["STILLBORN"], "a") as file:
            file.write("x")
        os._exit(3)
os.register_at_fork(after_in_child=born)
"""
)


def write(folder: Path, source: str) -> str:
    path = folder / "drama.py"
    path.write_text(textwrap.dedent(source))
    return str(path)


@pytest.mark.parametrize("kind", BAD)
def test_an_app_that_cannot_be_imported(home: Path, tmp_path: Path, kind: str) -> None:
    source, said_of_it = BAD[kind]
    app = write(tmp_path, FINE + source)
    with Runtime(home, app=app, workers=2) as rt:
        for _ in range(2):
            with pytest.raises(AppFailed, match=said_of_it) as caught:
                rt.start("drama:hello")
        if kind != "exits":
            assert "drama.py" in caught.value.remote_traceback
        assert rt.tree()["workers"] in ([], ())
    # Mended and started again: it works.
    write(tmp_path, FINE)
    with Runtime(home, app=app, workers=1) as rt:
        assert rt.run("drama:hello", timeout=PATIENCE) == "hello"


@pytest.mark.parametrize("kind", BAD)
def test_a_supervisor_without_an_owner_ends_with_it(home: Path, tmp_path: Path, kind: str) -> None:
    source, said_of_it = BAD[kind]
    with serving(home, write(tmp_path, FINE + source)) as supervisor:
        answer = said(supervisor)
        if answer == ["ready"]:
            answer = said(supervisor)
        assert answer[0] == "AppFailed"
        assert said_of_it in answer[1]


def test_an_app_that_takes_too_long(home: Path, tmp_path: Path) -> None:
    app = write(tmp_path, FINE + "import time\ntime.sleep(600)\n")
    with (
        Runtime(home, app=app, workers=1, start_timeout=0.3) as rt,
        pytest.raises(AppFailed, match=r"start_timeout=0\.3"),
    ):
        rt.start("drama:hello")


def test_who_waits_when_the_app_is_broken_is_told(home: Path, tmp_path: Path) -> None:
    """Queued tasks are kept until the app is mended."""
    app = write(tmp_path, FINE)
    with Runtime(home, app=app, workers=1) as rt:
        done = rt.start("drama:hello")
        assert done.result(PATIENCE) == "hello"
        left = rt.start(Task.named("drama:hello").options(delay=3600))
    write(tmp_path, FINE + BAD["raises"][0])
    with Runtime(home, app=app, workers=1) as rt:
        for _ in range(2):
            with pytest.raises(AppFailed, match="ZeroDivisionError"):
                rt.result(left.id, PATIENCE)
        assert rt.result(done.id, PATIENCE) == "hello", "what has ended can be read"
        assert rt.status(left.id).state == "queued"
        assert rt.cancel(left.id)


def test_workers_that_die_as_they_start(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    births = tmp_path / "births"
    births.touch()
    monkeypatch.setenv("STILLBORN", str(births))
    app = write(tmp_path, STILLBORN)
    began = time.monotonic()
    with Runtime(home, app=app, workers=2, restarts=3) as rt:
        with pytest.raises(AppFailed, match="exit code 3"):
            rt.run("drama:hello", timeout=PATIENCE)
        assert time.monotonic() - began < PATIENCE
        until(lambda: not rt.tree()["workers"], PATIENCE)
        born = births.stat().st_size
        # The limit of restarts, plus the workers that were started at the same time.
        assert 4 <= born <= 4 + 2
        with pytest.raises(AppFailed, match="die too often"):
            rt.start("drama:hello")
        assert not rt.tree()["workers"]
        assert births.stat().st_size == born
    with serving(home, app, workers=2, restarts=3) as supervisor:
        assert said(supervisor) == ["ready"]
        answer = said(supervisor)
        assert answer[0] == "AppFailed"
        assert supervisor.wait(PATIENCE) == 0
    assert births.stat().st_size <= 2 * (4 + 2)
    monkeypatch.delenv("STILLBORN")
    write(tmp_path, FINE)
    with Runtime(home, app=app, workers=1) as rt:
        # The start may have been refused; an accepted task is still there and runs now.
        (record,) = rt.list(limit=10)
        assert rt.result(record.id, PATIENCE) == "hello"
    assert os.environ.get("STILLBORN") is None
