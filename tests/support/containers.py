"""PID namespaces of their own, as containers have them, for programs under test."""

from __future__ import annotations

import subprocess

from needs import require

#: Runs a command as pid 1 of a PID namespace, with the /proc of that; it dies with this command.
CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def container() -> list[str]:
    """CONTAINER, where this machine allows it."""
    try:
        allowed = subprocess.run([*CONTAINER, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    require(allowed, "a PID namespace (`unshare --pid`), which takes root or user namespaces")
    return list(CONTAINER)
