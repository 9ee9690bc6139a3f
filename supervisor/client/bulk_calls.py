"""BulkCalls: the calls of a runtime that cancel or retry many tasks: bulks, which the supervisor works through.

The client finds the tasks and sends their ids. Nothing is touched before the supervisor has all of them on disk and has
been told to begin. So a client that is killed leaves nothing half done: all of it happens, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, cast

from ...actors.errors import BulkNotFound, InvalidOption, NotRunning, UnderstudyError
from ...actors.ids import id_text
from ...actors.state import TERMINAL, State
from ...actors.task.bulk_info import BulkAction, BulkInfo, BulkOutcome
from ...storage.query import Term, parse_some
from ...storage.reader import Reader
from ...storage.tables.bulk_rows import MOST_TASKS, OUTCOMES, PART, Bulk
from ...storage.tables.record import Record
from ...storage.tables.schema import ID_BYTES
from ..wire.messages import Ask
from .calls import DONE
from .deadline import Deadline
from .reconnecting import ReconnectingClient
from .searches import parameters_of
from .steps import Steps

PAGE: Final = 2_000
"""Tasks of one look at the store."""

#: Tasks in one request; whole parts.
SENT: Final = 40 * PART

UNENDED: Final = frozenset(State) - TERMINAL
#: States that a retry is for, unless the query names others.
FAILED: Final = frozenset((State.FAILED, State.TIMED_OUT))


@dataclass(slots=True)
class BulkPlan:
    """The tasks that a bulk is to touch, and its id: started twice, it is one bulk."""

    id: bytes
    action: BulkAction
    query: str
    packed: bytearray = field(default_factory=bytearray)
    """Their ids one behind the other: a list of a million would take seven times as much memory."""

    def __len__(self) -> int:
        """How many tasks."""
        return len(self.packed) // ID_BYTES

    def add(self, ids: Iterable[bytes]) -> None:
        """Add these. InvalidOption for too many."""
        self.packed += b"".join(ids)
        if len(self) > MOST_TASKS:
            raise InvalidOption(
                f"{MOST_TASKS:,} tasks can be cancelled or retried at once, and more fit: narrow the query"
            )

    def ids(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The ids from a place on to another one."""
        end = len(self) if stop is None else min(stop, len(self))
        return (bytes(self.packed[at * ID_BYTES : (at + 1) * ID_BYTES]) for at in range(start, end))

    def first(self, limit: int) -> list[str]:
        """The first ids as text."""
        return [id_text(id) for id in self.ids(0, limit)]


