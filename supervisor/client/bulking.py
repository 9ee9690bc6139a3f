"""Bulking: the calls of a `Runtime` about cancels and retries of many tasks that the supervisor works through."""

from __future__ import annotations

import builtins
import getpass
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Final, cast

from ...actors.checks import check_choice, check_flag, check_whole
from ...actors.errors import InvalidOption
from ...actors.ids import id_text
from ...actors.task.bulk_info import BulkAction, BulkInfo, BulkOutcome
from ...actors.task.handles import IdLike, id_of
from ...storage.reader import Reader
from ...storage.tables.bulk_rows import OUTCOMES, PART
from ...storage.tables.bulk_rows import Bulk as BulkRow
from ..wire.messages import Ask
from .bulk import Bulk
from .deadline import Deadline
from .reconnecting import ReconnectingClient
from .runtime_part import RuntimePart
from .steps import Steps

#: Tasks in one request; whole parts.
_SENT: Final = 40 * PART
#: Seconds between two looks at the store while a program waits, at first and at most.
SHORTEST_LOOK: Final = 0.002
LONGEST_LOOK: Final = 0.1


class Bulking(RuntimePart):
    """The part of a runtime that has many tasks cancelled or retried."""

    _reader: Reader
    _bulk: Bulk

    def bulk_ids(self, action: BulkAction, query: str, *, timeout: float | None = None) -> builtins.list[str]:
        """The tasks that `start_bulk` would touch now, newest first."""
        deadline = self._deadline(timeout)
        found = self._do(_matching(self._bulk, deadline, _checked(action), query), deadline, long=True)
        return [id_text(id) for id in found]

    def start_bulk(
        self,
        action: BulkAction,
        query: str = "",
        *,
        ids: Iterable[IdLike] | None = None,
        from_scratch: bool = False,
        by: str = "",
        timeout: float | None = None,
    ) -> BulkInfo:
        """Have all tasks cancelled or retried that fit a query now, or those with these ids. It is on disk then.

        The supervisor works through them, over restarts, too. `by` is who is named for it in the audit. Raises
        InvalidQuery, and InvalidOption for more than 1,000,000 tasks and if 20 of them are under way.
        """
        check_flag("from_scratch", from_scratch)
        deadline = self._deadline(timeout)
        given = None if ids is None else [id_of(id) for id in ids]
        steps = _start(
            self._client,
            self._bulk,
            deadline,
            _checked(action),
            query,
            given,
            from_scratch,
            by or _user(),
            self._reader,
        )
        return self._do(steps, deadline, long=True)

    def bulk(self, id: str) -> BulkInfo:
        """How far it is. Read from disk. Raises InvalidOption if there is none with this id."""
        found = self._reader.bulk(id_of(id))
        if found is None:
            raise InvalidOption(f"there is no bulk {id}; the last 50 that have ended are kept")
        return _info(found)

    def bulks(self) -> builtins.list[BulkInfo]:
        """All of them, the newest first. Read from disk."""
        return [_info(each) for each in self._reader.bulks()]

    def bulk_outcomes(self, id: str, *, after: int = 0, limit: int = 100) -> builtins.list[BulkOutcome]:
        """What became of each task, in their order, from the number `after` on. Read from disk."""
        check_whole("after", after, 0)
        check_whole("limit", limit, 1)
        return [
            BulkOutcome(id_text(task), outcome, None if new is None else id_text(new))
            for task, outcome, new in self._reader.bulk_tasks(id_of(id), after, limit)
        ]

    def cancel_bulk(self, id: str, *, timeout: float | None = None) -> bool:
        """Let it touch no further task. False if it had ended."""
        deadline = self._deadline(timeout)
        return self._do(_cancel(self._client, deadline, id_of(id)), deadline)

    def wait_bulk(self, id: str, timeout: float | None = None) -> BulkInfo:
        """Wait until it has ended. TimeoutError after `timeout` seconds."""
        deadline = self._deadline(timeout)
        pause = SHORTEST_LOOK
        while (info := self.bulk(id)).ended is None:
            left = deadline.left()
            if left is not None and left <= 0:
                raise TimeoutError(f"bulk {id} has done {info.done:,} of {info.total:,} after {timeout:g} s")
            self._client.clock.wait(Future(), pause if left is None else min(pause, left))
            pause = min(2 * pause, LONGEST_LOOK)
        return info


def _checked(action: BulkAction) -> BulkAction:
    check_choice("action", action, ["cancel", "retry"])
    return action


def _user() -> str:
    try:
        return f"local user {getpass.getuser()}"
    except (OSError, KeyError):
        return "local user"  # without a name


def _matching(bulk: Bulk, deadline: Deadline, action: BulkAction, query: str) -> Steps[list[bytes]]:
    found: list[bytes] = []
    for ids in bulk.matching(query, retry=action == "retry"):
        found += ids
        yield from bulk.turn(deadline)
    return found


def _start(
    client: ReconnectingClient,
    bulk: Bulk,
    deadline: Deadline,
    action: BulkAction,
    query: str,
    given: list[bytes] | None,
    from_scratch: bool,
    by: str,
    reader: Reader,
) -> Steps[BulkInfo]:
    ids = given
    if ids is None:
        ids = yield from _matching(bulk, deadline, action, query)
    id = client.clock.new_id()
    yield from client.ask(deadline, Ask.BULK, id, "open", action, query, by, from_scratch)
    for at in range(0, len(ids), _SENT):
        yield from client.ask(deadline, Ask.BULK, id, "add", at, ids[at : at + _SENT])
    yield from client.ask(deadline, Ask.BULK, id, "begin")
    row = reader.bulk(id)
    assert row is not None
    return _info(row)


def _cancel(client: ReconnectingClient, deadline: Deadline, id: bytes) -> Steps[bool]:
    return bool((yield from client.ask(deadline, Ask.BULK, id, "cancel")))


def _info(row: BulkRow) -> BulkInfo:
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
