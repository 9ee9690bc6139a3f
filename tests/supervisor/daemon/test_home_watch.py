from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from understudy.actors.errors import HomeError
from understudy.storage.file.names import store_file
from understudy.supervisor.daemon import home_watch as module
from understudy.supervisor.daemon.home_watch import HomeWatch
from understudy.supervisor.home import Home


class Served:
    """A home as a supervisor holds it, with a store that is only a file."""

    def __init__(self, path: Path) -> None:
        self.home = Home(path)
        self.home.create()
        self.lock = self.home.lock()
        self.sockets: list[socket.socket] = []
        self.errors: list[HomeError] = []
        store_file(path).touch()
        self.sockets.append(self.home.listen())
        self.watch = HomeWatch(self.home, self.listen, self.restore, self.errors.append)

    async def listen(self) -> None:
        self.sockets.append(self.home.listen())

    async def restore(self) -> None:
        store_file(self.home.path).touch()


@pytest.fixture
def served(home: Path) -> Iterator[Served]:
    made = Served(home)
    yield made
    made.lock.close()
    for sock in made.sockets:
        sock.close()


FILES = ("supervisor.lock", "supervisor.sock", "store.mdb")


@pytest.mark.parametrize("name", FILES)
def test_what_is_missing_twice_is_made_anew(
    served: Served, home: Path, name: str, caplog: pytest.LogCaptureFixture
):
    (home / name).unlink()
    asyncio.run(served.watch.look())
    assert not (home / name).exists()
    asyncio.run(served.watch.look())
    assert (home / name).exists()
    assert Home(home).served() == os.getpid()
    Home(home).connect().close()
    assert len(caplog.records) == 1
    for _ in range(3):
        asyncio.run(served.watch.look())
    assert len(caplog.records) == 1


def test_what_another_put_in_the_place_of_lock_and_socket_goes(served: Served, home: Path):
    for name in FILES[:2]:
        (home / name).unlink()
        (home / name).touch()
    asyncio.run(served.watch.look())
    asyncio.run(served.watch.look())
    assert (home / "supervisor.sock").is_socket()
    assert Home(home).served() == os.getpid()


def test_one_that_cannot_be_made_anew_is_tried_again(
    served: Served, home: Path, monkeypatch: pytest.MonkeyPatch
):
    (home / "supervisor.lock").unlink()
    asyncio.run(served.watch.look())

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr("understudy.supervisor.home.open_in_home", full)
        with pytest.raises(HomeError, match="no space"):
            asyncio.run(served.watch.look())
    asyncio.run(served.watch.look())
    assert (home / "supervisor.lock").exists()


def test_the_files_do_not_look_old(served: Served, home: Path, monkeypatch: pytest.MonkeyPatch):
    for name in FILES:
        os.utime(home / name, (1, 1))
    asyncio.run(served.watch.look())
    assert (home / "supervisor.lock").stat().st_mtime == 1
    monkeypatch.setattr(module, "TOUCH_EVERY", 0.0)
    asyncio.run(served.watch.look())
    assert all((home / name).stat().st_mtime > 1 and (home / name).stat().st_atime > 1 for name in FILES)


def test_a_home_that_is_removed_is_told_once(served: Served, home: Path):
    for file in home.iterdir():
        file.unlink()
    home.rmdir()
    for _ in range(3):
        asyncio.run(served.watch.look())
    (error,) = served.errors
    assert "was removed" in str(error)
    assert not home.exists()


@pytest.mark.parametrize("above", ["swept", "swept/deeper"])
def test_a_home_below_a_swept_folder_is_warned_of(
    tmp_path: Path, above: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("understudy.supervisor.home.SWEPT", (str(tmp_path / "swept"), str(tmp_path / "no")))
    for name in ("XDG_RUNTIME_DIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for place, warned in ((tmp_path / above, 1), (tmp_path / "kept", 0)):
        place.mkdir(parents=True)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "understudy"):
            HomeWatch(Home(place / "home"), None, None, None).warn()  # type: ignore[arg-type]
        assert len(caplog.records) == warned
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "kept"))
    assert Home(tmp_path / "kept" / "home").swept == str(tmp_path / "kept")
