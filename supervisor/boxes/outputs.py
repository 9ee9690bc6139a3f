"""Outputs of a container: files and folders that are copied to the task's folder under home."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...actors.errors import EngineError
from ...storage.file.disk import share, share_tree
from ..home import BOXES
from .docker_engine import DockerEngine, Missing


def folder_of(home: str, task: str) -> Path:
    """The folder for a task's outputs."""
    return Path(home, BOXES, task)


def mark(home: str) -> None:
    """Mark the home as one that has had containers: the sweep skips homes without this folder."""
    folder = Path(home, BOXES)
    folder.mkdir(mode=0o700, exist_ok=True)
    share(folder, folder.parent)


def collect(engine: DockerEngine, container: str, outputs: Iterable[str], folder: Path) -> dict[str, str]:
    """Copy the outputs of an ended container. Returns {path in the container: path of the copy}.

    An output that does not exist is left out. A copy is complete or absent. EngineError if an output cannot
    be copied, for instance because it is not a plain file or folder.
    """
    found: dict[str, str] = {}
    for path in outputs:
        copy = folder / path.rpartition("/")[2]
        part = folder / f".{copy.name}.part"
        _remove(part)
        part.mkdir(parents=True, mode=0o700)
        try:
            _unpack(engine.pack(container, path), part)
        except Missing:
            _remove(part)
            continue
        except (tarfile.TarError, OSError) as error:
            _remove(part)
            raise EngineError(f"the output {path} cannot be copied to {copy}: {error}") from error
        _remove(copy)
        share_tree(part / copy.name, folder.parent.parent)
        (part / copy.name).rename(copy)
        part.rmdir()
        share(folder, folder.parent.parent)
        found[path] = str(copy)
    return found


def _unpack(pieces: Iterator[bytes], folder: Path) -> None:
    with tarfile.open(fileobj=_Pieces(pieces), mode="r|") as archive:
        # The filter accepts files and folders below this one. It refuses devices and links that lead out.
        archive.extractall(folder, filter="data")


class _Pieces(io.RawIOBase):
    """An iterator of bytes as a readable file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        while size < 0 or len(self._rest) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._rest += piece
        data, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return data


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
