"""The supervisor's core: store, tasks, attempts, dispatch and service, wired together.

It has no process, signal or listening socket of its own; the pool brings the workers. Tests build the same core with
workers of their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ..execution.attempts import Attempts
from ..execution.dispatcher import Dispatcher
from ..execution.letters import Letters
from ..execution.monitors import Monitors
from ..execution.stacks import Stacks
from ..execution.trees import Trees
from ..execution.turns import Turns
from ..execution.worker_pool import WorkerPool
from ..linux.processes import ExitStatus
from ..service.requests import Service
from ..settings import Settings
from ..tasks.aftermath import Aftermath
from ..tasks.commit_loop import CommitLoop
from ..tasks.events import Events
from ..tasks.links import Links
from ..tasks.mailboxes import Mailboxes
from ..tasks.maps import Maps
from ..tasks.schedules import Schedules
from ..tasks.starts import Starts
from ..tasks.stream_items import StreamItems
from ..tasks.task_table import TaskTable

log = logging.getLogger("understudy")


class Core:
    """The parts that decide. Changes gather during a turn of the event loop and are carried out at its end."""

    def __init__(
        self,
        commits: CommitLoop,
        settings: Settings,
        facts: dict[str, Any],
        open_pool: Callable[[Attempts, Callable[[], None]], WorkerPool],
        open_files: int = 1 << 20,
    ) -> None:
        """`open_pool` gets the receiver of the workers' reports and `turn`; `facts` is told to every client."""
        self._loop = asyncio.get_running_loop()
        #: Whether a turn is still to be taken.
        self.turn_asked = False
        self.commits = commits
        self.table = TaskTable(commits, settings)
        self.mailboxes = Mailboxes(commits, self.table, settings)
        self.events = Events(commits, self.table, self.mailboxes, settings)
        self.schedules = Schedules(commits, self.table, self.events, settings, self.turn)
        self.letters = Letters(commits, self.table, self.mailboxes, settings, self.turn)
        self.items = StreamItems(commits, settings)
        self.table.on_over = self.items.over
        self.starts = Starts(commits)
        self.turns = Turns(commits, self.table, self.letters, self.events, self.items, settings, self.turn)
        self.attempts = Attempts(
            commits, self.table, self.mailboxes, self.events, self.items, self.turns, settings, self.turn
        )
        self.attempts.on_death = self._worker_died
        self.schedules.runs.cancel = self.attempts.cancel
        self.pool = open_pool(self.attempts, self.turn)
        self.dispatcher = Dispatcher(commits, self.table, self.attempts, self.pool, settings, self.turn)
        self.service = Service(
            commits,
            self.table,
            self.mailboxes,
            self.turns,
            self.events,
            self.schedules,
            self.attempts,
            self.pool,
            settings,
            facts,
            self.turn,
            open_files,
        )
        self.service.on_deleted = self.items.pruned
        self.service.stacks = Stacks(self.table, commits.clock)
        self.attempts.on_stack = self.service.stacks.answered
        self.trees = Trees(
            commits,
            self.table,
            self.attempts,
            self.turns,
            self.service.actor_of_tree,
            self.turn,
        )
        self.service.take_trees(self.trees)
        self.dispatcher.before = self.trees.starts.before
        self.aftermath = Aftermath(self.table, self.attempts.cancel, self.turn)
        self.links = Links(commits, self.table, self.aftermath)
        self.monitors = Monitors(commits, self.table, self.mailboxes, self.letters, settings)
        self.maps = Maps(commits, self.table, self.aftermath)
        self.trees.starts.on_anew = self.maps.end
        self.service.take_ties(self.links, self.monitors, self.maps)
        commits.on_backlog = self._throttle
        self.table.on_queued = self.turn
        self.table.gate.turn = self.turn

    def turn(self) -> None:
        """Carry out the changes of this turn of the loop once, after all input is processed."""
        if not self.turn_asked:
            self.turn_asked = True
            self._loop.call_soon(self._take_turn)

    def _worker_died(self, pid: int, status: ExitStatus) -> None:
        self.events.notice("understudy.worker.died", {"pid": pid, "exit": str(status)})

    def recover(self) -> int:
        """At boot: go on with what the last supervisor has left; how many tasks ran under it."""
        self.trees.load()
        interrupted = self.attempts.recover()
        self.trees.recover()
        self.links.recover()
        self.maps.recover()
        self.service.bulks.recover()
        return interrupted

    def clock_was_set(self) -> None:
        """The wall clock was set, or has gone on while the machine slept."""
        self.trees.clock_was_set()
        self.letters.clock_was_set()
        self.dispatcher.clock_was_set()
        self.schedules.clock_was_set()

    def _take_turn(self) -> None:
        self.turn_asked = False
        try:
            self.letters.read_on()
            self.dispatcher.dispatch()
        except Exception:
            # A bug. What has happened so far is written and answered all the same.
            log.exception("tasks could not be handed out")
        for seat in list(self.pool.seats):
            self.pool.settle(seat)
            seat.channel.flush()
        self.commits.seal()
        self.service.flush()

    def _throttle(self, behind: bool) -> None:
        """Stop reading while the disk is behind, so that requests and reports wait in the sockets, not in memory.

        Clients are still read from while the disk is full: requests that need room are refused then.
        """
        self.service.read(not behind or self.commits.store.waits_for_room)
        for seat in self.pool.seats:
            seat.channel.read(not behind)
