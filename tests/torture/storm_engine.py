"""The engine's view of the containers of a storm."""

from __future__ import annotations

from pathlib import Path

from understudy.storage.file.header import inspect
from understudy.supervisor.boxes import spec
from understudy.supervisor.boxes.docker_engine import DockerEngine


class Containers:
    """The containers of the storm in `folder`. `close` removes the remaining ones."""

    def __init__(self, folder: Path, engine: DockerEngine) -> None:
        self._home = folder / "home"
        self._shared = folder / "boxes"
        self._engine = engine
        # They run as user 65534 (nobody).
        folder.chmod(0o711)
        self._shared.mkdir()
        self._shared.chmod(0o777)
        ran = self._shared / "ran"
        ran.touch()
        ran.chmod(0o666)

    def call_time(self) -> None:
        """Tell the containers that wait for the end of the storm."""
        (self._shared / "calm").touch()

    def left(self) -> list[str]:
        """The names of the existing ones, running or not."""
        return [name for row in self._rows() for name in row["Names"]]

    def _rows(self) -> list[dict[str, object]]:
        header = inspect(self._home / "store.mdb")
        mine = header.home_id.hex() if header else "?"
        rows = self._engine.find({})
        return [row for row in rows if row["Labels"].get(spec.HOME_LABEL, "").startswith(f"{mine}-")]

    def close(self) -> None:
        """Remove these containers."""
        for row in self._rows():
            self._engine.remove(str(row["Id"]))
