"""A real container engine for the tests, and a small image in it."""

from __future__ import annotations

import fcntl
import functools
import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from needs import require
from understudy import BoxConf, EngineAbsent
from understudy.actors.task.handles import TaskInfo
from understudy.supervisor.boxes import spec
from understudy.supervisor.boxes.docker_engine import DockerEngine

IMAGE = "understudy-tests/busybox:1"
BUSYBOX = Path("/bin/busybox")
NOBODY = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"


@functools.cache
def find_engine() -> DockerEngine | str:
    """The engine with the tests' image in it, or the reason why there is none."""
    try:
        engine = DockerEngine()
    except EngineAbsent as error:
        return str(error)
    # Another test run on this machine may need the same image.
    with Path(tempfile.gettempdir(), "understudy-tests.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if engine.image(IMAGE) is None:
            if not BUSYBOX.exists() or b"statically linked" not in _kind(BUSYBOX):
                return f"{BUSYBOX}, linked statically, to make the tests' image of (Debian: busybox-static)"
            engine._api.import_image_from_data(_root(), repository=IMAGE.rpartition(":")[0], tag="1")
    return engine


def engine() -> DockerEngine:
    """The engine. Without one the test is skipped; in CI it fails."""
    found = find_engine()
    require(isinstance(found, DockerEngine), f"a container engine: {found}")
    assert isinstance(found, DockerEngine)
    return found


def _kind(program: Path) -> bytes:
    ldd = subprocess.run(["ldd", str(program)], capture_output=True, check=False)
    return b"statically linked" if ldd.returncode else ldd.stdout + ldd.stderr


def _root() -> bytes:
    """A root file system as a tar archive: busybox under all its names."""
    file = io.BytesIO()
    names = subprocess.run(
        [str(BUSYBOX), "--list"], capture_output=True, text=True, check=True
    ).stdout.split()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for folder, mode in (
            ("bin", 0o755),
            ("etc", 0o755),
            ("root", 0o700),
            ("tmp", 0o1777),
            ("var", 0o755),
        ):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        program = archive.gettarinfo(str(BUSYBOX.resolve()), "bin/busybox")
        program.uid = program.gid = 0
        with BUSYBOX.open("rb") as source:
            archive.addfile(program, source)
        for name in names:
            if name != "busybox":
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(link)
        passwd = tarfile.TarInfo("etc/passwd")
        passwd.size, passwd.mode = len(NOBODY), 0o644
        archive.addfile(passwd, io.BytesIO(NOBODY.encode()))
    return file.getvalue()


def sh(script: str, **fields: Any) -> BoxConf:
    """A container that runs these lines, with enough memory and processor to be quick."""
    return BoxConf(IMAGE, script=script, **{"size": "xlarge", **fields})


def containers_of(info: TaskInfo) -> list[dict[str, Any]]:
    """The engine's rows of a task's containers."""
    return engine().find({spec.TASK_LABEL: info.id})


@contextmanager
def image(name: str, **config: Any) -> Iterator[str]:
    """The tests' image with another name and configuration."""
    api = engine()._api
    made = api.create_container(IMAGE, ["true"])
    try:
        repository, _, tag = name.partition(":")
        api.commit(made["Id"], repository=repository, tag=tag, conf=config or None)
    finally:
        api.remove_container(made["Id"])
    try:
        yield name
    finally:
        api.remove_image(name, force=True)
