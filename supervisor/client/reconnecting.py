"""ReconnectingClient: connects to a supervisor, starts one if needed, reconnects and repeats requests."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, Final

from ...actors.attempt.helper_threads import start_outside
from ...actors.errors import HomeInUse, NoRuntime, NotRunning, SupervisorLost, UnderstudyError
from ...actors.task.declaration import module_name, registry
from ..app import AppSpec, loading
from ..home import Home
from ..rules.restart_intensity import RestartIntensity
from ..settings import Settings
from ..wire.messages import Ask
from .child_supervisor import ChildSupervisor
from .connection import Connection
from .wait import EndsWait

log = logging.getLogger("understudy")

#: Seconds that a call waits for a supervisor to come back.
PATIENCE: Final = 10.0
#: Seconds between two tries to connect.
RETRY_EVERY: Final = 0.05


class ReconnectingClient:
    """One process's access to the supervisor of a home, across the supervisor's restarts. Thread-safe.

    Guarantees:

    * A request's future is set, even if the supervisor dies.
    * An `EndsWait` is asked again on every new connection until it is done or forgotten.
    * An owner's supervisor is started again when it dies, within the limit of `Settings.restarts`.
    """

    def __init__(self, home: Home, settings: Settings, app: str | None, *, owner: bool) -> None:
        """Connect; an `owner` starts a supervisor if none serves the home.

        Raises NotRunning or the start's error.
        """
        self.home = home
        self._settings = settings
        self._app = app
        self._owner = owner
        self._embedded: ChildSupervisor | None = None
        self._waits: set[EndsWait] = set()
        self._changing = threading.RLock()
        #: Whether `close` was called.
        self.closed = False
        self._restarts = RestartIntensity(settings.restarts, max(settings.restarts_within, 0.001))
        self._connection: Connection | None = None
        if owner and loading():
            # The fork server imports the program too; a supervisor started there would import it again. In a worker
            # this client attaches to the supervisor that serves the home, when it is first used.
            self._owner = False
        else:
            try:
                self._connection = self._reach() if owner else Connection(home, self._lost)
            except BaseException:
                self.closed = True
                raise
        _attachments.add(self)

    # --- asking ---

    @property
    def value_limit(self) -> int:
        """Bytes that one encoded value may take."""
        return self.connected().value_limit

    def request(self, op: Ask, *fields: Any) -> Future[Any]:
        """Send a request. It may have taken effect even if the future raises SupervisorLost."""
        return self.connected().request(op, *fields)

    def ask(self, op: Ask, *fields: Any) -> Any:
        """The answer to an idempotent request, which is sent again if the supervisor goes away."""
        return self.answer(self.request(op, *fields), op, *fields)

    def answer(self, future: Future[Any], op: Ask, *fields: Any) -> Any:
        """The answer to an idempotent request that was sent already."""
        while True:
            try:
                return future.result()
            except SupervisorLost:
                future = self.request(op, *fields)

    def wait_for(self, keys: Iterable[bytes]) -> EndsWait:
        """Start to wait for the ends of these tasks; `forget` the wait when done."""
        wait = EndsWait(keys)
        self._waits.add(wait)
        try:
            wait.ask(self.connected())
        except BaseException:
            self.forget(wait)
            raise
        return wait

    def forget(self, wait: EndsWait) -> None:
        """End a wait."""
        self._waits.discard(wait)
        wait.forget()

    def close(self) -> None:
        """Disconnect, and stop the supervisor if it is ours. Open waits fail. May be called twice."""
        with self._changing:
            if self.closed:
                return
            self.closed = True
        if self._connection is not None:
            self._connection.close()
        if self._embedded is not None:
            self._embedded.stop()
        self._fail_waits(NotRunning("this runtime was closed"))

    # --- staying connected ---

    def connected(self) -> Connection:
        """The connection, or a new one if it is lost. NoRuntime while the program is imported for its tasks."""
        connection = self._connection
        if connection is not None and connection.lost is None:
            return connection
        with self._changing:
            if self.closed:
                raise NotRunning("this runtime was closed")
            if self._connection is None:
                if loading():
                    raise NoRuntime(
                        "the program uses a Runtime while it is being imported for its tasks: put the code that uses "
                        'it under `if __name__ == "__main__":`, or into a function that the import does not call'
                    )
                self._connection = Connection(self.home, self._lost)
            elif self._connection.lost is not None:
                self._connection = self._reach()
            return self._connection

    def _after_fork(self) -> None:
        """Reset in a fork of the runtime's process: supervisor and socket belong to the parent."""
        self._owner = False
        if self._embedded is not None:
            self._embedded.abandon()
            self._embedded = None
        self._waits = set()
        # The thread that held it in the parent does not exist here.
        self._changing = threading.RLock()
        if self._connection is not None:
            self._connection.abandon()

    def _reach(self) -> Connection:
        """Connect; an owner starts a supervisor if none serves the home. Wait for one that is restarting."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return Connection(self.home, self._lost)
            except NotRunning as error:
                if self._owner and self.home.served() is None:
                    self._embed()
                elif time.monotonic() >= deadline:
                    raise NotRunning(f"{error} (waited {PATIENCE:g} s for it to come back)") from error
                else:
                    time.sleep(RETRY_EVERY)

    def _embed(self) -> None:
        if self._embedded is not None:
            self._embedded.kill()
            self._embedded = None
            self._count_death()
        try:
            self._embedded = ChildSupervisor(self.home, self._spec(), self._settings)
        except HomeInUse:
            # Another program was faster; its supervisor serves us too.
            log.info("another supervisor now serves %s", self.home.path)
        except SupervisorLost as error:
            log.warning("%s", error)
            self._count_death()

    def _count_death(self) -> None:
        if self._restarts.note(time.monotonic()):
            raise NotRunning(
                f"the embedded supervisor died {len(self._restarts)} times within {self._restarts.within:g} s; "
                "see its output"
            )

    def _spec(self) -> AppSpec:
        if self._app is not None:
            return AppSpec.parse(self._app)
        modules = {module_name(task.body.__module__) for task in registry.values() if task.body is not None}
        return AppSpec.of_main(sorted(modules - {"__main__"}))

    def _lost(self, connection: Connection, error: UnderstudyError) -> None:
        """A connection was lost (called in its reading thread): reconnect in a thread if there are waits."""
        if self.closed:
            return
        log.debug("%s", error)
        if self._waits or self._embedded is not None:
            start_outside(threading.Thread(target=self._resume, name="understudy-resume", daemon=True))

    def _resume(self) -> None:
        try:
            connection = self.connected()
        except UnderstudyError as error:
            self._fail_waits(error)
        except Exception as error:  # noqa: BLE001 - after any error, all waits must end
            self._fail_waits(NotRunning(f"no supervisor can be reached: {error!r}"))
        else:
            for wait in list(self._waits):
                wait.ask(connection)

    def _fail_waits(self, error: UnderstudyError) -> None:
        for wait in list(self._waits):
            wait.fail(error)


#: The clients of this process; weak references, so that this set does not keep them alive.
_attachments: weakref.WeakSet[ReconnectingClient] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for attachment in list(_attachments):
        attachment._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
