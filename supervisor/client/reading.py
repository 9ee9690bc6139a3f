"""Reading: the calls of a `Runtime` that read tasks from the disk, without the supervisor."""

from __future__ import annotations

import builtins
import dataclasses
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from ...actors import values
from ...actors.checks import check_whole
from ...actors.errors import ConnectTimeout, InvalidOption
from ...actors.ids import id_bytes
from ...actors.state import State
from ...actors.task.handles import IdLike, TaskRecord, id_of
from ...actors.task.metadata import checked as checked_metadata
from ...actors.task.outcomes import ErrorGroups, TaskAttempts, TaskStats
from ...actors.task.step_info import StepInfo
from . import outcomes, searches
from .calls import Calls
from .pages import SearchPage
from .runtime_part import RuntimePart
from .start_rows import StreamLike, TaskLike, name_of
from .views import LogLine, step_info, view
from .watch import Watch

#: Chunks of a task's log that one call reads; more than the log's limit allows.
LOG_CHUNKS: Final = 1_000_000

#: Seconds that `status` waits until the supervisor has said which worker has an actor in memory.
WORKER_ANSWER: Final = 1.0


class Reading(RuntimePart):
    """Tasks as the store has them: records, pages, attempts, logs, statistics."""

    _calls: Calls

    def status(self, id: IdLike) -> TaskRecord:
        """A task's record. Raises TaskNotFound.

        Of an actor between turns, the supervisor says which worker has it in memory. After a second without that
        answer, and without a supervisor, `worker_pid` is None.
        """
        record = self._calls.status(id)
        if record.actor is None or record.state is not State.IDLE:
            return record
        deadline = self._deadline(WORKER_ANSWER)
        with suppress(TimeoutError, ConnectTimeout):
            pid = self._do(self._calls.worker_of(deadline, id_bytes(record.id)), deadline)
            record = dataclasses.replace(record, worker_pid=pid)
        return record

    def list(
        self,
        *,
        state: State | str | Iterable[State | str] | None = None,
        task: TaskLike | None = None,
        stream: StreamLike | None = None,
        metadata: Mapping[str, str] | None = None,
        limit: int = 100,
        before: IdLike | None = None,
    ) -> list[TaskRecord]:
        """Tasks, newest first. `metadata` are entries that a task must have.

        For the next page, pass the last id of this one as `before`.
        """
        wanted = None if state is None else _states([state] if isinstance(state, str) else state)
        check_whole("limit", limit, 0)
        records = self._calls.store.records(
            states=wanted,
            name=name_of(task),
            stream=None if stream is None else id_bytes(stream),
            metadata=checked_metadata(metadata),
            limit=limit,
            before=None if before is None else id_of(before),
        )
        return [view(record, 0, self._calls.store.args) for record in records]

    def search(self, query: str, *, limit: int = 50, after: str | None = None) -> SearchPage:
        """A page of the tasks that fit a query, newest first, such as "state:failed task:etl* newer:1d 'reset'".

        For the next page, pass the `cursor` of this one as `after`. A page takes at most about 50 ms: it may have fewer
        tasks than `limit` and a cursor nevertheless. Raises InvalidQuery, which shows the place of a mistake.
        """
        return searches.search(self._calls.store, query, limit, after, self._client.clock.time())

    def counts(self) -> searches.Counts:
        """How many tasks of each name are in each state. Zeros are left out."""
        return self._calls.store.counts()

    def attempts(self, id: IdLike) -> TaskAttempts:
        """The runs of a task so far, oldest first, with their times, workers and errors. Raises TaskNotFound.

        The last 100 are kept; `dropped` says how many older ones there were.
        """
        record = self._calls.record(id_of(id))
        return outcomes.attempts(self._calls.store, record)

    def steps(self, id: IdLike, *, limit: int | None = 100) -> builtins.list[StepInfo]:
        """The steps that a task keeps, the `limit` newest ones, oldest first; None for all. Raises TaskNotFound.

        Those of an actor belong to messages that it has not handled, or that are dead letters.
        """
        record = self._calls.record(id_of(id))
        if limit is not None:
            check_whole("limit", limit, 0)
        if record.steps is None:
            return []
        found = self._calls.store.steps(record.id, limit, of_actor=record.actor is not None)
        return [step_info(step) for step in found]

    def errors(
        self, window: float = 86_400.0, *, task: TaskLike | None = None, limit: int = 100
    ) -> ErrorGroups:
        """The causes of the failures of the last `window` seconds, the most frequent first, at most `limit`.

        Tasks count that have failed or timed out and have not been pruned. `task` is a task, its name or a pattern.
        """
        return outcomes.errors(self._calls.store, window, task, limit, self._client.clock.time())

    def stats(self, window: float = 3_600.0, *, task: TaskLike | None = None) -> TaskStats:
        """What has ended in the last `window` seconds, by state, with the times to wait and to run; also by name.

        `task` is a task, its name or a pattern. The window is rounded up to 10 s, 1 min, 10 min or 1 h, if it reaches
        back 2 h, 2 d, 14 d or 400 d.
        """
        return outcomes.stats(self._calls.store, window, task, self._client.clock.time())

    def restore(self, id: IdLike) -> Any:
        """A task's last checkpoint, or None. Raises TaskNotFound."""
        key = id_of(id)
        packed = self._calls.store.checkpoint(key)
        if packed is None:
            self._calls.record(key)
            return None
        return values.unpack(packed)

    def logs(self, id: IdLike, *, after: int = -1) -> builtins.list[LogLine]:
        """The lines that a task has printed and logged so far, oldest first. Raises TaskNotFound.

        Lines belong to chunks numbered from 1; chunks up to the number `after` are left out. Chunk 0 exists once the
        log has reached its limit, and says how many lines were dropped.
        """
        key = id_of(id)
        chunks = self._calls.store.logs(key, after, LOG_CHUNKS)
        if not chunks:
            self._calls.record(key)
        return [LogLine(chunk, *line) for chunk, lines in chunks for line in lines]

    def watch(
        self, *, stream: StreamLike | None = None, task: IdLike | None = None, after: str | None = None
    ) -> Watch:
        """Follow a task or a stream: an iterator and context manager over a snapshot and everything that happens.

        Items that are published, lines of log, attempts and ends come in order and each once: from the beginning, or
        from behind the entry whose `cursor` is `after`. The watch of a task ends with it. It reads the store, so it
        goes on while no supervisor runs. Raises TaskNotFound, EventNotFound, and InvalidOption for a wrong cursor.
        """
        return Watch(self._calls.store, stream, task, after, self._client.clock)


def _states(names: Iterable[State | str]) -> set[State]:
    try:
        return {State(name) for name in names}
    except ValueError as error:
        raise InvalidOption(f"{error}: the states are {', '.join(State)}") from None
