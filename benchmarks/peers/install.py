"""Installs the peers one by one. A peer that cannot be installed is named, and the others follow.

python benchmarks/peers/install.py
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys


def wanted() -> list[str]:
    """The requirements of the extra `bench`."""
    found = importlib.metadata.requires("understudy") or []
    return [line.partition(";")[0].strip() for line in found if re.search(r"extra == .bench.", line)]


def install(requirements: list[str]) -> bool:
    """Whether pip succeeded."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        *requirements,
    ]
    return subprocess.run(command, check=False).returncode == 0


def main() -> None:
    """All at once; if that fails, each alone."""
    requirements = wanted()
    if not install(requirements):
        for requirement in requirements:
            if not install([requirement]):
                print(f"cannot be installed here, goes without: {requirement}", file=sys.stderr)
    if shutil.which("redis-server") is None:
        print("no redis-server on PATH; Celery, Dramatiq, RQ and Taskiq go without", file=sys.stderr)


if __name__ == "__main__":
    main()
