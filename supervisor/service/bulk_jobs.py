"""BulkJobs: cancels and retries of many tasks, worked through in small parts.

The tasks are on disk before the first one is touched. What became of the tasks of a part is in the commit that changes
them, so a supervisor that follows a killed one goes on behind it and does nothing twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from ...actors.access import AuditEntry
from ...actors.errors import InvalidOption, StoreFull, TaskNotFound, UnderstudyError
from ...actors.ids import id_text
from ...storage.tables import access_rows
from ...storage.tables.bulk_rows import (
    OUTCOMES,
    PART,
    Bulk,
    all_heads,
    ends_key,
    head_key,
    pack_ends,
    tasks_key,
    unpack_head,
    unpack_tasks,
)
from ...storage.tables.schema import Table
from ..execution.attempts import Attempts
from ..tasks.access import Access
from ..tasks.commit_loop import CommitLoop
from ..tasks.mailboxes import Mailboxes
from ..tasks.task_table import TaskTable
from ..wire.checks import checked_id
from .admission import Admission

log = logging.getLogger("understudy")

#: Tasks of one bulk, bulks that have not ended, and those that are kept after their end.
MOST_TASKS: Final = 1_000_000
MOST_AT_ONCE: Final = 20
KEPT: Final = 50
#: Seconds after which one that was opened and not begun is forgotten.
ABANDONED: Final = 600.0
#: Seconds until it is tried again when the disk is full.
FULL_AGAIN: Final = 1.0
#: Rows that one step of removing an old one deletes.
REMOVED: Final = 200
#: Characters of a query and of a name that are kept.
_TEXT: Final = 2_000

_CODE: Final = {name: code for code, name in enumerate(OUTCOMES)}


class BulkJobs:
    """One bulk is worked on at a time, in the order of their begin."""

    def __init__(
        self,
        commits: CommitLoop,
        table: TaskTable,
        attempts: Attempts,
        admission: Admission,
        mailboxes: Mailboxes,
        access: Access,
        ready: asyncio.Event,
        begin: Callable[[Coroutine[Any, Any, None]], None],
        turn: Callable[[], None],
    ) -> None:
        """`ready` is set once the app is loaded. `begin` starts work that ends with the service."""
        self._commits = commits
        self._table = table
        self._attempts = attempts
        self._admission = admission
        self._mailboxes = mailboxes
        self._access = access
        self._ready = ready
        self._begin_work = begin
        self._turn = turn
        self._works = False
        self._bulks: dict[bytes, Bulk] = {}
        #: When those that are not begun were opened.
        self._opened: dict[bytes, float] = {}

    def recover(self) -> None:
        """At boot: go on with those that were under way; forget those that were never begun."""
        for key, row in self._commits.scan(Table.META, *all_heads()):
            try:
                bulk = unpack_head(key, row)
            except ValueError:
                log.exception("a bulk is damaged and is left alone")
                continue
            self._bulks[bulk.id] = bulk
            if bulk.state == "open":
                self._opened[bulk.id] = float("-inf")
        self._work()

    def act(self, id: Any, what: Any, *args: Any) -> Any:
        """Carry out a request. Raises InvalidOption."""
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
        if id in self._bulks:
            return  # the same request again, because its answer was lost
        if sum(bulk.ended is None for bulk in self._bulks.values()) >= MOST_AT_ONCE:
            raise InvalidOption(
                f"{MOST_AT_ONCE} cancels and retries of many tasks are under way: wait until one has ended"
            )
        self._commits.refuse_when_full()
        bulk = Bulk(id, action, query[:_TEXT], by[:_TEXT], bool(from_scratch), self._commits.clock.time())
        self._bulks[id] = bulk
        self._opened[id] = self._commits.clock.monotonic()
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
        self._save(bulk)

    def _begin(self, id: bytes) -> None:
        bulk = self._known(id)
        if bulk.state == "open":
            self._opened.pop(id, None)
            bulk.state = "running"
            self._save(bulk)
            self._work()

    def _cancel(self, id: bytes) -> bool:
        bulk = self._known(id)
        if bulk.state not in ("open", "running"):
            return False
        self._opened.pop(id, None)
        self._end(bulk, "cancelled")
        return True

    def _known(self, id: bytes) -> Bulk:
        bulk = self._bulks.get(id)
        if bulk is None:
            raise InvalidOption(f"there is no bulk {id_text(id)}; the last {KEPT} are kept")
        return bulk

    def _save(self, bulk: Bulk) -> None:
        self._commits.put(Table.META, head_key(bulk.id), bulk.pack())
        self._turn()

    def _end(self, bulk: Bulk, state: str) -> None:
        bulk.state, bulk.ended = state, self._commits.clock.time()
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

    def _forget_abandoned(self) -> None:
        for id, opened in list(self._opened.items()):
            if self._commits.clock.monotonic() - opened > ABANDONED:
                del self._opened[id]
                self._end(self._bulks[id], "cancelled")

    # --- work ---

    def _work(self) -> None:
        if not self._works:
            self._works = True
            self._begin_work(self._work_on())

    async def _work_on(self) -> None:
        try:
            await self._ready.wait()
            while (bulk := self._next()) is not None:
                await self._advance(bulk)
            await self._remove_old()
        finally:
            self._works = False

    def _next(self) -> Bulk | None:
        return next((bulk for bulk in self._bulks.values() if bulk.state == "running"), None)

    async def _advance(self, bulk: Bulk) -> None:
        """Work on one part, and wait until it is on disk: the requests of others come in between."""
        try:
            if bulk.done < bulk.total:
                self._part(bulk)
            if bulk.done >= bulk.total:
                self._end(bulk, "completed")
        except StoreFull:
            await asyncio.sleep(FULL_AGAIN)
        except Exception as error:
            log.exception("a bulk cannot go on and has ended")
            bulk.problem = repr(error)[:_TEXT]
            self._end(bulk, "cancelled")
        self._turn()
        await self._commits.settled()

    def _part(self, bulk: Bulk) -> None:
        self._commits.refuse_when_full()
        part = bulk.done // PART
        row = self._commits.get(Table.META, tasks_key(bulk.id, part))
        if row is None:
            raise ValueError(f"part {part} is absent")
        touch = self._cancel_one if bulk.action == "cancel" else self._retry_one
        ends = [touch(bulk, id) for id in unpack_tasks(row)]
        for code, _ in ends:
            bulk.counts[code] += 1
        bulk.done += len(ends)
        self._commits.put(Table.META, ends_key(bulk.id, part), pack_ends(ends))
        self._save(bulk)

    def _cancel_one(self, bulk: Bulk, id: bytes) -> tuple[int, bytes | None]:
        try:
            if not self._attempts.cancel(id):
                return _CODE["had ended"], None
        except TaskNotFound:
            return _CODE["gone"], None
        except UnderstudyError as error:
            return self._refused(bulk, error)
        return _CODE["cancelled" if self._table.find(id) is None else "asked to stop"], None

    def _retry_one(self, bulk: Bulk, id: bytes) -> tuple[int, bytes | None]:
        new = self._commits.clock.new_id()
        try:
            if self._admission.is_retried(id, new):
                return _CODE["retried before"], None
            if self._admission.retry(id, new, from_scratch=bulk.from_scratch):
                self._mailboxes.hand_on(id, new)
        except TaskNotFound:
            return _CODE["gone"], None
        except UnderstudyError as error:
            return self._refused(bulk, error)
        return _CODE["retried"], new

    def _refused(self, bulk: Bulk, error: UnderstudyError) -> tuple[int, None]:
        bulk.problem = str(error)[:_TEXT]
        return _CODE["refused"], None

    async def _remove_old(self) -> None:
        """Remove all but the last ones that have ended, in small steps."""
        ended = sorted(
            (bulk for bulk in self._bulks.values() if bulk.ended is not None),
            key=lambda bulk: bulk.ended or 0,
        )
        for bulk in ended[: max(0, len(ended) - KEPT)]:
            # The head goes last: a crash in between leaves what the next supervisor removes.
            parts = -(-bulk.total // PART)
            for part in range(parts):
                self._commits.delete(Table.META, tasks_key(bulk.id, part))
                self._commits.delete(Table.META, ends_key(bulk.id, part))
                if part % (REMOVED // 2) == 0:
                    self._turn()
                    await self._commits.settled()
            self._commits.delete(Table.META, head_key(bulk.id))
            self._bulks.pop(bulk.id, None)
            self._turn()
            await self._commits.settled()