class BulkCalls:
    """The calls of one `ReconnectingClient`. It does not refer to the `Runtime`, as `Calls` does not."""

    def __init__(self, client: ReconnectingClient, reader: Reader) -> None:
        self._client = client
        self._reader = reader

    # --- all tasks that fit a query, as one call ---

    def where(
        self, deadline: Deadline, action: BulkAction, query: str, by: str, from_scratch: bool, dry_run: bool
    ) -> Steps[int]:
        """See `Runtime.cancel_where` and `Runtime.retry_where`."""
        plan = yield from self.plan(deadline, action, query)
        if dry_run or not plan:
            return len(plan)
        info = yield from self.start(deadline, plan, by, from_scratch)
        ended = yield from self.wait(deadline, info.id, plan.id)
        if ended.state == "failed":
            raise UnderstudyError(
                f"bulk {ended.id} has failed after {ended.done:,} of {ended.total:,} tasks: {ended.problem}"
            )
        return ended.changed

    # --- its parts ---

    def plan(
        self, deadline: Deadline, action: BulkAction, query: str, given: Iterable[bytes] | None = None
    ) -> Steps[BulkPlan]:
        """The tasks that it would touch now, newest first; or those that are given, each once. Raises InvalidQuery."""
        plan = BulkPlan(self._client.clock.new_id(), action, query)
        if given is not None:
            plan.add(dict.fromkeys(given))
            return plan
        for ids in self._matching(query, retry=action == "retry"):
            plan.add(ids)
            yield from self._turn(deadline)
        return plan

    def start(self, deadline: Deadline, plan: BulkPlan, by: str, from_scratch: bool) -> Steps[BulkInfo]:
        """Have the supervisor begin. The same plan again begins nothing anew."""
        client, id = self._client, plan.id
        yield from client.ask(deadline, Ask.BULK, id, "open", plan.action, plan.query, by, from_scratch)
        begun = False
        try:
            for at in range(0, len(plan), SENT):
                yield from client.ask(deadline, Ask.BULK, id, "add", at, [*plan.ids(at, at + SENT)])
            begun = True
            yield from client.ask(deadline, Ask.BULK, id, "begin")
        finally:
            if not begun:
                self._give_up(id)
        return self.read(id)

    def _give_up(self, id: bytes) -> None:
        """Have the supervisor forget a bulk that was not begun. It does so by itself after a while."""
        connection = self._client.connection
        if connection is not None:
            try:
                connection.request(Ask.BULK, id, "cancel").drop()
            except NotRunning:
                return  # it is closed

    def wait(self, deadline: Deadline, text: str, id: bytes) -> Steps[BulkInfo]:
        """See `Runtime.wait_bulk`."""
        while (info := self.read(id)).ended is None:
            if deadline.given:
                deadline.late = (
                    f"bulk {text} of {info.total:,} tasks has not ended within {deadline.seconds:g} s; it goes on: see "
                    "Runtime.wait_bulk and cancel_bulk"
                )
            # It is answered after a while in any case, so that the supervisor keeps nothing for those that have gone.
            yield from self._client.ask(deadline, Ask.BULK, id, "wait")
        return info

    def cancel(self, deadline: Deadline, id: bytes) -> Steps[bool]:
        """See `Runtime.cancel_bulk`."""
        return bool((yield from self._client.ask(deadline, Ask.BULK, id, "cancel")))

    # --- reading, directly from disk without the supervisor ---

    @property
    def _store(self) -> Reader:
        self._client.check_open()
        return self._reader

    def read(self, id: bytes) -> BulkInfo:
        """See `Runtime.bulk`."""
        found = self._store.bulk(id)
        if found is None:
            raise BulkNotFound(f"there is no bulk {id_text(id)}; it may have been pruned", id_text(id))
        return info_of(found)

    def listed(self, limit: int, before: bytes | None) -> list[BulkInfo]:
        """See `Runtime.bulks`."""
        return [info_of(each) for each in self._store.bulks(limit, before)]

    def outcomes(self, id: bytes, after: int, limit: int) -> Iterator[BulkOutcome]:
        """See `Runtime.bulk_outcomes`."""
        for task, outcome, new in self._store.bulk_tasks(id, after, limit):
            yield BulkOutcome(id_text(task), outcome, None if new is None else id_text(new))

    # --- what a query is for ---

    def _matching(self, query: str, *, retry: bool) -> Iterator[Iterable[bytes]]:
        """The tasks that a cancel or a retry of this query is for, newest first, page by page. Raises InvalidQuery."""
        terms = [*parse_some(query)]
        if not retry:
            yield from self._pages([*terms, _in(UNENDED)])
            return
        named = any(term.field == "state" and not term.exclude for term in terms)
        terms.append(_in(TERMINAL if named else FAILED))
        for page in self._pages(terms, retry=True):
            yield self._store.not_retried(page)

    def _pages(self, terms: Iterable[Term], *, retry: bool = False) -> Iterator[Iterable[bytes]]:
        """The ids of the tasks that fit, newest first. A page that takes too long is cut short."""
        terms = tuple(terms)
        now = self._client.clock.time()
        before: bytes | None = None
        while True:
            page = self._store.search(
                terms,
                limit=PAGE,
                before=before,
                now=now,
                names_of=parameters_of,
                also=_is_task if retry else None,
            )
            yield [record.id for record in page.records]
            before = page.last
            if before is None:
                return

    def _turn(self, deadline: Deadline) -> Steps[None]:
        """Between two pages: end the call if its time is over."""
        yield DONE
        if deadline.left() == 0:
            raise self._client.late(deadline)


def info_of(row: Bulk) -> BulkInfo:
    """A stored bulk as a BulkInfo."""
    return BulkInfo(
        id_text(row.id),
        cast("BulkAction", row.action),
        row.query,
        row.by,
        row.state,  # type: ignore[arg-type]  # one of those in the table, by the check of the row
        row.total,
        row.done,
        {name: count for name, count in zip(OUTCOMES, row.counts, strict=True) if count},
        row.created,
        row.ended,
        row.problem,
    )


def _in(states: frozenset[State]) -> Term:
    return Term("state", (), 1, states=states)


def _is_task(record: Record) -> bool:
    """An actor that has stopped cannot be retried."""
    return record.actor is None
