"""ScheduleCalls: the calls of a runtime about schedules. Those that need the supervisor are steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, cast

from ...actors.checks import check_choice, check_whole
from ...actors.errors import InvalidOption
from ...actors.ids import id_text
from ...actors.schedules.definition import MOST_TIMES, Definition, check_key, check_time
from ...actors.schedules.info import NEAR, Occurrence, ScheduleInfo, ScheduleState, no_schedule
from ...actors.task.declaration import Task
from ...storage.reader import Reader
from ...storage.tables.schedule_rows import ScheduleRow
from ..wire.messages import Ask
from .deadline import Deadline
from .reconnecting import ReconnectingClient
from .start_rows import StartRows, TaskLike
from .steps import Steps

ScheduleLike = ScheduleInfo | str
"""What names a schedule in a call."""

STATES = ("active", "paused", "orphaned", "ended")


class ScheduleCalls:
    """The calls of one `ReconnectingClient` about schedules. Like `Calls`, it does not refer to the `Runtime`."""

    def __init__(self, client: ReconnectingClient, reader: Reader, starts: StartRows) -> None:
        self._client = client
        self._reader = reader
        self._starts = starts

    def schedule(
        self,
        deadline: Deadline,
        task: TaskLike,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        key: str | None,
        options: dict[str, Any],
    ) -> Steps[ScheduleInfo]:
        """See `Runtime.schedule`."""
        definition = Definition.of(**options)
        if key is not None:
            check_key(key)
        _check_launch(task)
        make_row = yield from self._starts.rows_of(task, deadline)
        id, name, packed, changes, _, _, stream, origin = make_row(args, kwargs)
        if key is None:
            key = id_text(id)
        row = (
            key, name, packed, changes, definition.pack(), None if stream == id else stream, origin,
        )  # fmt: skip
        made = yield from self._client.ask(deadline, Ask.SCHEDULE, row)
        return info_of(ScheduleRow.unpack(key, made))

    def act(self, deadline: Deadline, schedule: ScheduleLike, what: str) -> Steps[None]:
        """Pause or resume a schedule."""
        yield from self._client.ask(deadline, Ask.PLAN, key_of(schedule), what)

    def cancel(self, deadline: Deadline, schedule: ScheduleLike) -> Steps[bool]:
        """See `Runtime.cancel_schedule`."""
        return bool((yield from self._client.ask(deadline, Ask.PLAN, key_of(schedule), "cancel")))

    def run(self, deadline: Deadline, schedule: ScheduleLike) -> Steps[str]:
        """See `Runtime.run_schedule`."""
        id = self._client.clock.new_id()
        yield from self._client.ask(deadline, Ask.PLAN, key_of(schedule), "run", id)
        return id_text(id)

    def backfill(self, deadline: Deadline, schedule: ScheduleLike, start: Any, end: Any) -> Steps[list[str]]:
        """See `Runtime.backfill`."""
        times = check_time("start", start), check_time("end", end)
        runs = yield from self._client.ask(deadline, Ask.PLAN, key_of(schedule), "backfill", *times)
        return [id_text(run) for run in runs]

    # --- reading, directly from disk without the supervisor ---

    @property
    def _store(self) -> Reader:
        self._client.check_open()
        return self._reader

    def info(self, schedule: ScheduleLike) -> ScheduleInfo:
        """See `Runtime.schedule_info`."""
        return info_of(self._row(schedule))

    def _row(self, schedule: ScheduleLike) -> ScheduleRow:
        return row_of(self._store, key_of(schedule))

    def list(self, state: ScheduleState | None, limit: int, after: ScheduleLike | None) -> list[ScheduleInfo]:
        """See `Runtime.schedules`."""
        if state is not None:
            check_choice("state", state, STATES)
        check_whole("limit", limit, 0)
        start = None if after is None else key_of(after)
        return [info_of(row) for row in self._store.schedules(state=state, limit=limit, after=start)]

    def history(self, schedule: ScheduleLike, limit: int, before: Occurrence | None) -> Sequence[Occurrence]:
        """See `Runtime.schedule_history`."""
        check_whole("limit", limit, 0)
        row = self._row(schedule)
        return history_of(self._store, row.key, limit, None if before is None else before.number)

    def next_times(self, schedule: ScheduleLike, count: int) -> Sequence[float]:
        """See `Runtime.next_times`."""
        check_whole("count", count, 1, MOST_TIMES)
        return next_times(self._row(schedule), count, self._client.clock.time())


def key_of(schedule: object) -> str:
    """The key of a schedule that is given by it or by its `ScheduleInfo`."""
    if isinstance(schedule, ScheduleInfo):
        return schedule.key
    if not isinstance(schedule, str):
        raise InvalidOption(f"a schedule is named by its key or its ScheduleInfo, not by {schedule!r:.80}")
    return check_key(schedule)


def row_of(reader: Reader, key: str) -> ScheduleRow:
    """The stored schedule of this key; ScheduleNotFound if there is none."""
    row = reader.schedule(check_key(key))
    if row is None:
        raise no_schedule(key, (row.key for row in reader.schedules(limit=NEAR)))
    return row


def info_of(row: ScheduleRow) -> ScheduleInfo:
    """A stored schedule as a ScheduleInfo."""
    return ScheduleInfo(
        row.key,
        row.task,
        Definition.unpack(row.definition),
        cast("ScheduleState", row.state),
        row.declared,
        row.next if row.is_active else None,
        row.last,
        row.runs,
        row.skips,
        row.failures,
        row.created,
        row.why_ended or row.why_paused,
        tuple(id_text(run) for run, _ in row.active),
    )


def history_of(reader: Reader, key: str, limit: int | None, before: int | None = None) -> list[Occurrence]:
    """The stored history of a schedule, newest first."""
    return [
        Occurrence(
            key,
            entry.scheduled_at,
            entry.time,
            None if entry.run is None else id_text(entry.run),
            entry.reason,
            entry.by,
            number,
        )
        for number, entry in reader.schedule_history(key, limit, before)
    ]


def next_times(row: ScheduleRow, count: int, now: float) -> list[float]:
    """The next occurrences of a schedule; those that it would have if it is paused. Empty for one that has ended."""
    if row.ended is not None:
        return []
    definition = Definition.unpack(row.definition)
    if row.is_active and row.next is not None:
        following = definition.times(row.next, row.anchor)
        return [row.next, *islice(following, count - 1)]
    return list(islice(definition.times(now, row.anchor), count))


def _check_launch(task: object) -> None:
    """Refuse the settings of one start on a task that is to be started again and again."""
    if isinstance(task, Task):
        launch = task.launch
        for name, value in (("key", launch.key), ("delay", launch.delay), ("at", launch.at)):
            if value is not None:
                raise InvalidOption(
                    f"{name}= of .options() is for one start: give it to schedule(), which takes key=, at= and after="
                )
        if launch.link:
            raise InvalidOption(
                "link=True is for a task that a task starts; this one is started by its schedule"
            )
