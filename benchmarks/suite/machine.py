"""The machine and the versions with which the figures were measured."""

from __future__ import annotations

import os
import platform
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import lmdb
import psutil

import understudy


def machine(folder: Path | None = None) -> dict[str, str]:
    """Plain facts, by subject."""
    where = Path(folder or tempfile.gettempdir()).resolve()
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / (1 << 30):.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "disk": file_system(where),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "understudy": understudy.__version__,
        "lmdb": f"{'.'.join(map(str, lmdb.version()))} (Python binding {lmdb.__version__})",
        "msgpack": installed("msgpack"),
        "pykka": installed("pykka"),
    }


def installed(package: str) -> str:
    """The version of a package, or a note that it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def file_system(folder: Path) -> str:
    """The kind of the folder's file system: an fsync on tmpfs costs nothing and proves nothing."""
    parts = [part for part in psutil.disk_partitions(all=True) if folder.is_relative_to(part.mountpoint)]
    return max(parts, key=lambda part: len(part.mountpoint)).fstype if parts else "unknown file system"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
