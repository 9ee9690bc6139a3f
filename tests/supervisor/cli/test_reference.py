from __future__ import annotations

import re

from checkout import ROOT
from understudy.supervisor.cli import reference
from understudy.supervisor.cli.main import COMMANDS


def test_the_page_is_fresh():
    written = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    assert written == reference.page(), "stale: python -m understudy.supervisor.cli.reference > docs/cli.md"


def test_every_command_has_its_section():
    sections = re.findall(r"^### (\w+)$", reference.page(), re.MULTILINE)
    assert sections == list(COMMANDS)


def test_running_names_only_options_that_exist():
    text = (ROOT / "docs/running.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) - {"--create-home", "--time"}
    assert named <= set(re.findall(r"--[a-z][a-z-]+", reference.page()))
