"""HttpCalls: the calls of the process that serves HTTP: what the app handles, and the runs of its handlers."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...actors import values
from ...actors.http.declaration import HttpTrigger
from ...actors.http.request import Request
from ...actors.task.trigger import HTTP
from ...actors.tracing.traceparent import is_traceparent
from ..wire.messages import Ask
from .deadline import NO_DEADLINE, Deadline
from .reconnecting import ReconnectingClient
from .results import Results
from .steps import Steps
from .wait import EndsWait


class Handled(NamedTuple):
    """An HTTP request that the app handles."""

    task: str
    trigger: HttpTrigger


class HttpRun(NamedTuple):
    """A run that an HTTP request has triggered."""

    id: bytes
    repeated: bool
    """Whether it was there: an earlier request had the same delivery."""


class HttpCalls:
    """The calls of one `ReconnectingClient`. Like `Calls`, it does not refer to the `Runtime`."""

    def __init__(self, client: ReconnectingClient, ends: Results) -> None:
        self._client = client
        self._ends = ends

    def triggers(self, deadline: Deadline) -> Steps[list[Handled]]:
        """The HTTP requests that the app's tasks handle."""
        rows = yield from self._client.ask(deadline, Ask.TRIGGERS)
        return [Handled(task, HttpTrigger.unpack(packed)) for task, packed in rows]

    def start(
        self, deadline: Deadline, handled: Handled, request: Request, delivery: str | None = None
    ) -> Steps[HttpRun]:
        """Start the run of a request; returns when it is on disk. The same delivery gives the same run.

        Raises TriggerChanged if the app has another declaration by now, ValueTooLarge, StoreFull, AppFailed.
        """
        row, http = yield from self._row_of(deadline, handled, request, delivery)
        there = yield from self._client.ask(deadline, Ask.START, [row], HTTP, http)
        return _run_of(row, there)

    def start_and_wait(
        self, deadline: Deadline, handled: Handled, request: Request, delivery: str | None = None
    ) -> Steps[tuple[HttpRun, EndsWait]]:
        """As `start`, with a wait for the run's end that has begun: `forget` it when it is over."""
        row, http = yield from self._row_of(deadline, handled, request, delivery)
        id = row[0]
        started = yield from self._client.request(deadline, Ask.START, [row], HTTP, http)
        # START and WAIT go together, so that no further request is needed for the end.
        wait = self._ends.begin([id], NO_DEADLINE)
        try:
            there = yield from self._client.ask(deadline, Ask.START, [row], HTTP, http, reply=started)
        except BaseException:
            self.forget(wait)
            raise
        finally:
            started.drop()
        run = _run_of(row, there)
        if run.repeated or (wait.future.done() and wait.future.exception() is not None):
            # The id is another's, or the supervisor went away between START and WAIT.
            self.forget(wait)
            wait = self._ends.begin([run.id], NO_DEADLINE)
        return run, wait

    def forget(self, wait: EndsWait) -> None:
        """Wait no longer."""
        self._client.forget(wait)

    def _row_of(
        self, deadline: Deadline, handled: Handled, request: Request, delivery: str | None
    ) -> Steps[tuple[Any, Any]]:
        trigger = handled.trigger
        connection = yield from self._client.connected(deadline)
        packed = values.pack([[request], {}], "the request", connection.value_limit)
        id = self._client.clock.new_id()
        key = None if delivery is None else f"{trigger.method} {trigger.path} {delivery}"
        http = trigger.method, trigger.path, trigger.digest, delivery
        trace = request.headers.get("traceparent")
        changes = {"trace": trace} if is_traceparent(trace) else None
        return (id, handled.task, packed, changes, key, None, id, None), http


def _run_of(row: Any, there: Any) -> HttpRun:
    id = row[0] if there is None else there[0]
    return HttpRun(id, id != row[0])
