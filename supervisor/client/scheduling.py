"""Scheduling: the methods of `Runtime` about schedules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from ...actors.schedules.definition import Missed, Overlap
from ...actors.schedules.info import Occurrence, ScheduleInfo, ScheduleState
from .runtime_part import RuntimePart
from .schedule_calls import ScheduleCalls, ScheduleLike
from .start_rows import TaskLike

T = TypeVar("T")

Time = float | datetime
"""Seconds since the epoch, or a datetime with a time zone."""


class Scheduling(RuntimePart):
    """The part of a runtime that makes schedules, changes them and reads them."""

    _schedules: ScheduleCalls

    def schedule(
        self,
        task: TaskLike,
        /,
        *args: Any,
        key: str | None = None,
        at: Time | None = None,
        cron: str | None = None,
        every: float | None = None,
        after: float | None = None,
        tz: str | None = None,
        missed: Missed | None = None,
        missed_within: float | None = None,
        overlap: Overlap | None = None,
        jitter: float | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        pause_after: int | None = None,
        **kwargs: Any,
    ) -> ScheduleInfo:
        """Have a task run with these arguments: once `at` a time or `after` some seconds, or again and again by a
        `cron` expression or `every` so many seconds. Returns when the schedule is on disk.

        A `key` names the schedule. A schedule with the same key is replaced in one commit. The same definition again
        changes nothing, also not the next time. Other keyword arguments are the task's. The options are described in
        docs/schedules.md. Raises InvalidOption, UnknownTask, InvalidTask, UnencodableValue, ValueTooLarge, StoreFull,
        and TypeError for arguments that do not fit the task.
        """
        options = {
            "cron": cron,
            "tz": tz,
            "every": every,
            "at": at,
            "after": after,
            "missed": missed,
            "missed_within": missed_within,
            "overlap": overlap,
            "jitter": jitter,
            "start": start,
            "end": end,
            "limit": limit,
            "pause_after": pause_after,
        }
        deadline = self._deadline(None)
        return self._do(self._schedules.schedule(deadline, task, args, kwargs, key, options), deadline)

    def pause_schedule(self, schedule: ScheduleLike, *, timeout: float | None = None) -> None:
        """Let occurrences of a schedule be skipped until it is resumed. Raises ScheduleNotFound, InvalidOption."""
        deadline = self._deadline(timeout)
        return self._do(self._schedules.act(deadline, schedule, "pause"), deadline)

    def resume_schedule(self, schedule: ScheduleLike, *, timeout: float | None = None) -> None:
        """Let a paused schedule go on. What fell into the pause does not run.

        Raises ScheduleNotFound, and InvalidOption for one that has ended.
        """
        deadline = self._deadline(timeout)
        return self._do(self._schedules.act(deadline, schedule, "resume"), deadline)

    def cancel_schedule(self, schedule: ScheduleLike, *, timeout: float | None = None) -> bool:
        """End a schedule; True if it had not ended. Its runs go on.

        Raises ScheduleNotFound, and InvalidOption for one that the code declares.
        """
        deadline = self._deadline(timeout)
        return self._do(self._schedules.cancel(deadline, schedule), deadline)

    def run_schedule(self, schedule: ScheduleLike, *, timeout: float | None = None) -> str:
        """Start a run of a schedule now, whatever its times are; the id of the run. Raises ScheduleNotFound."""
        deadline = self._deadline(timeout)
        return self._do(self._schedules.run(deadline, schedule), deadline)

    def backfill(
        self, schedule: ScheduleLike, start: Time, end: Time, *, timeout: float | None = None
    ) -> list[str]:
        """Start a run for each past occurrence from `start` to `end` that has none in the history; the ids of the runs.

        They run one after the other unless `overlap="allow"`. At most 1,000 occurrences. Raises ScheduleNotFound,
        InvalidOption.
        """
        deadline = self._deadline(timeout)
        return self._do(self._schedules.backfill(deadline, schedule, start, end), deadline)

    def schedule_info(self, schedule: ScheduleLike) -> ScheduleInfo:
        """A schedule, read from disk. Raises ScheduleNotFound."""
        return self._schedules.info(schedule)

    def schedules(
        self, *, state: ScheduleState | None = None, limit: int = 100, after: ScheduleLike | None = None
    ) -> list[ScheduleInfo]:
        """Stored schedules, sorted by key. For the next page, pass the last one of this page as `after`."""
        return self._schedules.list(state, limit, after)

    def schedule_history(
        self, schedule: ScheduleLike, *, limit: int = 100, before: Occurrence | None = None
    ) -> Sequence[Occurrence]:
        """The last occurrences of a schedule, newest first: each with its run, or with the reason for which it was
        skipped. 1,000 are kept. For the next page, pass the last one of this page as `before`.
        """
        return self._schedules.history(schedule, limit, before)

    def next_times(self, schedule: ScheduleLike, count: int = 10) -> Sequence[float]:
        """The next occurrences of a schedule, in seconds since the epoch; at most 1,000.

        Of a paused one, those that it would have. Raises ScheduleNotFound.
        """
        return self._schedules.next_times(schedule, count)
