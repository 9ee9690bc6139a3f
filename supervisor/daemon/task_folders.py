"""`TaskFolders`: the folders that tasks have made with `task_dir`. They are removed when their tasks are pruned."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ...actors.errors import InvalidValue, StoreCorrupt
from ...actors.ids import id_bytes
from ...storage.tables.record import Record
from ..home import FILES

log = logging.getLogger("understudy")

#: Folders that are looked at in one turn of the loop.
STEP: Final = 100


class TaskFolders:
    """The folders of one home."""

    def __init__(self, home: Path, record: Callable[[bytes], Record | None]) -> None:
        """`record` gives the record of a task; None if there is none."""
        self._folder = home / FILES
        self._record = record

    async def sweep(self) -> None:
        """Remove the folders whose tasks have no record any more."""
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return  # No task of this home has asked for one.
        except OSError as error:
            log.warning("the folders of removed tasks stay: %s", error)
            return
        gone = []
        for number, name in enumerate(names, 1):
            # The folder of a damaged record stays.
            with suppress(InvalidValue, StoreCorrupt):
                if self._record(id_bytes(name)) is None:
                    gone.append(self._folder / name)
            if number % STEP == 0:
                await asyncio.sleep(0)
        if gone:
            await asyncio.to_thread(_remove, gone)


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
