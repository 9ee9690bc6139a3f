from __future__ import annotations

import asyncio
import time
from pathlib import Path

from understudy.actors.errors import StoreCorrupt
from understudy.actors.ids import id_text, new_id
from understudy.storage.tables.record import Record
from understudy.supervisor.daemon.task_folders import STEP, TaskFolders


def test_the_folder_of_a_damaged_record_stays(tmp_path: Path):
    damaged, gone = new_id(), new_id()

    def record(id: bytes) -> Record | None:
        if id == damaged:
            raise StoreCorrupt("a damaged record")
        return None

    for id in (damaged, gone):
        (tmp_path / "files" / id_text(id)).mkdir(parents=True)
    asyncio.run(TaskFolders(tmp_path, record).sweep())
    assert [path.name for path in (tmp_path / "files").iterdir()] == [id_text(damaged)]


def test_only_folders_without_a_record_go(tmp_path: Path):
    known, gone = new_id(), [new_id() for _ in range(2 * STEP)]
    folders = TaskFolders(tmp_path, {known: Record(known, "task", time.time(), known)}.get)
    asyncio.run(folders.sweep())
    for name in [*map(id_text, [known, *gone]), "the user's"]:
        (tmp_path / "files" / name / "inner").mkdir(parents=True)
    asyncio.run(folders.sweep())
    assert {path.name for path in (tmp_path / "files").iterdir()} == {id_text(known), "the user's"}
