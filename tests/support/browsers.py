"""A real browser for tests of pages: Debian's Chromium, driven by Playwright; and axe-core, which looks at a page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from checkout import ROOT
from leftovers import ours, shared
from needs import require
from web_client import PLAIN

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE = ROOT / ".node/node_modules/axe-core/axe.min.js"


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium. Skips the test if there is none; in CI it fails."""
    require(CHROMIUM, "chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    before = ours()
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        with shared(process.pid for process in ours() - before):
            try:
                yield found
            finally:
                found.close()


def login(context: Any, url: str, token: str) -> None:
    """Give the browser the session that it would get on the page to log in."""
    answer = httpx.post(f"{url}/login", data={"token": token, "next": "/"}, timeout=20, verify=PLAIN)
    assert answer.status_code == 303, answer.text
    cookies = [{"name": name, "value": value, "url": url} for name, value in answer.cookies.items()]
    context.add_cookies(cookies)


class Watched:
    """A page of a browser, with everything that must not happen in it."""

    def __init__(self, context: Any, url: str) -> None:
        self.page = context.new_page()
        self.url = url
        self.complaints: list[str] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.on("dialog", self._asked)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _asked(self, dialog: Any) -> None:
        if dialog.type == "alert":
            self.complaints.append(f"alert: {dialog.message}")
        dialog.accept()

    def open(self, address: str) -> None:
        """Load an address, and wait until the page follows the store."""
        self.page.goto(self.url + address)
        self.page.wait_for_selector(
            "#link-state[data-state='live'], main[data-still] ", state="attached", timeout=20_000
        )

    def is_wider_than_its_window(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def found_by_axe(self) -> list[str]:
        """What axe-core finds that is serious or critical."""
        require(AXE.exists(), "axe-core is not installed: npm install --prefix .node axe-core@4")
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = self.page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
        return [
            f"{each['id']}: {each['nodes'][0]['html'][:200]}"
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
