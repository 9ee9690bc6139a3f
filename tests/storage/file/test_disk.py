from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from understudy.storage.file import disk
from understudy.storage.file.disk import (
    has_room,
    make_folder,
    remove,
    reserve,
    room_and_reserve,
    share,
    share_tree,
    sync_folder,
)

MIB = 1 << 20


def statvfs(monkeypatch: pytest.MonkeyPatch, size: int, free: int) -> None:
    found = SimpleNamespace(f_frsize=4096, f_blocks=size // 4096, f_bavail=free // 4096)
    monkeypatch.setattr(disk.os, "statvfs", lambda path: found)


@pytest.mark.parametrize(
    ("size", "free", "room"),
    [
        (100 << 30, 32 * MIB, 0),
        (100 << 30, 32 * MIB - 4096, -4096),
        (100 * MIB, 5 * MIB, 0),
        (100 * MIB, 6 * MIB, MIB),
    ],
)
def test_the_reserve_is_32_mib_or_5_percent(monkeypatch, size: int, free: int, room: int):
    statvfs(monkeypatch, size, free)
    assert room_and_reserve(Path("/"))[0] == room


def test_a_disk_that_does_not_say_is_not_taken_as_full(tmp_path: Path):
    assert room_and_reserve(tmp_path / "not there")[0] > 1 << 60


def test_asking_for_room_leaves_the_file_as_it_was(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert has_room(path, 3 * MIB + 5)
    assert path.read_bytes() == b"abc"


def test_a_full_disk_has_no_room(small_disk: Path):
    path = small_disk / "file"
    path.write_bytes(b"abc")
    assert has_room(path, 2 * MIB)
    assert not has_room(path, 8 * MIB)
    assert path.read_bytes() == b"abc"


def test_a_size_limit_of_the_process_counts_as_no_room(tmp_path: Path, program):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    process = program(
        """
        import resource, sys
        from pathlib import Path
        from understudy.storage.file.disk import has_room
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        print(has_room(Path(sys.argv[1]), 1 << 19), has_room(Path(sys.argv[1]), 2 << 20))
        """,
        path,
    )
    assert process.communicate()[0].split() == ["True", "False"]
    assert path.read_bytes() == b"abc"


def test_a_broken_disk_is_not_a_full_one(monkeypatch, tmp_path: Path):
    def broken(*_):
        raise OSError(5, "Input/output error")

    path = tmp_path / "file"
    path.touch()
    monkeypatch.setattr(disk.os, "pwrite", broken)
    with pytest.raises(OSError, match="Input/output"):
        has_room(path, 1)


def test_syncing_and_removing(tmp_path: Path):
    path = tmp_path / "file"
    path.touch()
    sync_folder(tmp_path)
    with pytest.raises(NotADirectoryError):
        sync_folder(path)
    remove(path)
    remove(path)
    assert os.listdir(tmp_path) == []


def test_a_new_folder_and_those_above_it_are_brought_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[Path] = []
    monkeypatch.setattr(disk, "sync_folder", synced.append)
    home = tmp_path / "a" / "b" / "home"
    before = os.umask(0o022)
    try:
        make_folder(home, 0o700)
    finally:
        os.umask(before)
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    assert [path.stat().st_mode & 0o777 for path in (home, home.parent)] == [0o700, 0o755]
    make_folder(home)
    assert len(synced) == 3
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_folder_in_one_that_may_not_be_read_is_made_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(_path: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(disk, "sync_folder", refuse)
    make_folder(tmp_path / "home")
    assert (tmp_path / "home").is_dir()


def test_no_folder_is_made_below_a_file(tmp_path: Path):
    (tmp_path / "file").touch()
    make_folder(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / "file" / "home")


def test_a_link_in_a_shared_home_opens_nothing_outside_of_it(tmp_path: Path):
    home, outside = tmp_path / "home", tmp_path / "outside"
    (home / "boxes").mkdir(parents=True)
    home.chmod(0o770)
    for file in (outside, home / "boxes" / "own"):
        file.touch(0o600)
    for link in (home / "link", home / "boxes" / "link"):
        link.symlink_to(outside)
    share(home / "link", home)
    share_tree(home / "boxes", home)
    assert outside.stat().st_mode & 0o777 == 0o600
    assert (home / "boxes" / "own").stat().st_mode & 0o777 == 0o660
    assert (home / "boxes").stat().st_mode & 0o777 == 0o770


def test_a_reserved_file_has_its_room(tmp_path: Path):
    reserve(tmp_path / "file", MIB)
    found = (tmp_path / "file").stat()
    assert (found.st_size, found.st_mode & 0o777) == (MIB, 0o600)
    assert found.st_blocks * 512 >= MIB, "no sparse file, in which a write through a map may find no room"
    with pytest.raises(FileExistsError):
        reserve(tmp_path / "file", MIB)
    with pytest.raises(OSError, match=r"too large|No space"):
        reserve(tmp_path / "other", 1 << 62)
    assert not (tmp_path / "other").exists()
