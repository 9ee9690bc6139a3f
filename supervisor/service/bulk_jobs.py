"""BulkJobs: cancels and retries of many tasks, worked through in small pieces.

The tasks are on disk before the first one is touched. What became of the tasks of a piece is in the commit that changes
them, so a supervisor that follows a killed one goes on behind it and does nothing twice. Only heads of those that have
not ended are in memory.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import os
from collections.abc import Callable, Coroutine, Sequence
from math import inf
from typing import Any, Final

from ...actors.access import AuditEntry
from ...actors.errors import (
    AppFailed,
    BulkNotFound,
    InvalidOption,
    StoreFull,
    TaskNotFound,
    UnderstudyError,
)
from ...actors.ids import id_text
from ...actors.task.options import KEEP_DEFAULT
from ...storage.tables import access_rows
from ...storage.tables.bulk_rows import (
    MOST_TASKS,
    OUTCOMES,
    PART,
    Bulk,
    all_heads,
    ends_key,
    head_key,
    oldest_ended,
    pack_ends,
    remove_some,
    tasks_key,
    unpack_ends,
    unpack_head,
    unpack_tasks,
)
from ...storage.tables.schema import Table
from ..execution.attempts import Attempts
from ..execution.worker_pool import WorkerPool
from ..tasks.access import Access
from ..tasks.commit_loop import CommitLoop
from ..tasks.mailboxes import Mailboxes
from ..tasks.task_table import TaskTable
from ..wire.checks import checked_id
from .admission import Admission

log = logging.getLogger("understudy")

#: Bulks that have not ended, and those that are kept after their end: at most for the time for which tasks are kept.
MOST_AT_ONCE: Final = 1_000
KEPT: Final = 10_000
#: Seconds after the last request about one that was opened and not begun, after which it is forgotten.
ABANDONED: Final = 600.0
#: Seconds until it is tried again when the disk is full.
FULL_AGAIN: Final = 1.0
#: Bytes in one commit after which it gets no further task. Arguments, checkpoints and messages of a retry are copied.
PIECE_BYTES: Final = 8 * 1024 * 1024
#: Rows that one step of removing an old one deletes.
REMOVED: Final = 200
#: Seconds after which a request that waits for an end is answered in any case.
WAITED: Final = 10.0
#: Characters of a query and of a name that are kept.
_TEXT: Final = 2_000

_CODE: Final = {name: code for code, name in enumerate(OUTCOMES)}


class BulkJobs:
    """They take turns, one piece each: a short one does not wait for the end of a long one."""

    def __init__(
        self,
        commits: CommitLoop,
        table: TaskTable,
        attempts: Attempts,
        admission: Admission,
        mailboxes: Mailboxes,
        access: Access,
        pool: WorkerPool,
        begin: Callable[[Coroutine[Any, Any, None]], None],
        turn: Callable[[], None],
    ) -> None:
        """`begin` starts work that ends with the service."""
        self._commits = commits
        self._table = table
        self._attempts = attempts
        self._admission = admission
        self._mailboxes = mailboxes
        self._access = access
        self._pool = pool
        self._begin_work = begin
        self._turn = turn
        self._works = False
        #: Those that have not ended, in the order of their turns.
        self._bulks: dict[bytes, Bulk] = {}
        #: When those that have not begun were last asked for.
        self._asked: dict[bytes, float] = {}
        #: Those that were given up before they began, whose rows are still there.
        self._given_up: list[bytes] = []
        #: How many have rows.
        self._kept = 0
        self._pruning = asyncio.Lock()
        #: What waits for ends.
        self._waiting: dict[bytes, list[asyncio.Future[None]]] = {}

    def recover(self) -> None:
        """At boot: go on with those that were under way."""
        for key, row in self._commits.scan(Table.META, *all_heads()):
            self._kept += 1
            try:
                bulk = unpack_head(key, row)
            except ValueError:
                log.exception("a bulk is damaged and is left alone")
                continue
            if bulk.ended is None:
                self._bulks[bulk.id] = bulk
                if bulk.state == "open":
                    # Its client goes on, if it is there.
                    self._asked[bulk.id] = self._commits.clock.monotonic()
            elif bulk.state == "open":
                self._given_up.append(bulk.id)
        self._work()
        if not self._pool.app_ready.is_set():
            self._begin_work(self._once_loaded())

    async def _once_loaded(self) -> None:
        await self._pool.app_ready.wait()
        self._work()

    def act(self, id: Any, what: Any, *args: Any) -> Any:
        """Carry out a request. Raises InvalidOption, BulkNotFound, StoreFull, AppFailed."""
        actions: dict[str, Callable[..., Any]] = {
            "open": self._open,
            "add": self._add,
            "begin": self._begin,
            "cancel": self._cancel,
        }
        if what not in actions:
            raise InvalidOption(f"no action on a bulk is called {what!r:.40}")
        return actions[what](checked_id(id), *args)

    # --- requests ---

    def _open(self, id: bytes, action: Any, query: Any, by: Any, from_scratch: Any) -> None:
        if action not in ("cancel", "retry") or type(query) is not str or type(by) is not str:
            raise ValueError("not the fields of a bulk")
        self._forget_abandoned()
        if id in self._bulks or self._stored(id) is not None:
            return  # the same request again, because its answer was lost
        if len(self._bulks) >= MOST_AT_ONCE:
            raise InvalidOption(
                f"{MOST_AT_ONCE:,} cancels and retries of many tasks are under way: wait until one has ended"
            )
        self._commits.refuse_when_full()
        bulk = Bulk(id, action, query[:_TEXT], by[:_TEXT], bool(from_scratch), self._commits.clock.time())
        self._bulks[id] = bulk
        self._kept += 1
        self._asked[id] = self._commits.clock.monotonic()
        self._save(bulk)

    def _add(self, id: bytes, at: Any, ids: Any) -> None:
        bulk = self._known(id)
        if type(at) is not int or at % PART:
            raise ValueError("the tasks of a bulk come in whole parts")
        if bulk.state != "open" or at < bulk.total:
            return  # the same request again
        if at != bulk.total:
            raise ValueError("a part of a bulk is absent")
        if at + len(ids) > MOST_TASKS:
            raise InvalidOption(f"one call touches up to {MOST_TASKS:,} tasks: narrow the query")
        self._commits.refuse_when_full()
        for start in range(0, len(ids), PART):
            part: Sequence[Any] = ids[start : start + PART]
            row = b"".join(checked_id(each) for each in part)
            self._commits.put(Table.META, tasks_key(id, (at + start) // PART), row)
        bulk.total += len(ids)
        self._asked[id] = self._commits.clock.monotonic()
        self._save(bulk)

    def _begin(self, id: bytes) -> None:
        bulk = self._known(id)
        if bulk.state == "open":
            if bulk.action == "retry":
                self._check_app()
            self._asked.pop(id, None)
            bulk.state = "running"
            self._save(bulk)
            self._work()

    def _cancel(self, id: bytes) -> bool:
        bulk = self._known(id)
        if bulk.ended is not None:
            return False
        if bulk.state == "open":
            self._give_up(bulk)
        else:
            self._end(bulk, "cancelled")
        return True

    async def ended(self, id: bytes) -> None:
        """Wait until it has ended, but not for long. Raises BulkNotFound; AppFailed if it cannot go on."""
        bulk = self._known(id)
        if bulk.ended is None:
            if bulk.action == "retry":
                self._check_app()
            future = asyncio.get_running_loop().create_future()
            waiting = self._waiting.setdefault(id, [])
            waiting.append(future)
            try:
                await asyncio.wait([future], timeout=WAITED)
                if future.done():
                    future.result()
            finally:
                waiting.remove(future)
                if not waiting and self._waiting.get(id) is waiting:
                    del self._waiting[id]
        await self._commits.settled()

    def app_failed(self, error: AppFailed) -> None:
        """Retries go on with another app. Nothing waits for that."""
        for id, futures in self._waiting.items():
            bulk = self._bulks.get(id)
            for future in futures:
                if bulk is not None and bulk.action == "retry" and not future.done():
                    future.set_exception(copy.copy(error))

    def _check_app(self) -> None:
        if self._pool.app_error is not None:
            raise copy.copy(self._pool.app_error)

    def _stored(self, id: bytes) -> Bulk | None:
        """One that has ended, if it is kept."""
        row = self._commits.get(Table.META, head_key(id))
        return None if row is None else unpack_head(head_key(id), row)

    def _known(self, id: bytes) -> Bulk:
        bulk = self._bulks.get(id) or self._stored(id)
        if bulk is None or (bulk.state == "open" and bulk.ended is not None):
            raise BulkNotFound(
                f"there is no bulk {id_text(id)}: it was pruned, or never begun and then forgotten",
                id_text(id),
            )
        return bulk

    def _save(self, bulk: Bulk) -> None:
        self._commits.put(Table.META, head_key(bulk.id), bulk.pack())
        self._turn()

    def _end(self, bulk: Bulk, state: str) -> None:
        bulk.state, bulk.ended = state, self._commits.clock.time()
        self._bulks.pop(bulk.id, None)
        self._save(bulk)
        counts = [f"{count} {name}" for name, count in zip(OUTCOMES, bulk.counts, strict=True) if count]
        entry = AuditEntry(
            bulk.ended,
            bulk.by or "local user",
            "",
            "run",
            f"bulk {bulk.action} {bulk.query or 'of given tasks'} ({id_text(bulk.id)})",
            f"{state}: {', '.join(counts) or 'nothing'} of {bulk.total}",
            "",
        )
        mark = access_rows.audit_mark(entry.time, os.urandom(4))
        self._access.record([(mark, access_rows.fields_of(entry))])
        for future in self._waiting.get(bulk.id, ()):
            if not future.done():
                future.set_result(None)

    def _give_up(self, bulk: Bulk) -> None:
        """It was never begun: nothing is told of it."""
        bulk.ended = self._commits.clock.time()
        self._asked.pop(bulk.id, None)
        self._bulks.pop(bulk.id, None)
        self._given_up.append(bulk.id)
        self._save(bulk)

    def _forget_abandoned(self) -> None:
        now = self._commits.clock.monotonic()
        for id in [id for id, asked in self._asked.items() if now - asked > ABANDONED]:
            self._give_up(self._bulks[id])

    # --- work ---

    def _work(self) -> None:
        if not self._works and self._next() is not None:
            self._works = True
            self._begin_work(self._work_on())

    async def _work_on(self) -> None:
        try:
            while (bulk := self._next()) is not None:
                await self._advance(bulk)
        finally:
            self._works = False

    def _next(self) -> Bulk | None:
        """The one whose turn it is. A cancel needs no app."""
        has_app = self._pool.app_ready.is_set() and self._pool.app_error is None
        return next(
            (
                each
                for each in self._bulks.values()
                if each.state == "running" and (has_app or each.action == "cancel")
            ),
            None,
        )

    async def _advance(self, bulk: Bulk) -> None:
        """Work on one piece, and wait until it is on disk: the requests of others come in between."""
        self._bulks[bulk.id] = self._bulks.pop(bulk.id)
        try:
            if bulk.done < bulk.total:
                self._piece(bulk)
            if bulk.done >= bulk.total:
                self._end(bulk, "completed")
        except StoreFull:
            await asyncio.sleep(FULL_AGAIN)
        except Exception as error:
            log.exception("a bulk cannot go on and has ended")
            bulk.problem = repr(error)[:_TEXT]
            self._end(bulk, "failed")
        self._turn()
        await self._commits.settled()

    def _piece(self, bulk: Bulk) -> None:
        """Deal with the rest of a part, or with so many tasks of it as fit into one commit."""
        self._commits.refuse_when_full()
        part, at = divmod(bulk.done, PART)
        row = self._commits.get(Table.META, tasks_key(bulk.id, part))
        if row is None:
            raise ValueError(f"part {part} is absent")
        ends = self._ends(bulk.id, part)
        if len(ends) != at:
            raise ValueError(f"part {part} has {len(ends)} outcomes, not {at}")
        act = self._cancel_one if bulk.action == "cancel" else self._retry_one
        for id in unpack_tasks(row)[at:]:
            end = self._dealt_with(bulk, act, id)
            ends.append(end)
            bulk.counts[end[0]] += 1
            bulk.done += 1
            if self._commits.store.batch.size > PIECE_BYTES:
                break
        self._commits.put(Table.META, ends_key(bulk.id, part), pack_ends(ends))
        self._save(bulk)

    def _ends(self, id: bytes, part: int) -> list[tuple[int, bytes | None]]:
        row = self._commits.get(Table.META, ends_key(id, part))
        return [] if row is None else [(_CODE[name], new) for name, new in unpack_ends(row)]

    def _dealt_with(
        self, bulk: Bulk, act: Callable[[Bulk, bytes], tuple[str, bytes | None]], id: bytes
    ) -> tuple[int, bytes | None]:
        """Deal with one task. What goes wrong with it is its outcome, and does not end the bulk."""
        try:
            outcome, new = act(bulk, id)
        except TaskNotFound:
            outcome, new = "gone", None
        except Exception as error:
            if not isinstance(error, UnderstudyError):
                log.exception("a bulk cannot %s task %s", bulk.action, id_text(id))
            bulk.problem = (str(error) or repr(error))[:_TEXT]
            outcome, new = "refused", None
        return _CODE[outcome], new

    def _cancel_one(self, _bulk: Bulk, id: bytes) -> tuple[str, None]:
        if not self._attempts.cancel(id):
            return "had ended", None
        return "cancelled" if self._table.find(id) is None else "asked to stop", None

    def _retry_one(self, bulk: Bulk, id: bytes) -> tuple[str, bytes | None]:
        new = self._commits.clock.new_id()
        if self._admission.is_retried(id, new):
            return "retried before", None
        if self._admission.retry(id, new, from_scratch=bulk.from_scratch):
            self._mailboxes.hand_on(id, new)
        return "retried", new

    # --- removal ---

    async def prune(self, now: float) -> None:
        """Remove those that ended a task's keep time before `now`, all but the last ones, and those never begun.

        It does so in small steps between other work.
        """
        async with self._pruning:
            self._forget_abandoned()
            await self._commits.settled()
            while self._given_up:
                await self._remove(self._given_up.pop())
            while True:
                before = now - KEEP_DEFAULT if self._kept <= KEPT else inf
                id = oldest_ended(self._commits.store, before)
                if id is None:
                    return
                await self._remove(id)

    async def _remove(self, id: bytes) -> None:
        while not remove_some(self._commits.store, id, REMOVED):
            await self._commits.settled()
        self._kept -= 1
        await self._commits.settled()
