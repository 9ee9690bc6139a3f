from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import pytest

import kit_tasks as app
from understudy import InvalidOption, NoRuntime, Runtime
from understudy.testing import InlineRuntime, kill_supervisor, kill_worker, wait_until


def test_waiting_without_a_runtime() -> None:
    gate = threading.Event()
    threading.Timer(0.05, gate.set).start()
    assert wait_until(gate.is_set) is True
    assert wait_until(lambda: [1]) == [1]
    with pytest.raises(TimeoutError, match=r"0\.05 s"):
        wait_until(lambda: False, 0.05)
    with pytest.raises(InvalidOption):
        wait_until(lambda: True, -1)


def test_an_id_needs_a_runtime_around_it() -> None:
    with pytest.raises(NoRuntime):
        kill_worker("0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d")
    with InlineRuntime() as rt:
        info = rt.start(app.counts)
        kill_worker(info.id)
        rt.close_mailbox(info)
        assert rt.result(info, timeout=60) == [0, 1]
        assert rt.status(info).attempt == 2


def test_a_supervisor_is_dead_when_the_kill_returns(home: Path) -> None:
    with Runtime(home, app="kit_tasks", workers=1) as rt:
        pid = rt.supervisor_pid
        kill_supervisor(rt)
        with suppress(FileNotFoundError):  # unless it is still a zombie
            assert Path(f"/proc/{pid}/cmdline").read_bytes() == b""
        assert rt.run(app.add, 1, 2, timeout=20) == 3
        assert rt.supervisor_pid != pid
