"""Bulk: cancels and retries of all tasks that fit a query, page by page.

Each page is one read of the store and a commit. A call that is ended half way has done some of its pages; the same call
again goes on with the others: tasks that were cancelled do not fit any more, and neither do tasks that were retried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from ...actors.errors import TaskNotFound
from ...actors.state import TERMINAL, State
from ...storage.query import Term, parse_some
from ...storage.reader import Reader
from ...storage.tables.record import Record
from ..wire.messages import Ask
from .calls import DONE
from .connection import Reply
from .deadline import Deadline
from .reconnecting import ReconnectingClient
from .searches import parameters_of
from .steps import Steps

PAGE: Final = 500
"""Tasks of one page."""

UNENDED: Final = frozenset(State) - TERMINAL
#: States that a retry is for, unless the query names others.
FAILED: Final = frozenset((State.FAILED, State.TIMED_OUT))


Request = tuple[Ask, *tuple[Any, ...]]
"""The fields of a request."""


class Bulk:
    """The calls for many tasks of one `ReconnectingClient`."""

    def __init__(self, client: ReconnectingClient, reader: Reader) -> None:
        self._client = client
        self._reader = reader

    def cancel(self, deadline: Deadline, query: str, dry_run: bool) -> Steps[int]:
        """See `Runtime.cancel_where`."""
        done = 0
        for ids in self.matching(query, retry=False):
            if dry_run:
                done += len(ids)
            else:
                done += yield from self._ask_all(deadline, [(Ask.CANCEL, id) for id in ids])
            yield from self.turn(deadline)
        return done

    def retry(self, deadline: Deadline, query: str, from_scratch: bool, dry_run: bool) -> Steps[int]:
        """See `Runtime.retry_where`."""
        done = 0
        for ids in self.matching(query, retry=True):
            if dry_run:
                done += len(ids)
            else:
                new_id = self._client.clock.new_id
                asks: list[Request] = [(Ask.RETRY, id, new_id(), from_scratch, True) for id in ids]
                done += yield from self._ask_all(deadline, asks)
            yield from self.turn(deadline)
        return done

    def matching(self, query: str, *, retry: bool) -> Iterator[list[bytes]]:
        """The tasks that a cancel or a retry of this query is for, newest first, page by page. Raises InvalidQuery."""
        terms = list(parse_some(query))
        if not retry:
            yield from self._pages([*terms, _in(UNENDED)])
            return
        named = any(term.field == "state" and not term.exclude for term in terms)
        terms.append(_in(TERMINAL if named else FAILED))
        for page in self._pages(terms, retry=True):
            yield self._reader.not_retried(page)

    def _pages(self, terms: Iterable[Term], *, retry: bool = False) -> Iterator[list[bytes]]:
        """The ids of the tasks that fit, newest first. A page that takes too long is cut short."""
        terms = tuple(terms)
        before: bytes | None = None
        while True:
            # Checked each time, because the runtime may be closed meanwhile.
            self._client.check_open()
            page = self._reader.search(
                terms,
                limit=PAGE,
                before=before,
                now=self._client.clock.time(),
                names_of=parameters_of,
                also=_is_task if retry else None,
            )
            yield [record.id for record in page.records]
            before = page.last
            if before is None:
                return

    def _ask_all(self, deadline: Deadline, asks: Iterable[Request]) -> Steps[int]:
        """Send these requests at once; how many of them have changed something."""
        pending: list[tuple[Request, Reply]] = []
        done = 0
        try:
            for ask in asks:
                reply = yield from self._client.request(deadline, *ask)
                pending.append((ask, reply))
            for (op, *fields), reply in pending:
                try:
                    done += bool((yield from self._client.ask(deadline, op, *fields, reply=reply)))
                except TaskNotFound:
                    continue  # pruned meanwhile
        finally:
            for _, reply in pending:
                reply.drop()
        return done

    def turn(self, deadline: Deadline) -> Steps[None]:
        """Between two pages: end the call if its time is over."""
        yield DONE
        if deadline.left() == 0:
            raise self._client.late(deadline)


def _in(states: frozenset[State]) -> Term:
    return Term("state", (), 1, states=states)


def _is_task(record: Record) -> bool:
    """An actor that has stopped cannot be retried."""
    return record.actor is None
