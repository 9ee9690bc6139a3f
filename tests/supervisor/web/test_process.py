"""The web process as a child: it serves, dies and comes back, and nobody is refused meanwhile."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import psutil
import pytest

from call_tasks import add
from understudy import InvalidOption, Runtime
from understudy.actors.errors import AddressUnusable
from understudy.supervisor import web_settings
from waiting import until
from web_client import web


def test_it_serves_and_comes_back_after_its_death(home: Path):
    with web(home) as it:
        assert it.get("/whoami").json()["role"] == "admin"
        assert stat.S_IMODE((home / "web.token").stat().st_mode) == 0o600
        first = it.pid
        os.kill(first, signal.SIGKILL)
        # The supervisor has the socket, so this one waits for the next process.
        assert it.get("/whoami").status_code == 200
        assert it.pid not in (0, first)
        assert it.rt.run(add, 1, timeout=20) == 2
        assert it.rt.tree()["pid"] == it.rt.supervisor_pid


def test_it_ends_with_its_supervisor_and_comes_back_at_the_same_address(home: Path):
    with web(home) as it:
        it.get("/whoami")
        child = psutil.Process(it.pid)
        os.kill(it.rt.supervisor_pid, signal.SIGKILL)
        child.wait(10)
        # The runtime starts another supervisor.
        assert it.rt.run(add, 1, timeout=20) == 2
        assert it.rt.web_url == it.url
        assert it.get("/whoami").status_code == 200


def test_many_restarts_refuse_nobody(home: Path):
    with web(home) as it:
        it.get("/whoami")
        over = threading.Event()
        seen: list[int] = []
        refused: list[str] = []

        def ask() -> None:
            while not over.is_set():
                try:
                    seen.append(it.get("/whoami").status_code)
                except httpx.ConnectError as error:
                    refused.append(str(error))
                except httpx.TransportError:
                    # It was cut off by the kill, not refused.
                    continue

        asking = threading.Thread(target=ask)
        asking.start()
        pids = set()
        for _ in range(3):
            pid = until(lambda: it.pid)
            pids.add(pid)
            del seen[:-1]
            until(lambda: len(seen) > 2, 20)
            os.kill(pid, signal.SIGKILL)
            until(lambda: it.pid not in pids, 20)
        over.set()
        asking.join()
    assert (set(seen), refused) == ({200}, [])
    assert len(pids) == 3


def test_an_address_that_is_taken_is_told(home: Path):
    with web(home) as it:
        address = it.url.removeprefix("http://")
        with pytest.raises(AddressUnusable, match="cannot listen") as caught:
            Runtime(home.with_name("other"), web=address)
        assert caught.value.address == address


@pytest.mark.parametrize("address", ["", "x:y", "127.0.0.1:", "127.0.0.1:70000", ":80", "::1:80", 80])
def test_an_address_is_checked_at_the_call(home: Path, address: object):
    with pytest.raises(InvalidOption, match="address"):
        Runtime(home, web=address)  # type: ignore[arg-type]
    assert not home.exists()


def test_insecure_is_for_loopback(home: Path):
    with pytest.raises(InvalidOption, match="loopback"):
        Runtime(home, web={"web": "0.0.0.0:0", "insecure": True})


def test_without_the_packages_it_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(web_settings, "NEEDED", ("fastapi", "no_such_package"))
    with pytest.raises(InvalidOption, match=r"no_such_package.*pip install 'understudy\[web\]'"):
        Runtime(home, web="127.0.0.1:0")
    with Runtime(home, app="kit_tasks", workers=1) as rt:
        assert rt.web_url is None


def test_a_program_without_it_loads_nothing_of_it():
    code = (
        "import sys, understudy; understudy.Runtime; understudy.supervisor.daemon.web_child\n"
        "assert not {'fastapi', 'starlette', 'uvicorn', 'pydantic'} & set(sys.modules)"
    ).replace(
        "understudy.supervisor.daemon.web_child", "import_module('understudy.supervisor.daemon.web_child')"
    )
    subprocess.run([sys.executable, "-c", f"from importlib import import_module; {code}"], check=True)
