"""InlineClient: a runtime's access to a supervisor in the same process, across that supervisor's crashes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

from ...actors.errors import SupervisorLost, UnderstudyError
from ..client import callbacks
from ..client.callbacks import Callbacks
from ..client.connection import Connection
from ..client.reconnecting import ReconnectingClient
from ..home import Home
from ..service.client_link import ClientLink
from ..settings import Settings
from ..wire.codec import VERSION, Decoder, encode
from ..wire.messages import Ask
from .inline_transport import InlineTransport, in_reads
from .virtual_clock import LoopClock
from .virtual_loop import VirtualLoop

if TYPE_CHECKING:
    from .driver import Driver
    from .world import World


class InlineConnection(Connection):
    """A `Connection` without a socket."""

    _link: ClientLink | None = None

    def __init__(
        self,
        client: InlineClient,
        world: World,
        on_lost: Callable[[Connection, UnderstudyError], None],
    ) -> None:
        super().__init__(client.home, on_lost)
        self._clock = client.clock
        self._loop = client.loop
        self._driver = client.driver
        self._world = world
        self._greeting: bytearray | None = None

    def open(self, timeout: float = 0.0) -> Self:
        """See `Connection`. It is open when this returns."""
        self._link = link = self._world.core.service.connection()
        self._greeting = greeting = bytearray()
        with self._driver.crashes.paused():
            link.connection_made(InlineTransport(self._deliver))
            link.data_received(encode((Ask.HELLO, VERSION)))
        (welcome,) = self._decoder.feed(bytes(greeting))
        self.facts = dict(welcome[2])
        self.value_limit = self.facts["settings"]["value_limit"]
        self._decoder = Decoder(self.value_limit)
        self._greeting = None
        self._world.connections.append(self)
        return self

    def _deliver(self, data: bytes) -> None:
        """Bytes of the supervisor: the answer to HELLO is read at once."""
        if self._greeting is not None:
            self._greeting += data
        else:
            self._driver.post(self._loop, self._feed, data)

    def _feed(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            self._take(frame)

    def _may_gather(self, size: int) -> bool:
        return False

    def _send(self, data: bytes) -> None:
        assert self._link is not None
        for part in in_reads(data):
            self._driver.post(self._world.loop, self._link.data_received, part)

    def hang_up(self) -> None:
        """See `Connection`."""
        link, self._link = self._link, None
        if link is not None:
            self._world.connections.remove(self)
            self._driver.post(self._world.loop, link.connection_lost, None)

    def close(self) -> None:
        """See `Connection`."""
        self._closing = True
        if self.lost is None:
            self._fail(SupervisorLost("the connection to the supervisor was closed"))

    def cut(self) -> None:
        """The supervisor is dead."""
        error = SupervisorLost(
            "the connection to the supervisor was lost (it has crashed); the call may or may not have taken effect"
        )
        self._fail(error)
        self._on_lost(self, error)


class InlineClient(ReconnectingClient):
    """A `ReconnectingClient` that connects at once, in the calling thread."""

    def __init__(
        self, driver: Driver, loop: VirtualLoop, home: Home, settings: Settings, world: Callable[[], World]
    ) -> None:
        """`world()` gives the supervisor that is alive, with its workers. Answers arrive on the `loop`."""
        self.driver = driver
        self.loop = loop
        self._world = world
        self.clock = LoopClock(driver, loop)
        super().__init__(home, settings, None, owner=False)
        self.callbacks = InlineCallbacks(driver, loop, self.clock)

    def connect_now(self) -> None:
        """See `ReconnectingClient`."""
        self._start_connecting()

    def _start_connecting(self) -> None:
        connection = InlineConnection(self, self._world(), self._lost)
        connection.seen = self.seen
        self._adopt(connection.open())


class InlineCallbacks(Callbacks):
    """Runs callbacks in a runner, one after another."""

    def __init__(self, driver: Driver, loop: VirtualLoop, clock: LoopClock) -> None:
        super().__init__()
        self.clock = clock
        self._driver = driver
        self._loop = loop
        self._due: deque[tuple[Callable[[Future[Any]], object], Future[Any]]] = deque()
        self._runs = False

    def run(self, callback: Callable[[Future[Any]], object], future: Future[Any]) -> None:
        """See `Callbacks`."""
        self._due.append((callback, future))
        if not self._runs:
            self._runs = True
            self._driver.post(self._loop, self._driver.relay.run, self._work)

    def _work(self) -> None:
        while self._due:
            callbacks.call(*self._due.popleft())
        self._runs = False
