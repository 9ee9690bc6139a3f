"""Calls as another user, in a fork; only root can do that."""

from __future__ import annotations

import codecs
import os
import pickle
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from needs import require

#: Users and a group that own nothing on this machine.
ALICE, BOB, CREW = 64001, 64002, 64100

# Another user may not be able to read the standard library, so what is loaded late is loaded now.
codecs.lookup("ascii")


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other users may pass, unlike those of pytest."""
    with TemporaryDirectory(prefix="understudy-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


def as_user(uid: int, groups: Sequence[int], call: Callable[[], Any]) -> Any:
    """What `call` returns, or the text of its error, in a fork with this user and these groups."""
    require(os.geteuid() == 0, "root, to become another user")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(list(groups))
            os.setgid(uid)
            os.setuid(uid)
            try:
                told = call()
            except Exception as error:  # noqa: BLE001 - the parent looks at it
                told = f"{type(error).__name__}: {error}"
            os.write(writer, pickle.dumps(told))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    return pickle.loads(told)


def owners(home: Path) -> dict[str, tuple[int, int, int]]:
    """(user, group, mode) of each file in a home, and of the folder itself."""
    return {
        path.name: (path.stat().st_uid, path.stat().st_gid, stat.S_IMODE(path.stat().st_mode))
        for path in (home, *home.iterdir())
    }
