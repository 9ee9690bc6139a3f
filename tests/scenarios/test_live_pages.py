"""The pages of the examples in a real browser, from another origin than the web process that they follow."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import browsers
from browsers import Watched
from checkout import ROOT
from theatre import kill
from understudy import Runtime
from waiting import until


@contextmanager
def site(example: str, home: Path, *arguments: str) -> Iterator[str]:
    """The address of an example's page."""
    program = [sys.executable, str(ROOT / "examples" / example), "--home", str(home), "--stay", *arguments]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield re.findall(r"open (\S+)", running.stdout.readline())[0]
        finally:
            running.send_signal(signal.SIGINT)
            assert running.wait(20) == 0


@contextmanager
def window(url: str) -> Iterator[Any]:
    """A page of a browser with nothing wrong in it; what a killed server does to a connection is no mistake of its."""
    with browsers.browser() as chromium:
        watched = Watched(chromium.new_context(), url)
        watched.page.goto(url)
        yield watched.page
        complaints = [
            each
            for each in watched.complaints
            if "net::ERR_" not in each and "WebSocket connection" not in each
        ]
        assert complaints == []


def test_the_progress_goes_on_when_the_web_process_is_killed(home: Path):
    with site("progress_page.py", home, "--steps", "60") as url, window(url) as page:
        page.wait_for_function("document.getElementById('bar').value >= 10")
        with Runtime.connect(home) as rt:
            kill(until(lambda: rt.tree()["web"]))
        page.wait_for_function("document.getElementById('text').textContent === 'completed'", timeout=40_000)
        assert page.evaluate("document.getElementById('bar').value") == 60


def test_the_chat_goes_on_when_the_agent_and_the_web_process_are_killed(home: Path):
    with site("chat_page.py", home) as url, window(url) as page:

        def say(text: str) -> None:
            page.fill("#text", text)
            page.click("button")

        def said(count: int) -> list[str]:
            page.wait_for_function(f"document.querySelectorAll('#said li').length >= {count}", timeout=40_000)
            return [str(text) for text in page.locator("#said li").all_text_contents()]

        say("<b>Hello</b>, my name is Ada.")
        assert said(2) == ["<b>Hello</b>, my name is Ada.", "Hello, Ada."]
        with Runtime.connect(home) as rt:
            (info,) = rt.list()
            pid = rt.status(info.id).worker_pid
            assert pid is not None
            kill(pid)
            kill(until(lambda: rt.tree()["web"]))
            say("How often have I spoken?")
            assert said(4)[2:] == ["How often have I spoken?", "2 times."]
            rt.close_mailbox(info.id)
            assert rt.result(info.id, timeout=30) == 2
