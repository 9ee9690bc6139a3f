from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from understudy import EngineError
from understudy.supervisor.boxes.docker_engine import Missing
from understudy.supervisor.boxes.outputs import collect, folder_of, mark


def archive(*entries: tuple[str, Any]) -> bytes:
    """A tar archive: text is a file, None a folder, else the entry's type."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            if content is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o700
                made.addfile(entry)
            elif isinstance(content, str):
                entry.size = len(content)
                made.addfile(entry, io.BytesIO(content.encode()))
            else:
                entry.type, entry.linkname = content, "/etc/passwd"
                made.addfile(entry)
    return file.getvalue()


class Container:
    """What an engine gives of a container, in small pieces."""

    def __init__(self, **files: bytes) -> None:
        self.files = {f"/data/{name}": data for name, data in files.items()}
        self.breaks = False

    def pack(self, _id: str, path: str) -> Iterator[bytes]:
        if path not in self.files:
            raise Missing(path)
        data = self.files[path]
        for start in range(0, len(data), 700):
            yield data[start : start + 700]
            if self.breaks:
                raise EngineError("the engine is gone")


def copied(container: Container, folder: Path, *names: str) -> dict[str, str]:
    return collect(cast("Any", container), "id", [f"/data/{name}" for name in names], folder)


def test_files_and_folders(tmp_path: Path):
    container = Container(
        a=archive(("a", "x" * 100_000)),
        b=archive(("b", None), ("b/c", "2"), ("b/d", None)),
        e=archive(("e", "")),
    )
    found = copied(container, tmp_path, "a", "b", "e", "missing")
    assert found == {f"/data/{name}": str(tmp_path / name) for name in "abe"}
    assert (tmp_path / "a").read_text() == "x" * 100_000
    assert (tmp_path / "b" / "c").read_text() == "2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "e"]


def test_what_an_attempt_before_has_left_is_replaced(tmp_path: Path):
    copied(Container(a=archive(("a", None), ("a/old", "1"))), tmp_path, "a")
    (tmp_path / ".a.part").mkdir()
    (tmp_path / ".a.part" / "half").touch()
    copied(Container(a=archive(("a", "new"))), tmp_path, "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    copied(Container(a=archive(("a", None))), tmp_path, "a")
    assert (tmp_path / "a").is_dir()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_no_links_and_no_devices(tmp_path: Path, kind: bytes):
    with pytest.raises(EngineError, match="/data/a cannot be copied"):
        copied(Container(a=archive(("a", kind))), tmp_path, "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../a", "a/../../b"])
def test_nothing_lands_elsewhere(tmp_path: Path, name: str):
    with pytest.raises(EngineError):
        copied(Container(a=archive((name, "1"))), tmp_path / "inner", "a")
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


def test_an_engine_that_breaks_off_leaves_nothing_half(tmp_path: Path):
    container = Container(a=archive(("a", "x" * 10_000)))
    container.breaks = True
    with pytest.raises(EngineError):
        copied(container, tmp_path, "a")
    assert not (tmp_path / "a").exists()


def test_the_folders(tmp_path: Path):
    mark(str(tmp_path))
    mark(str(tmp_path))
    assert (tmp_path / "boxes").stat().st_mode & 0o777 == 0o700
    assert folder_of(str(tmp_path), "id") == tmp_path / "boxes" / "id"
