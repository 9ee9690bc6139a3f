"""`AsyncTurnActor`: the turn of an actor with async methods, on the event loop of its worker."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Any, NoReturn

from ..task.declaration import Task
from .aside import Asides, AsyncAside, letter_aside
from .async_actor import AsyncTaskActor
from .host import Assignment, Host, Outcome
from .resident import Resident, driven_async
from .turn import TurnActor


class AsyncTurnActor(TurnActor, AsyncTaskActor):
    """Runs a turn of an actor with async methods; `_actor_loop` must be called on the event loop's thread."""

    def __init__(
        self,
        assignment: Assignment,
        task: Task[..., Any],
        host: Host,
        resident: Resident | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        TurnActor.__init__(self, assignment, task, host, resident)
        self.loop = loop

    _long = False

    def _called(self) -> Any:
        return driven_async(self._play())

    def _completed(self, value: Any) -> Outcome:
        outcome: Outcome = value
        return outcome

    def _broken_off(self, error: BaseException) -> Outcome:
        return self._lost(error)

    def _finish(self, outcome: Outcome) -> None:
        super()._finish(outcome)
        # After the other callbacks of this round: their turns may end, too.
        self.loop.call_soon(self.host.flush)

    def _stop_consumed(self) -> None:
        if self._coroutine is not None:
            self._coroutine.uncancel()

    def takes_long(self) -> bool:
        """See the sync one. The method is suspended in an `await` once the loop gets to run something else."""
        if not super().takes_long():
            return False
        try:
            self.loop.call_soon_threadsafe(self._suspended)
        except RuntimeError:
            pass  # the loop is closed
        return True

    def _suspended(self) -> None:
        if not self.over:
            self._long = self.waits = True
            self.host.suspended(self)
            if self.asides is not None:
                self.asides.look()

    def goes_on(self) -> None:
        """A wait has ended; after a while any `await` counts as one."""
        super().goes_on()
        if self._long:
            self._suspended()

    def run_beside(self, asides: Asides, runner: object) -> None:
        """See the sync one."""
        self.loop.call_soon_threadsafe(self._run_asides, asides, runner)

    def _run_asides(self, asides: Asides, runner: object) -> None:
        while (data := asides.take(runner)) is not None:
            letter = letter_aside(data, self)
            if letter is not None:
                task = self.loop.create_task(
                    AsyncAside(self, letter, self.loop).perform(asides), context=Context()
                )
                asides.keep(task)

    async def receive_async(self, timeout: float | None = None, shield: bool = False) -> NoReturn:
        """Refused."""
        self.receive()

    async def checkpoint_async(
        self, value: Any, send: Any = (), publish: Any = (), emit: Any = ()
    ) -> NoReturn:
        """Refused."""
        self.checkpoint(value)

    async def restore_async(self) -> NoReturn:
        """Refused."""
        self.restore()
