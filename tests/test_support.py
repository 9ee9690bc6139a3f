"""The helpers that the other tests stand on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import leftovers
from needs import require
from waiting import until

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_until_returns_what_the_predicate_gave():
    answers = iter([None, 0, "here"])
    assert until(lambda: next(answers)) == "here"


def test_until_says_what_it_waited_for():
    with pytest.raises(AssertionError, match=r"not within 0\.01 s: the curtain; last value: \[\]"):
        until(list, timeout=0.01, message=lambda: "the curtain")


def test_require_skips_at_a_desk_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch):
    require(True, "nothing")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="an engine"):
        require(False, "an engine")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="missing in CI: an engine"):
        require(False, "an engine")


def test_the_home_is_short_enough_for_a_socket(home: Path):
    longest = 107  # bytes in sockaddr_un.sun_path, without the closing zero
    assert len(os.fsencode(home / "supervisor.sock")) <= longest
    assert not home.exists()


@pytest.mark.usefixtures("quickly")
class TestLeftovers:
    @pytest.fixture
    def quickly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(leftovers, "GRACE", 0.05)

    def test_a_child_is_found_and_ended(self):
        before = leftovers.ours()
        with subprocess.Popen(SLEEP) as child:
            [line] = leftovers.left_behind(before)
            assert str(child.pid) in line
            assert child.wait(10) == -9

    def test_what_tests_share_is_found_when_they_are_over(self):
        before = leftovers.ours()
        with subprocess.Popen(SLEEP) as child:
            with leftovers.shared([child.pid]):
                assert leftovers.left_behind(before) == []
            [line] = leftovers.left_behind(before)
            assert str(child.pid) in line

    def test_an_orphan_is_found_and_ended(self):
        before = leftovers.ours()
        code = f"import subprocess; print(subprocess.Popen({SLEEP!r}, start_new_session=True, stdout=-3).pid)"
        orphan = int(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout)
        [line] = leftovers.left_behind(before)
        assert f"pid {orphan} " in line
        until(lambda: leftovers.ours() == before)

    def test_a_process_in_the_tests_folder_is_found_without_the_mark(self, tmp_path: Path):
        before = leftovers.ours([tmp_path])
        code = f"import subprocess; subprocess.Popen({SLEEP!r}, env={{}}, cwd={str(tmp_path)!r}, stdout=-3)"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert len(leftovers.left_behind(before, [tmp_path])) == 1

    def test_a_child_that_nobody_waits_for_is_named_once(self):
        before = leftovers.ours()
        child = os.fork()
        if child == 0:
            os._exit(0)
        try:
            os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # it has ended, and is still to be waited for
            [line] = leftovers.left_behind(before)
            assert "nobody waited" in line
            assert leftovers.left_behind(before) == []
        finally:
            os.waitpid(child, 0)

    def test_what_was_there_before_stays(self):
        with subprocess.Popen(SLEEP) as child:
            assert leftovers.left_behind(leftovers.ours()) == []
            assert child.poll() is None
            child.kill()
