"""A thread that follows a container to its end: what it says goes to the task's log, line by line."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from ...actors.errors import EngineAbsent, EngineError
from .docker_engine import DockerEngine, Logs, Missing
from .output import Line, Output

#: Seconds that the engine may be away while a container runs: it may be restarted, and containers outlive that.
ENGINE_AWAY: Final = 60.0
#: Seconds between two tries to reach it again, and to see whether a silent container has ended.
AGAIN: Final = 0.2


class Follower:
    """Owns the thread. `ended` is called at the container's end, or when there is no following it; then see `state`."""

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
        #: The engine's `State` of the container that has ended.
        self.state: dict[str, Any] | None = None
        self.error: Exception | None = None
        self._closed = threading.Event()
        self._logs: Logs | None = None
        self._thread = threading.Thread(target=self._run, name="understudy-box", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether there is nothing more to come."""
        return self.state is not None or self.error is not None

    def close(self) -> None:
        """Stop following; the container goes on."""
        self._closed.set()
        if self._logs is not None:
            self._logs.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._follow()
        except Exception as error:  # noqa: BLE001 - told to whoever waits for the end
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
                raise EngineError(f"the container was removed by somebody else: {error}") from error
            except EngineAbsent:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > ENGINE_AWAY:
                    raise
                self._closed.wait(AGAIN)

    def _read_to_the_end(self) -> bool:
        """Read the output from its beginning; whether the container has ended."""
        self.output = Output(self.output.seen())
        self._logs = logs = self._engine.logs(self._container)
        if self._closed.is_set():
            logs.close()
        for number, entry in logs:
            self._tell(self.output.add(number, entry))
            if self._closed.is_set():
                return False
        if self._closed.is_set() or not self._engine.wait(self._container, 1.0):
            # The engine was restarted, or the connection lost: everything once more, without what is known.
            return False
        state = self._engine.inspect(self._container)["State"]
        self._tell(self.output.end())
        self.state = state
        return True

    def _tell(self, lines: list[Line]) -> None:
        for line in lines:
            self._log(line)
