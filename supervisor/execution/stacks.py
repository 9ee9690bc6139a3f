"""Stacks: where the code of a running task is, asked of its worker, or taken by a signal if that does not answer.

The interpreter of a worker is asked first. It knows threads and coroutines, and stops them while it looks. A signal is
for an interpreter that a C call holds up: then no Python code moves, so that reading its stacks from outside is safe.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, Final

from ...actors.clock import Clock
from ...actors.errors import StackUnavailable
from ...actors.ids import id_text
from ...actors.state import State
from ..channel.stack_dump import PLUMBING
from ..rules.report_checks import check_stack
from ..rules.stacks import Row, arranged, parse
from ..tasks.attempt import Attempt
from ..tasks.live_task import LiveTask
from ..tasks.task_table import TaskTable
from .worker_seat import WorkerSeat

#: Seconds that a worker's interpreter has to answer.
ANSWER: Final = 1.0
#: Stacks that are taken at once; others wait.
AT_ONCE: Final = 32

Answer = tuple[str, int, float, str, str, list[Row]]
"""(name of the task, pid of its worker, time, who took it, a note for the reader, a row for each thread)."""


class Stacks:
    """Takes stacks. One task's stack that is asked for several times at once is taken once."""

    def __init__(self, table: TaskTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._numbers = itertools.count(1)
        self._asked: dict[int, tuple[WorkerSeat, asyncio.Future[list[Row] | None]]] = {}
        self._taking: dict[bytes, asyncio.Task[Answer]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    async def of(self, id: bytes) -> Answer:
        """The stack of a task. Raises TaskNotFound and StackUnavailable."""
        self._running(id)
        taking = self._taking.get(id)
        if taking is None:
            taking = self._taking[id] = asyncio.get_running_loop().create_task(self._bounded(id))
            taking.add_done_callback(lambda done: self._taken(id, done))
        # One of those who ask may be gone before the others have their answer.
        return await asyncio.shield(taking)

    def _taken(self, id: bytes, done: asyncio.Task[Answer]) -> None:
        del self._taking[id]
        if not done.cancelled():
            done.exception()  # perhaps nobody waits for it any more

    async def _bounded(self, id: bytes) -> Answer:
        async with self._room:
            return await self._take(id)

    async def _take(self, id: bytes) -> Answer:
        task, attempt, seat = self._running(id)
        by, note = "worker", ""
        try:
            rows = await self._ask(seat, id)
        except TimeoutError:
            by, (note, rows) = "signal", await self._dump(seat, task)
        # It may have ended meanwhile, or be on its way to another worker.
        _, now, _ = self._running(id)
        if rows is None or now is not attempt:
            raise _unavailable(task, "its attempt has only just begun or ended. Ask again")
        return task.record.name, seat.pid, self._clock.time(), by, note, rows

    def _running(self, id: bytes) -> tuple[LiveTask, Attempt, WorkerSeat]:
        """A task that runs in a worker, its attempt and its worker."""
        task = self._table.find(id)
        if task is None:
            record = self._table.known(id)
            raise StackUnavailable(
                f"task {id_text(id)} has no stack any more: it is {record.state}",
                id_text(id),
                str(record.state),
            )
        if task.kind.only_waits:
            raise _unavailable(task, "its code runs in a container; look at its log, or into the container")
        if task.attempt is None:
            raise _unavailable(task, "it is not running")
        seat = task.attempt.seat
        assert isinstance(seat, WorkerSeat)
        lane = seat.lane_of(task)
        if not task.attempt.begun and any(each is task for each in seat.not_begun(lane)[1]):
            raise _unavailable(task, "it was handed to a worker and has not begun")
        return task, task.attempt, seat

    async def _ask(self, seat: WorkerSeat, id: bytes) -> list[Row] | None:
        """What the worker's interpreter says; None if the task is not there. TimeoutError."""
        number = next(self._numbers)
        answer: asyncio.Future[list[Row] | None] = asyncio.get_running_loop().create_future()
        self._asked[number] = seat, answer
        try:
            seat.channel.ask_stack(number, id)
            seat.channel.flush()
            return await asyncio.wait_for(answer, ANSWER)
        finally:
            del self._asked[number]

    def answered(self, seat: WorkerSeat, number: Any, rows: Any) -> None:
        """A worker has answered. ProtocolError if these are no fields of STACK."""
        check_stack(number, rows)
        asked = self._asked.get(number)
        if asked is not None and asked[0] is seat and not asked[1].done():
            asked[1].set_result(rows)

    async def _dump(self, seat: WorkerSeat, task: LiveTask) -> tuple[str, list[Row]]:
        dump = await seat.channel.dump_stacks()
        if dump is None:
            self._running(task.id)  # its worker may have died
            raise _unavailable(task, f"its worker (pid {seat.pid}) does not answer, and takes no signal")
        text, threads = dump
        # A mark may be older than the attempt that it names.
        tasks = {ident: id for ident, id in threads.items() if id in seat.tasks}
        _, is_async = self._table.declared.tasks.get(task.record.name, (None, False))
        return arranged(parse(text), task.id, tasks, PLUMBING, is_async=is_async, alone=seat.alone)


def _unavailable(task: LiveTask, why: str) -> StackUnavailable:
    state = State.RUNNING if task.attempt is not None and task.attempt.begun else task.record.state
    id = id_text(task.id)
    return StackUnavailable(f"task {id} has no stack now ({state}): {why}", id, str(state))
