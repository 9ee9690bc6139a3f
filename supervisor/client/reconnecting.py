"""ReconnectingClient: connects to a supervisor when one is needed, starts one if it may, and reconnects."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from ...actors.attempt.helper_threads import start_outside
from ...actors.clock import SYSTEM, Clock, TimedFuture
from ...actors.errors import (
    ConnectTimeout,
    HomeInUse,
    NoRuntime,
    NotRunning,
    SupervisorLost,
    UnderstudyError,
)
from ...actors.qualified_names import module_name
from ...actors.task.declaration import registry
from ...actors.tracing.tracer import is_on
from ..app import AppSpec, loading
from ..home import Home
from ..rules.restart_intensity import RestartIntensity
from ..settings import Settings
from ..web_settings import WebSettings
from ..wire.messages import Ask
from .callbacks import Callbacks
from .child_supervisor import NO_WEB, ChildSupervisor
from .connection import CONNECT_TIMEOUT, SEEN_LIMIT, Connection, Reply
from .deadline import Deadline
from .steps import Steps
from .wait import Wait

log = logging.getLogger("understudy")

#: Seconds that a call without `timeout=` waits for a supervisor.
PATIENCE: Final = 10.0
#: Seconds between two tries to connect.
RETRY_EVERY: Final = 0.02


class Arrival(TimedFuture[Connection]):
    """A call's wait for a connection."""

    def __init__(self, patience: float | None, clock: Clock = SYSTEM) -> None:
        super().__init__(clock)
        #: As in `Wait`.
        self.patience = patience
        self.since = clock.monotonic()

    def fail(self, error: Exception) -> None:
        """End it with an error."""
        self.set_exception(error)


