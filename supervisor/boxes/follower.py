"""`Follower`, a thread that follows a container to its end and writes its output to the task's log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from ...actors.errors import EngineAbsent, EngineError
from .docker_engine import DockerEngine, Logs, Missing
from .output import Line, Output

#: Seconds that the engine may be unreachable while a container runs. Containers can outlive its restart.
ENGINE_AWAY: Final = 60.0
#: Seconds between two attempts to reach the engine again.
AGAIN: Final = 0.2


class Follower:
    """Follows one container. `ended` is called once `state` or `error` is set: no more output will come."""

    def __init__(
        self,
        engine: DockerEngine,
        container: str,
        seen: Mapping[str, float],
        log: Callable[[Line], None],
        ended: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._container = container
        self._log = log
        self._ended = ended
        self.output = Output(seen)
        #: The engine's `State` of the container, once it has ended.
        self.state: dict[str, Any] | None = None
        self.error: Exception | None = None
        self._closed = threading.Event()
        self._logs: Logs | None = None
        self._thread = threading.Thread(target=self._run, name="understudy-box", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether the container has ended or cannot be followed any further."""
        return self.state is not None or self.error is not None

    def close(self) -> None:
        """Stop following. The container keeps running."""
        self._closed.set()
        if self._logs is not None:
            self._logs.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._follow()
        except Exception as error:  # noqa: BLE001 - raised again by the attempt
            self.error = error
        self._ended()

    def _follow(self) -> None:
        away_since: float | None = None
        while not self._closed.is_set():
            try:
                if self._read_to_the_end():
                    return
                away_since = None
            except Missing as error:
                raise EngineError(f"the container was removed from outside: {error}") from error
            except EngineAbsent:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > ENGINE_AWAY:
                    raise
                self._closed.wait(AGAIN)

    def _read_to_the_end(self) -> bool:
        """Read the output from its beginning. Returns whether the container has ended."""
        self.output = Output(self.output.seen())
        self._logs = logs = self._engine.logs(self._container)
        if self._closed.is_set():
            logs.close()
        for number, entry in logs:
            self._tell(self.output.add(number, entry))
            if self._closed.is_set():
                return False
        if self._closed.is_set() or not self._engine.wait(self._container, 1.0):
            # The engine was restarted or the connection lost. Read again and leave out the known lines.
            return False
        state = self._engine.inspect(self._container)["State"]
        self._tell(self.output.end())
        self.state = state
        return True

    def _tell(self, lines: list[Line]) -> None:
        for line in lines:
            self._log(line)
