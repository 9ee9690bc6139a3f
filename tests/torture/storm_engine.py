"""The containers of a storm as the engine has them."""

from __future__ import annotations

from pathlib import Path

from understudy.storage.file.header import inspect
from understudy.supervisor.boxes import spec
from understudy.supervisor.boxes.docker_engine import DockerEngine


class Containers:
    """Those of the storm in `folder`. `close` removes whatever is left."""

    def __init__(self, folder: Path, engine: DockerEngine) -> None:
        self._home = folder / "home"
        self._shared = folder / "boxes"
        self._engine = engine
        # They are user nobody's.
        folder.chmod(0o711)
        self._shared.mkdir()
        self._shared.chmod(0o777)
        ran = self._shared / "ran"
        ran.touch()
        ran.chmod(0o666)

    def call_time(self) -> None:
        """Tell those that go on until the storm is over."""
        (self._shared / "calm").touch()

    def left(self) -> list[str]:
        """The names of those that there are, running or not."""
        return [name for row in self._rows() for name in row["Names"]]

    def _rows(self) -> list[dict[str, object]]:
        header = inspect(self._home / "store.mdb")
        mine = header.home_id.hex() if header else "?"
        rows = self._engine.find({})
        return [row for row in rows if row["Labels"].get(spec.HOME_LABEL, "").startswith(f"{mine}-")]

    def close(self) -> None:
        """Remove them."""
        for row in self._rows():
            self._engine.remove(str(row["Id"]))
