"""docs/api.md: its examples run, and its table has every address with the role that it needs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import shop_tasks as shop
from checkout import ROOT
from needs import require
from waiting import until
from web_client import web
from web_roles import ROLES

PAGE = (ROOT / "docs/api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def examples() -> list[tuple[str, str]]:
    """Each command with curl, and what the page says that it prints."""
    found: list[tuple[str, str]] = []
    for block in BLOCKS:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            if command.startswith("curl"):
                found.append((command, printed.strip()))
    return found


def fits(printed: str, said: str) -> bool:
    """Whether it is what the page says. There, ids are shortened, and `…` stands for what is left out."""
    pattern = ".*".join(map(re.escape, ID.sub("ID", said).replace("0198f1c2-…", "ID").split("…")))
    return re.fullmatch(pattern, ID.sub("ID", printed), re.DOTALL) is not None


def test_the_examples_print_what_the_page_says(home: Path):
    curl = shutil.which("curl")
    require(curl, "curl")
    with web(home, "shop_tasks") as it:
        done = it.rt.start(shop.charge, 7)
        waiting = it.rt.start(shop.stocktake, 5)
        running = it.rt.start(shop.nap)
        failed = it.rt.start(shop.ship, 7)
        it.rt.wait(failed, timeout=20)
        it.rt.wait(done, timeout=20)
        until(lambda: it.rt.status(waiting).progress)
        names = {
            "URL": it.url,
            "TOKEN": it.token,
            "ID": done.id,
            "WAITING": waiting.id,
            "RUNNING": running.id,
            "FAILED": failed.id,
        }
        for command, said in examples():
            ended = subprocess.run(
                ["sh", "-c", command],
                env={**os.environ, **names},
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            assert fits(ended.stdout, said), (command, ended.stdout)
            if ended.stdout:
                json.loads(ended.stdout)


def test_the_table_has_every_address():
    rows = re.findall(r"^\| `(\w+ /(?:api/|healthz|readyz|metrics)\S*)` \| (\S+) \|", PAGE, re.MULTILINE)
    served = {
        re.sub(r":path}", "}", name): role or "none"
        for name, role in ROLES.items()
        if re.match(r"\w+ /(api/|healthz|readyz|metrics)", name)
    }
    assert dict(rows) == served
