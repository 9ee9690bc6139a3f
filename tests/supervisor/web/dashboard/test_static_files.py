"""The files of the dashboard: those of others are what is said of them, and all of them together are small."""

from __future__ import annotations

import hashlib
import json

import pytest

from understudy.supervisor.web.dashboard.render import STATIC
from understudy.supervisor.web.dashboard.static_files import files

VENDORED = json.loads((STATIC / "vendor/vendored.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(VENDORED))
def test_scripts_of_others_are_unchanged(name: str):
    package = VENDORED[name]
    assert package["version"]
    assert package["license"] in ("MIT", "0BSD")
    for file, entry in package["files"].items():
        data = (STATIC / "vendor" / file).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"], f"{file}: run `make vendor`"


def test_nothing_else_lies_among_them():
    listed = {file for package in VENDORED.values() for file in package["files"]} | {"vendored.json"}
    assert {path.name for path in (STATIC / "vendor").iterdir()} == listed


def test_all_of_it_is_small():
    assert sum(len(file.packed) for file in files().values()) < 100_000


def test_nothing_comes_from_elsewhere():
    for path, file in files().items():
        if not path.startswith("vendor/"):
            text = file.data.decode().replace("http://www.w3.org/2000/svg", "")
            assert "http://" not in text, path
            assert "https://" not in text, path
