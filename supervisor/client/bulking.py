"""Bulking: the calls of a `Runtime` that cancel or retry many tasks, which the supervisor works through."""

from __future__ import annotations

import builtins
import getpass
from collections.abc import Iterable

from ...actors.checks import check_choice, check_flag, check_whole
from ...actors.errors import BulkNotFound, TaskNotFound
from ...actors.ids import id_text
from ...actors.task.bulk_info import BulkAction, BulkInfo, BulkOutcome
from ...actors.task.handles import IdLike, id_of
from .bulk_calls import BulkCalls, BulkPlan
from .deadline import Deadline
from .runtime_part import RuntimePart
from .steps import Steps


class Bulking(RuntimePart):
    """The part of a runtime that has many tasks cancelled or retried."""

    _bulks: BulkCalls

    def cancel_where(self, query: str, *, dry_run: bool = False, timeout: float | None = None) -> int:
        """Cancel the tasks that fit a query now and have not ended; returns how many were cancelled or asked to stop.

        With `dry_run` nothing is cancelled. The supervisor works through them, as after `start_bulk`, and this waits
        for the end: once it has begun, it goes on if this call or its process ends. Raises InvalidQuery, also for an
        empty query, and what `start_bulk` raises.
        """
        check_flag("dry_run", dry_run)
        deadline = self._deadline(timeout)
        steps = self._bulks.where(deadline, "cancel", query, local_user(), False, dry_run)
        return self._do(steps, deadline, long=True)

    def retry_where(
        self,
        query: str,
        *,
        from_scratch: bool = False,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> int:
        """Retry the ended tasks that fit a query now; returns how many it has retried. See `retry` and `cancel_where`.

        Without a term `state:` these are tasks that have failed or timed out. A task that another one retries already
        is left out.
        """
        check_flag("dry_run", dry_run)
        check_flag("from_scratch", from_scratch)
        deadline = self._deadline(timeout)
        steps = self._bulks.where(deadline, "retry", query, local_user(), from_scratch, dry_run)
        return self._do(steps, deadline, long=True)

    def bulk_ids(self, action: BulkAction, query: str, *, timeout: float | None = None) -> builtins.list[str]:
        """The tasks that `start_bulk` would touch now, newest first."""
        deadline = self._deadline(timeout)
        return self._do(_ids(self._bulks, deadline, _checked(action), query), deadline, long=True)

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
        InvalidQuery, AppFailed for a retry, StoreFull, and InvalidOption for more than 10,000,000 tasks, and if 1,000
        others are under way.
        """
        check_flag("from_scratch", from_scratch)
        deadline = self._deadline(timeout)
        given = None if ids is None else [id_of(id) for id in ids]
        steps = _start(
            self._bulks, deadline, _checked(action), query, given, by or local_user(), from_scratch
        )
        return self._do(steps, deadline, long=True)

    def plan_bulk(self, action: BulkAction, query: str, *, timeout: float | None = None) -> BulkPlan:
        """The tasks that a bulk would touch now: a dry run that `start_plan` can carry out. Raises InvalidQuery."""
        deadline = self._deadline(timeout)
        return self._do(self._bulks.plan(deadline, _checked(action), query), deadline, long=True)

    def start_plan(
        self, plan: BulkPlan, *, from_scratch: bool = False, by: str = "", timeout: float | None = None
    ) -> BulkInfo:
        """As `start_bulk`, for exactly the tasks of a plan. The same plan again begins nothing anew."""
        deadline = self._deadline(timeout)
        steps = self._bulks.start(deadline, plan, by or local_user(), from_scratch)
        return self._do(steps, deadline, long=True)

    def bulk(self, id: str) -> BulkInfo:
        """How far it is. Read from disk. Raises BulkNotFound."""
        return self._bulks.read(bulk_id(id))

    def bulks(self, *, limit: int = 100, before: str | None = None) -> builtins.list[BulkInfo]:
        """Bulks, the newest first. For the next page, pass the id of the last one as `before`. Read from disk."""
        check_whole("limit", limit, 1)
        return self._bulks.listed(limit, None if before is None else bulk_id(before))

    def bulk_outcomes(self, id: str, *, after: int = 0, limit: int = 100) -> builtins.list[BulkOutcome]:
        """What became of each task, in their order, from the number `after` on. Read from disk."""
        check_whole("after", after, 0)
        check_whole("limit", limit, 1)
        return [*self._bulks.outcomes(bulk_id(id), after, limit)]

    def cancel_bulk(self, id: str, *, timeout: float | None = None) -> bool:
        """Let it touch no further task. False if it had ended. Raises BulkNotFound."""
        deadline = self._deadline(timeout)
        return self._do(self._bulks.cancel(deadline, bulk_id(id)), deadline)

    def wait_bulk(self, id: str, timeout: float | None = None) -> BulkInfo:
        """Wait until it has ended. Raises BulkNotFound, TimeoutError, and AppFailed if a retry waits for the app."""
        deadline, key = self._deadline(timeout), bulk_id(id)
        return self._do(self._bulks.wait(deadline, id_text(key), key), deadline, long=True)


def bulk_id(id: str) -> bytes:
    """The bytes of a bulk's id. BulkNotFound for a text that is no id."""
    try:
        return id_of(id)
    except TaskNotFound as error:
        raise BulkNotFound(f"there is no bulk {id!r:.80}", str(id)) from error


def _checked(action: BulkAction) -> BulkAction:
    check_choice("action", action, ["cancel", "retry"])
    return action


def local_user() -> str:
    """Who is named for what a program on this host asks for."""
    try:
        return f"local user {getpass.getuser()}"
    except (OSError, KeyError):
        return "local user"  # without a name


def _ids(bulks: BulkCalls, deadline: Deadline, action: BulkAction, query: str) -> Steps[builtins.list[str]]:
    plan = yield from bulks.plan(deadline, action, query)
    return [id_text(id) for id in plan.ids()]


def _start(
    bulks: BulkCalls,
    deadline: Deadline,
    action: BulkAction,
    query: str,
    given: builtins.list[bytes] | None,
    by: str,
    from_scratch: bool,
) -> Steps[BulkInfo]:
    plan = yield from bulks.plan(deadline, action, query, given)
    return (yield from bulks.start(deadline, plan, by, from_scratch))