class ReconnectingClient:
    """One process's access to the supervisor of a home, across the supervisor's restarts. Thread-safe.

    Guarantees:

    * It connects in a thread of its own, which runs while somebody waits. Callers wait beside each other, each as
      long as its own deadline allows.
    * A `Wait` is asked on every new connection until it is done or forgotten, and waits in the order in which they
      began.
    * An owner's supervisor is started again when it dies, within the limit of `Settings.restarts`.
    """

    clock: Clock = SYSTEM

    def __init__(
        self,
        home: Home,
        settings: Settings,
        app: str | None,
        *,
        owner: bool,
        web: WebSettings = NO_WEB,
    ) -> None:
        """An `owner` connects, and starts a supervisor if none serves the home. Others connect when asked.

        While the program is imported for its tasks, an owner does not connect either: a web program has its runtime
        at the top of a module, where the fork server finds it, too. In a worker such a client attaches to the
        supervisor that serves the home, when it is first used. Raises NotRunning or the start's error.
        """
        self.home = home
        self.callbacks = Callbacks()
        self._settings = settings
        self._web = web
        self._app = app
        #: Whether it was made while the program was imported for its tasks.
        self._imported = owner and loading()
        self._owner = owner and not self._imported
        self._embedded: ChildSupervisor | None = None
        self._restarts = RestartIntensity(settings.restarts, max(settings.restarts_within, 0.001))
        self._connection: Connection | None = None
        #: The letters whose replies were received and not confirmed yet, on any connection.
        self.seen: deque[bytes] = deque(maxlen=SEEN_LIMIT)
        #: In the order in which they began.
        self._waits: dict[Wait, None] = {}
        self._arrivals: list[Arrival] = []
        # Guards the fields above from the connecting thread, and these.
        # Reentrant, because a signal handler may make a call, too.
        self._changing = threading.RLock()
        self._closed = threading.Event()
        self._connecting: threading.Thread | None = None
        #: Why the last try to connect failed; None while there is a connection.
        self._refusal: NotRunning | None = None
        #: The connection that is being made.
        self._opening: Connection | None = None
        _clients.add(self)
        if self._owner:
            try:
                self._embed_or_connect()
            except BaseException:
                self.close()
                raise

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    @property
    def connection(self) -> Connection | None:
        """The connection; None if it is lost or was not made yet."""
        connection = self._connection
        return None if connection is None or connection.lost is not None else connection

    # --- asking ---

    def connected(self, deadline: Deadline) -> Steps[Connection]:
        """The connection, or a new one."""
        while True:
            connection = self._connection
            if connection is not None and connection.lost is None:
                return connection
            arrival = Arrival(None if deadline.given else PATIENCE, self.clock)
            self._want(arrival)
            try:
                yield arrival
                connection = arrival.result()
            finally:
                self._give_up(arrival)

    def ask(self, deadline: Deadline, op: Ask, *fields: Any, reply: Reply | None = None) -> Steps[Any]:
        """The answer to an idempotent request, which is sent again if the supervisor goes away.

        `reply` is that of a request that was sent already.
        """
        while True:
            if reply is None:
                reply = yield from self.request(deadline, op, *fields)
            try:
                return (yield from self.answer(reply))
            except SupervisorLost:
                reply = None

    def request(self, deadline: Deadline, op: Ask, *fields: Any) -> Steps[Reply]:
        """Send a request. It may take effect even if the reply raises SupervisorLost."""
        connection = yield from self.connected(deadline)
        while connection.is_full:
            yield connection.room()
        return connection.request(op, *fields)

    def answer(self, reply: Reply) -> Steps[Any]:
        """The answer to a request that was sent; drops the reply if the call is over before."""
        try:
            yield reply
            return reply.result()
        finally:
            reply.drop()

    def late(self, deadline: Deadline) -> Exception:
        """The error of a call whose time is over."""
        if self.connection is not None:
            return TimeoutError(
                deadline.late
                or f"the supervisor has not answered within {deadline.seconds:g} s; the call may or may not have "
                "taken effect"
            )
        return self._absent(deadline.seconds or 0.0)

    def begin(self, wait: Wait, deadline: Deadline) -> None:
        """Begin a wait; `forget` it when it is over. Does not block."""
        wait.patience = None if deadline.given else PATIENCE
        self._waits[wait] = None
        try:
            connection = self.connection
            if connection is None and not wait.over:
                connection = self._want()
            if connection is not None:
                wait.ask(connection)
        except BaseException:
            self.forget(wait)
            raise

    def forget(self, wait: Wait) -> None:
        """End a wait."""
        self._waits.pop(wait, None)
        wait.forget()

    def connect_now(self) -> None:
        """Connect in this thread, by one try. Raises NotRunning, HomeError, ProtocolError."""
        self._adopt(self._open(CONNECT_TIMEOUT))

    def close(self) -> None:
        """Disconnect, and stop the supervisor if it is ours. Open waits fail. May be called twice."""
        with self._changing:
            if self._closed.is_set():
                return
            self._closed.set()
            opening, connecting = self._opening, self._connecting
        if opening is not None:
            opening.close()
        if connecting is not None:
            connecting.join()
        if self._connection is not None:
            self._connection.close()
        self._fail(NotRunning("this runtime was closed"))
        if self._embedded is not None:
            self._embedded.stop()
        self.callbacks.close()

    @property
    def used(self) -> bool:
        """Whether it has a connection or a supervisor to let go of."""
        return not self.closed and (self._connection is not None or self._embedded is not None)

    # --- staying connected ---

    def check_open(self) -> None:
        """Raise NotRunning if closed; NoRuntime if this runtime may not be used while it is imported."""
        if self.closed:
            raise NotRunning("this runtime was closed")
        if self._imported and loading():
            # The fork server imports the program, too; a supervisor started there would import it again.
            raise NoRuntime(
                "the program uses a Runtime while it is being imported for its tasks: put the code that uses it "
                'under `if __name__ == "__main__":`, or into a function that the import does not call'
            )

    def _want(self, arrival: Arrival | None = None) -> Connection | None:
        """Have the connecting thread run, if there is no connection; else the connection."""
        self.check_open()
        with self._changing:
            if self._closed.is_set():
                raise NotRunning("this runtime was closed")
            connection = self.connection
            if connection is None:
                if arrival is not None:
                    self._arrivals.append(arrival)
                self._start_connecting()
        if connection is not None and arrival is not None:
            arrival.set_result(connection)
        return connection

    def _start_connecting(self) -> None:
        if self._connecting is None:
            thread = threading.Thread(target=self._connect, name="understudy-connect", daemon=True)
            self._connecting = thread
            try:
                start_outside(thread)
            except BaseException:
                self._connecting = None
                raise

    def _give_up(self, arrival: Arrival) -> None:
        with self._changing:
            if arrival in self._arrivals:
                self._arrivals.remove(arrival)

    def _connect(self) -> None:
        """Try to connect until that works, or nobody waits for it any more."""
        try:
            while True:
                try:
                    connection = self._open(self._shortest_patience())
                except NotRunning as error:
                    self._refusal = error
                    if self._owner and not self.closed and self.home.served() is None:
                        self._embed()
                    elif not self._still_wanted(error):
                        return
                    else:
                        self._closed.wait(RETRY_EVERY)
                else:
                    self._adopt(connection)
                    return
        except UnderstudyError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - after any error, all waits must end
            self._fail(NotRunning(f"no supervisor can be reached: {error!r}"))

    def _shortest_patience(self) -> float:
        """Seconds that one try may take, so that nobody waits much longer than its patience."""
        with self._changing:
            waiting: list[Arrival | Wait] = [*self._arrivals, *self._waits]
        ends = [waiter.since + waiter.patience for waiter in waiting if waiter.patience is not None]
        left = min(ends) - self.clock.monotonic() if ends else CONNECT_TIMEOUT
        return min(max(left, RETRY_EVERY), CONNECT_TIMEOUT)

    def _still_wanted(self, error: NotRunning) -> bool:
        """Fail those whose patience is over. If nobody is left, the connecting thread ends."""
        now = self.clock.monotonic()
        with self._changing:
            waiting: list[Arrival | Wait] = [*self._arrivals, *self._waits]
            over = [w for w in waiting if w.patience is not None and now - w.since >= w.patience]
            left = len(waiting) - len(over)
            self._arrivals = [arrival for arrival in self._arrivals if arrival not in over]
            for wait in over:
                if isinstance(wait, Wait):
                    self._waits.pop(wait, None)
            wanted = not self._closed.is_set() and (left > 0 or self._embedded is not None)
            if not wanted:
                self._connecting = None
        for waiter in over:
            waiter.fail(self._absent(waiter.patience or 0.0, error))
        return wanted

    def _absent(self, waited: float, error: NotRunning | None = None) -> ConnectTimeout:
        error = error or self._refusal
        if error is None:
            pid = self.home.served()
            error = NotRunning(
                f"no supervisor serves {self.home.path}; start one with `understudy serve APP`"
                if pid is None
                else f"the supervisor of {self.home.path} (pid {pid or 'unknown'}) does not answer"
            )
        return ConnectTimeout(f"{error} (waited {waited:g} s)")

    def _open(self, timeout: float) -> Connection:
        connection = Connection(self.home, _weakly(self))
        connection.seen = self.seen
        with self._changing:
            if self._closed.is_set():
                raise NotRunning("this runtime was closed")
            self._opening = connection
        try:
            connection.open(timeout)
        finally:
            self._opening = None
        if connection.traces:
            # A start sees to that itself. A message or an event may come before the first one.
            is_on()
        return connection

    def _adopt(self, connection: Connection) -> None:
        with self._changing:
            self._connecting = self._refusal = None
            closed = self._closed.is_set()
            if not closed:
                try:
                    # Before the calls that find the connection: messages of one sender stay in their order.
                    for wait in list(self._waits):
                        wait.ask(connection)
                finally:
                    self._connection = connection
                self._keep_address(connection)
            arrivals, self._arrivals = self._arrivals, []
        if closed:
            connection.close()
            return
        for arrival in arrivals:
            arrival.set_result(connection)
        if connection.lost is not None:
            # It broke before it was the client's connection.
            self._lost(connection, connection.lost)

    def _keep_address(self, connection: Connection) -> None:
        """Let the next supervisor of ours listen at the same port, if this one has chosen it."""
        chosen = {
            name: urlsplit(url).netloc
            for name in ("web", "http")
            if self._embedded is not None
            and getattr(self._web, name)
            and (url := connection.facts.get(f"{name}_url"))
        }
        if chosen:
            self._web = replace(self._web, **chosen)

    def _fail(self, error: Exception) -> None:
        """End the connecting thread, and all that wait for it."""
        with self._changing:
            self._connecting = None
            failed: list[Arrival | Wait] = [*self._arrivals, *self._waits]
            self._arrivals = []
        for waiter in failed:
            waiter.fail(error)

    def _lost(self, connection: Connection, error: UnderstudyError) -> None:
        """A connection was lost (called in its reading thread): reconnect if there are waits."""
        if connection is not self._connection:
            return
        log.debug("%s", error)
        now = self.clock.monotonic()
        with self._changing:
            for wait in list(self._waits):
                wait.since = now
            if not self._closed.is_set() and (self._waits or self._embedded is not None):
                self._start_connecting()

    def _after_fork(self) -> None:
        """Reset in a fork of the runtime's process: supervisor and socket belong to the parent."""
        self._owner = False
        if self._embedded is not None:
            self._embedded.abandon()
            self._embedded = None
        self._waits, self._arrivals = {}, []
        # The threads of the parent do not exist here.
        self._changing = threading.RLock()
        closed, self._closed = self.closed, threading.Event()
        if closed:
            self._closed.set()
        self._connecting = None
        self.callbacks = Callbacks()
        for connection in (self._connection, self._opening):
            if connection is not None:
                connection.abandon()
        self._connection = self._opening = None

    # --- the supervisor of an owner ---

    def _embed_or_connect(self) -> None:
        """Connect in this thread; start a supervisor if none serves the home. Wait for one that is restarting."""
        deadline = self.clock.monotonic() + PATIENCE
        while True:
            try:
                self.connect_now()
                return
            except NotRunning as error:
                if self.home.served() is None:
                    self._embed()
                elif self.clock.monotonic() >= deadline:
                    raise self._absent(PATIENCE, error) from error
                else:
                    self._closed.wait(RETRY_EVERY)

    def _embed(self) -> None:
        if self._embedded is not None:
            self._embedded.kill()
            self._embedded = None
            self._count_death()
        try:
            self._embedded = ChildSupervisor(self.home, self._spec(), self._settings, self._web)
        except HomeInUse:
            # Another program was faster; its supervisor serves us too.
            log.info("another supervisor now serves %s", self.home.path)
        except SupervisorLost as error:
            log.warning("%s", error)
            self._count_death()

    def _count_death(self) -> None:
        if self._restarts.note(self.clock.monotonic()):
            raise NotRunning(
                f"the embedded supervisor died {len(self._restarts)} times within {self._restarts.within:g} s; "
                "see its output"
            )

    def _spec(self) -> AppSpec:
        if self._app is not None:
            return AppSpec.parse(self._app)
        modules = {module_name(task.body.__module__) for task in registry.values() if task.body is not None}
        return AppSpec.of_main(sorted(modules - {"__main__"}))


def _weakly(client: ReconnectingClient) -> Callable[[Connection, UnderstudyError], None]:
    """What a connection calls when it is lost. Its reading thread must not keep the client alive."""
    reference = weakref.ref(client)

    def lost(connection: Connection, error: UnderstudyError) -> None:
        alive = reference()
        if alive is not None:
            alive._lost(connection, error)

    return lost


#: The clients of this process; weak references, so that this set does not keep them alive.
_clients: weakref.WeakSet[ReconnectingClient] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
