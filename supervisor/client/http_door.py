"""HttpDoor: the calls of `HttpCalls` for the event loop of the process that serves HTTP."""

from __future__ import annotations

from ...actors.http.request import Request
from .async_runtime import AsyncRuntime
from .http_calls import Handled, HttpCalls, HttpRun
from .steps import finish_async, is_done_async
from .wait import EndsWait, Row


class HttpDoor:
    """Starts runs for HTTP requests by an `AsyncRuntime`, and waits for their ends."""

    def __init__(self, runtime: AsyncRuntime, *, patience: float) -> None:
        """`patience`: seconds that a call may take, also while no supervisor is there."""
        self._runtime = runtime
        self._patience = patience

    async def triggers(self) -> list[Handled]:
        """The HTTP requests that the app's tasks handle."""
        sync = self._runtime.sync
        deadline = sync._deadline(self._patience)
        return await finish_async(self._calls.triggers(deadline), deadline, sync._client.late)

    async def start(self, handled: Handled, request: Request, delivery: str | None) -> HttpRun:
        """See `HttpCalls.start`."""
        sync = self._runtime.sync
        deadline = sync._deadline(self._patience)
        steps = self._calls.start(deadline, handled, request, delivery)
        return await finish_async(steps, deadline, sync._client.late)

    async def start_and_wait(
        self, handled: Handled, request: Request, delivery: str | None
    ) -> tuple[HttpRun, EndsWait]:
        """See `HttpCalls.start_and_wait`."""
        sync = self._runtime.sync
        deadline = sync._deadline(self._patience)
        steps = self._calls.start_and_wait(deadline, handled, request, delivery)
        return await finish_async(steps, deadline, sync._client.late)

    async def end(self, run: HttpRun, wait: EndsWait, seconds: float) -> Row | None:
        """The end of the run; None if it has not come in time. The wait is over then."""
        try:
            if not await is_done_async(wait.future, seconds):
                return None
            wait.future.result()
            return wait.rows[run.id]
        finally:
            self._calls.forget(wait)

    @property
    def _calls(self) -> HttpCalls:
        sync = self._runtime.sync
        return HttpCalls(sync._client, sync._ends)
