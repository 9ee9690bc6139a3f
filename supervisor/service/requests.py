"""Service: the handling of clients' requests. A request that changes data is answered after its commit."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from ...actors.errors import AppFailed, InvalidOption, NotRunning, UnderstudyError, UnknownTask
from ...actors.ids import id_text
from ...actors.task.launch import checked_key
from ...actors.task.trigger import TASK
from ...storage.tables.event_rows import prune_events
from ...storage.tables.prune import prune, prune_replies
from ...storage.tables.schedule_rows import prune_schedules
from ...storage.tables.unique_rows import prune_unique
from ..execution.attempts import Attempts
from ..execution.monitors import Monitors
from ..execution.pool_states import PoolStates
from ..execution.stacks import Stacks
from ..execution.trees import Trees
from ..execution.turns import Turns
from ..execution.worker_pool import WorkerPool
from ..home import group_id
from ..settings import Settings
from ..tasks.access import Access
from ..tasks.commit_loop import CommitLoop
from ..tasks.events import Events
from ..tasks.links import Links
from ..tasks.mailboxes import Mailboxes
from ..tasks.maps import Maps
from ..tasks.schedules import Schedules
from ..tasks.task_table import TaskTable
from ..wire.checks import checked_id
from ..wire.messages import Ask
from .actor_requests import ActorRequests
from .admission import Admission
from .bulk_jobs import BulkJobs
from .client_link import MALFORMED, ClientLink
from .subscribers import Subscribers
from .tree_requests import TreeRequests
from .waiters import Waiters

log = logging.getLogger("understudy")

#: Descriptors for the supervisor itself and for each worker; the rest, or at least these, are for clients.
OWN_FILES = 64
WORKER_FILES = 12
LEAST_CLIENTS = 16
#: Tasks that one step of pruning removes.
PRUNE_STEP = 200
#: Rows of steps that one step of summing them up reads or removes.
STEPS_STEP = 1_000
#: Requests that wait until the app is loaded and its tasks are known.
NEED_APP = frozenset(
    {
        Ask.START,
        Ask.MAP,
        Ask.RETRY,
        Ask.PARAMETERS,
        Ask.ACTOR,
        Ask.TELL,
        Ask.ASK,
        Ask.LETTERS,
        Ask.EMIT,
        Ask.REPLAY,
        Ask.SCHEDULE,
        Ask.PLAN,
        Ask.SUPERVISE,
        Ask.BRANCH,
        Ask.TRIGGERS,
        Ask.LIMITS,
        Ask.LIMIT,
    }
)
#: Least number of quick tasks in one START that is acknowledged late while more than 8,192 tasks are ready.
MANY = 100
#: Seconds between two looks whether the queue is short again; tasks that must end meanwhile; most looks.
LOOK = 0.025
MOVED = 100
LOOKS = 40


class Service:
    """Owns the connections of clients."""

    def __init__(
        self,
        commits: CommitLoop,
        table: TaskTable,
        mailboxes: Mailboxes,
        turns: Turns,
        events: Events,
        schedules: Schedules,
        attempts: Attempts,
        pool: WorkerPool,
        settings: Settings,
        facts: dict[str, Any],
        turn: Callable[[], None],
        open_files: int = 1 << 20,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._commits = commits
        self._table = table
        self._mailboxes = mailboxes
        self._attempts = attempts
        self._pool = pool
        self._settings = settings
        self._facts = facts
        self._turn = turn
        self._clients: set[ClientLink] = set()
        #: All connections, including those without a HELLO so far. Their number is limited so that
        #: descriptors are left for workers.
        self._connections: set[ClientLink] = set()
        # Of the isolated ones as many again may be kept for actors at rest.
        workers = settings.worker_count + 2 * settings.isolated + 2 * sum(settings.pools.values())
        self._most = max(LEAST_CLIENTS, open_files - OWN_FILES - WORKER_FILES * workers)
        self._group = group_id(settings.group) if settings.group else None
        self._admission = Admission(commits, table, settings.value_limit)
        self._actors = ActorRequests(commits, table, turns, self._admission)
        self._events = events
        self._schedules = schedules
        self.access = Access(commits)
        self.bulks = BulkJobs(
            commits,
            table,
            attempts,
            self._admission,
            mailboxes,
            self.access,
            pool,
            self._begin,
            turn,
        )
        self._waiters = Waiters(commits, table)
        self._subscribers = Subscribers(commits, table)
        self._jobs: set[asyncio.Task[None]] = set()
        self._reading = True
        #: Called to stop the supervisor; True means now.
        self.on_stop: Callable[[bool], None] = lambda _: None
        #: Called when records have been removed.
        self.on_pruned: Callable[[], Coroutine[Any, Any, None]] = _nothing
        #: Called when rows of tasks are about to be removed.
        self.on_deleted: Callable[[], None] = lambda: None
        #: The requests about supervision trees; see `take_trees`.
        self.trees: TreeRequests
        #: Takes the stacks of running tasks.
        self.stacks: Stacks
        #: See `take_ties`.
        self._monitors: Monitors
        self._maps: Maps
        #: Gives the live process tree.
        self.tree: Callable[[], dict[str, Any]] = dict
        self._on: dict[int, Callable[..., None]] = {
            Ask.START: self._start,
            Ask.MAP: self._map,
            Ask.SEND: self._send,
            Ask.CLOSE: self._close,
            Ask.CANCEL: self._cancel,
            Ask.WAIT: self._wait,
            Ask.UNWAIT: self._unwait,
            Ask.RETRY: self._retry,
            Ask.DECLARE: self._declare,
            Ask.TREE: self._tree,
            Ask.STOP: self._stop,
            Ask.PRUNE: self._prune,
            Ask.COMPACT: self._compact,
            Ask.SUBSCRIBE: self._subscribe,
            Ask.PARAMETERS: self._parameters,
            Ask.ACTOR: self._actor,
            Ask.TELL: self._tell,
            Ask.ASK: self._ask,
            Ask.LETTERS: self._letters,
            Ask.UNASK: self._unask,
            Ask.REDRIVE: self._redrive,
            Ask.RESIDENT: self._resident,
            Ask.EMIT: self._emit,
            Ask.REPLAY: self._replay,
            Ask.LISTEN: self._listen,
            Ask.SCHEDULE: self._schedule,
            Ask.PLAN: self._plan,
            Ask.SUPERVISE: self._supervise,
            Ask.BRANCH: self._branch,
            Ask.ACCESS: self._access,
            Ask.TRIGGERS: self._triggers,
            Ask.STACK: self._stack,
            Ask.BULK: self._bulk,
            Ask.LIMITS: self._limits,
            Ask.LIMIT: self._set_limit,
            Ask.POOLS: self._pools,
            Ask.MONITOR: self._monitor,
            Ask.DEMONITOR: self._demonitor,
        }

    # --- connections ---

    def connection(self) -> ClientLink:
        """A protocol for a new connection."""
        return ClientLink(self, self._settings.value_limit, self._group)

    def admit(self, client: ClientLink) -> None:
        """See `Asked`."""
        if len(self._connections) >= self._most:
            raise NotRunning(
                f"the supervisor takes no more clients: {self._most:,} are connected, and its limit of open "
                "files allows no more. Close some, or start it with a higher limit (ulimit -n)"
            )
        self._connections.add(client)

    def connected(self, client: ClientLink) -> None:
        """See `Asked`."""
        self._clients.add(client)
        client.welcome(self._facts)
        if not self._reading:
            client.read(False)

    def gone(self, client: ClientLink) -> None:
        """A client has disconnected. Its waits are forgotten; its other requests are still carried out."""
        self._clients.discard(client)
        self._connections.discard(client)
        self._subscribers.unsubscribe(client)
        for request in list(client.waits):
            self._waiters.forget(client, request)
        self._actors.gone(client)

    def ends_of(self, ids: Sequence[bytes], most: int) -> list[tuple[Any, ...]]:
        """See `Asked`."""
        return self._waiters.ends_of(ids, most)

    def asked(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        """Handle a request."""
        handler = self._on.get(frame[0])
        if handler is None:
            raise ValueError(f"no operation {frame[0]}")
        if frame[0] in NEED_APP and not self._pool.app_ready.is_set():
            self._once_loaded(client, frame)
            return
        try:
            handler(client, *frame[1:])
        except UnderstudyError as error:
            client.refuse(frame[1], error)
        self._turn()

    def flush(self) -> None:
        """Send the answers of this turn."""
        for client in list(self._clients):
            client.flush()

    def read(self, go_on: bool) -> None:
        """Stop or continue reading requests."""
        self._reading = go_on
        for client in self._clients:
            client.read(go_on)

    async def close(self, reason: str) -> None:
        """Cancel background requests, send GOODBYE to all clients and disconnect."""
        for job in list(self._jobs):
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        for client in list(self._clients):
            client.goodbye(reason)
            client.close()

    def _refuse_new_work(self) -> None:
        self._check_app()
        self._commits.refuse_when_full()

    def _check_app(self) -> None:
        if self._pool.app_error is not None:
            # A copy, because the traceback of an error grows each time it is raised.
            raise copy.copy(self._pool.app_error)

    def _in_background(
        self, client: ClientLink, request: int, job: Callable[[], Coroutine[Any, Any, Any]]
    ) -> None:
        # The job is made inside, because `close` may cancel this before it has begun.
        async def answered() -> None:
            try:
                client.answer(request, await job())
            except UnderstudyError as error:
                client.refuse(request, error)
            except MALFORMED as error:
                client.reject(error)
            except Exception as error:
                # A bug in the supervisor. The client must get an answer all the same.
                log.exception("a request failed")
                client.refuse(
                    request, UnderstudyError(f"the supervisor failed to answer this request: {error!r}")
                )
            client.flush()
            self._turn()

        self._begin(answered())

    def _once_loaded(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        """Handle the request again after the app is loaded and its tasks are known."""

        async def asked_again() -> None:
            await self._pool.app_ready.wait()
            try:
                self.asked(client, frame)
            except MALFORMED as error:
                client.reject(error)

        self._begin(asked_again())

    def _begin(self, job: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    def _once_on_disk(self, client: ClientLink, request: int, payload: Any = None) -> None:
        def answer() -> None:
            client.answer(request, payload)
            client.flush()

        self._commits.after_commit(answer)

    # --- starting ---

    def _start(self, client: ClientLink, request: int, rows: Any, kind: Any = TASK, http: Any = None) -> None:
        self._refuse_new_work()
        payload = self._admission.start(rows, kind, http)
        is_quick = self._attempts.paces.is_quick
        name = rows[-1][1] if len(rows) >= MANY else None
        if name is not None and is_quick(name) and self._table.queues.crowded_for(name):
            self._commits.after_commit(
                lambda: self._in_background(client, request, lambda: self._once_short(payload, name))
            )
        else:
            self._once_on_disk(client, request, payload)

    def _map(self, client: ClientLink, request: int, parent: Any, base: Any, rows: Any) -> None:
        self._refuse_new_work()
        self._maps.begin(checked_id(parent), base, rows)
        self._once_on_disk(client, request, self._admission.start(rows))

    async def _once_short(self, payload: Any, name: str) -> Any:
        """Acknowledge a flood of quick tasks late: when the queue is short again, or does not move.

        A client sends four parts of a start ahead of their acknowledgements, so this is the back-pressure. Without
        it most of the tasks would be written as queued, dropped from memory and read back before they run.
        """
        # A supervisor that stops cancels the wait, not the answer.
        with suppress(asyncio.CancelledError):
            for _ in range(LOOKS):
                ended = self._ended()
                await asyncio.sleep(LOOK)
                if not self._table.queues.crowded_for(name) or self._ended() - ended < MOVED:
                    break
        return payload

    def _ended(self) -> int:
        return sum(seat.done for seat in self._pool.seats)

    def _retry(
        self, client: ClientLink, request: int, old_id: Any, new_id: Any, from_scratch: Any, once: Any = False
    ) -> None:
        self._refuse_new_work()
        if once and (self._admission.is_retried(old_id, new_id) or self._admission.is_taken(old_id)):
            self._once_on_disk(client, request, False)
            return
        if self._admission.retry(old_id, new_id, from_scratch=bool(from_scratch)):
            self._mailboxes.hand_on(old_id, new_id)
        self._once_on_disk(client, request, True if once else None)

    # --- messages and ends ---

    def _send(self, client: ClientLink, request: int, messages: Any, key: Any = None) -> None:
        self._refuse_new_work()
        if messages:
            # By columns: many messages are for the same few tasks, and equal ids are checked once.
            ids, values = zip(*messages, strict=True)
            for id in set(ids):
                checked_id(id)
            self._admission.check_values(values, "a message")
            if key is None:
                self._mailboxes.send(messages)
            else:
                (id,) = set(ids)
                self._mailboxes.send_once(id, values, checked_key(key))
        self._once_on_disk(client, request)

    def _close(self, client: ClientLink, request: int, id: Any) -> None:
        task = self._table.find(checked_id(id))
        if task is not None:
            if task.rests:
                raise InvalidOption(f"{id_text(id)} is an actor, whose mailbox cannot be closed: stop it")
            self._mailboxes.close(task)
        else:
            self._table.known(id)
        self._once_on_disk(client, request)

    def _cancel(self, client: ClientLink, request: int, id: Any) -> None:
        self._once_on_disk(client, request, self._attempts.cancel(checked_id(id)))

    def _wait(self, client: ClientLink, request: int, ids: Any) -> None:
        self._waiters.ask(client, request, ids, self._check_app)

    def _unwait(self, client: ClientLink, request: int) -> None:
        self._waiters.forget(client, request)

    def give_up(self, error: AppFailed) -> None:
        """No task will begin any more: fail all waits."""
        for client in self._clients:
            self._waiters.fail(client, error)
            self._actors.asks.fail(client, error)
        self.bulks.app_failed(error)

    def _subscribe(self, client: ClientLink, request: int, task: Any, stream: Any, progress: Any) -> None:
        self._subscribers.subscribe(client, request, task, stream, bool(progress))
        client.answer(request)

    # --- class actors ---

    def _actor(self, client: ClientLink, request: int, row: Any) -> None:
        self._refuse_new_work()
        self._once_on_disk(client, request, self._actors.start(row))

    def _tell(self, client: ClientLink, request: int, letters: Any) -> None:
        self._refuse_new_work()
        self._actors.tell(letters)
        self._once_on_disk(client, request)

    def _ask(self, client: ClientLink, request: int, id: Any, letter: Any, seen: Any) -> None:
        self._refuse_new_work()
        self._actors.ask(client, request, id, letter, seen)

    def _letters(self, client: ClientLink, request: int, rows: Any, seen: Any) -> None:
        if not rows or rows[0][0] != request:
            raise ValueError("its first letter must have the number of the request")
        try:
            self._refuse_new_work()
        except UnderstudyError as error:
            for row in rows:
                client.refuse(row[0], error)
            return
        told = self._actors.take(client, rows, seen)
        if told:

            def answer() -> None:
                for each in told:
                    client.reply(each)
                client.flush()

            self._commits.after_commit(answer)

    def _unask(self, client: ClientLink, request: int) -> None:
        self._actors.forget(client, request)

    def _redrive(self, client: ClientLink, request: int, id: Any, dead_id: Any) -> None:
        self._refuse_new_work()
        self._once_on_disk(client, request, self._actors.redrive(id, dead_id))

    def _resident(self, client: ClientLink, request: int, id: Any) -> None:
        client.answer(request, self._actors.worker_of(checked_id(id)))

    # --- events ---

    def _emit(self, client: ClientLink, request: int, rows: Any) -> None:
        self._refuse_new_work()
        self._once_on_disk(client, request, self._events.emit(rows))

    def _replay(self, client: ClientLink, request: int, id: Any, handler: Any) -> None:
        self._refuse_new_work()
        self._once_on_disk(client, request, self._events.replay(id, handler))

    def _listen(
        self, client: ClientLink, request: int, id: Any, pattern: Any, condition: Any, since: Any
    ) -> None:
        self._refuse_new_work()
        self._events.listen(checked_id(id), pattern, condition, since)
        self._once_on_disk(client, request)

    # --- links and monitors ---

    def take_ties(self, links: Links, monitors: Monitors, maps: Maps) -> None:
        """Carry out the requests about these."""
        self._admission.on_linked = links.add
        self._monitors = monitors
        self._maps = maps

    def _monitor(self, client: ClientLink, request: int, id: Any, watched: Any) -> None:
        self._refuse_new_work()
        self._monitors.monitor(checked_id(id), checked_id(watched))
        self._once_on_disk(client, request)

    def _demonitor(self, client: ClientLink, request: int, id: Any, watched: Any) -> None:
        self._once_on_disk(client, request, self._monitors.demonitor(checked_id(id), checked_id(watched)))

    # --- schedules ---

    def _schedule(self, client: ClientLink, request: int, row: Any) -> None:
        self._refuse_new_work()
        key, name, args, options, definition, stream, origin = row
        task = self._admission.check_task(name, args, options)
        made = self._schedules.schedule(key, task, args, options, definition, stream, origin)
        self._once_on_disk(client, request, made)

    def _plan(self, client: ClientLink, request: int, key: Any, what: Any, *args: Any) -> None:
        if what in ("run", "backfill"):
            self._refuse_new_work()
        self._once_on_disk(client, request, self._schedules.act(key, what, *args))

    # --- supervision trees ---

    def _supervise(self, client: ClientLink, request: int, tree: Any) -> None:
        self._refuse_new_work()
        self.trees.supervise(tree)
        self._once_on_disk(client, request, None)

    def _branch(self, client: ClientLink, request: int, path: Any, what: Any, *args: Any) -> None:
        self._once_on_disk(client, request, self.trees.act(path, what, *args))

    def take_trees(self, trees: Trees) -> None:
        """Carry out the requests about these supervision trees, which need this service for their actors."""
        self.trees = TreeRequests(trees, self._table.declared, self._admission, self._turn)

    def actor_of_tree(
        self, name: str, path: str, args: bytes | None, options: dict[str, Any] | None
    ) -> bytes:
        """Get or start the actor that is the child of a tree at this path; its id."""
        id = self._commits.clock.new_id()
        found, _ = self._actors.start((id, name, path, args, options, id, None))
        actor = self._table.find(found)
        if actor is not None and actor.record.tree != path:
            actor.record.tree = path
            self._table.touch(actor)
        return found

    # --- access over HTTP ---

    def _access(self, client: ClientLink, request: int, what: Any, *args: Any) -> None:
        if what == "add":
            self._commits.refuse_when_full()
            answer: Any = self.access.add(*args)
        elif what == "remove":
            answer = self.access.remove(*args)
        elif what == "key":
            answer = self.access.key()
        elif what == "record":
            self._commits.refuse_when_full()
            self.access.record(*args)
            answer = None
        else:
            raise ValueError(f"no such request about access: {what!r:.80}")
        self._once_on_disk(client, request, answer)

    # --- limits ---

    def _limits(self, client: ClientLink, request: int, id: Any = None) -> None:
        gate = self._table.gate
        if id is None:
            client.answer(request, gate.states())
            return
        task = self._table.find(checked_id(id))
        state = None if task is None else gate.state_of(task)
        client.answer(request, [] if state is None else [state])

    def _set_limit(self, client: ClientLink, request: int, name: Any, numbers: Any) -> None:
        self._table.gate.set_numbers(name, numbers)
        self._once_on_disk(client, request)

    # --- pools ---

    def _pools(self, client: ClientLink, request: int) -> None:
        client.answer(request, PoolStates(self._pool, self._table.queues, self._settings).all())

    # --- running the supervisor ---

    def _declare(self, client: ClientLink, request: int, modules: Any) -> None:
        self._in_background(client, request, lambda: self._declared(modules))

    async def _declared(self, modules: Any) -> None:
        if not self._facts["embedded"]:
            raise UnknownTask(
                "this supervisor serves a fixed app, which lacks the task; start it with the app that has it"
            )
        await self._pool.app_ready.wait()
        self._check_app()
        await self._pool.declare([str(module) for module in modules])

    def _parameters(self, client: ClientLink, request: int, name: Any) -> None:
        self._check_app()
        declared = self._table.declared
        client.answer(request, declared.parameters.get(declared.present(name)))

    def _triggers(self, client: ClientLink, request: int) -> None:
        self._check_app()
        declared = self._table.declared.triggers
        client.answer(
            request, [(name, each.pack()) for name, triggers in declared.items() for each in triggers]
        )

    def _bulk(self, client: ClientLink, request: int, id: Any, what: Any, *args: Any) -> None:
        if what == "wait":
            key = checked_id(id)
            self._in_background(client, request, lambda: self.bulks.ended(key))
        else:
            self._once_on_disk(client, request, self.bulks.act(id, what, *args))

    def _stack(self, client: ClientLink, request: int, id: Any) -> None:
        key = checked_id(id)
        self._in_background(client, request, lambda: self.stacks.of(key))

    def _tree(self, client: ClientLink, request: int) -> None:
        client.answer(request, self.tree())

    def _stop(self, client: ClientLink, request: int, now: Any) -> None:
        client.answer(request)
        client.flush()
        self.on_stop(bool(now))

    def _prune(self, client: ClientLink, request: int, everything: Any) -> None:
        now = float("inf") if everything else self._commits.clock.time()
        self._in_background(client, request, lambda: self.prune(now))

    async def prune(self, now: float) -> int:
        """Remove ended tasks whose keep time is over at `now`, in small steps between other work."""
        total = 0
        kept: list[bytes] = []
        while done := prune(self._commits.store, now, PRUNE_STEP, kept):
            total += done - len(kept)
            kept.clear()
            self.on_deleted()
            await self._commits.settled()
        # Replies that an asker may still ask for stay, whatever is pruned.
        while prune_replies(self._commits.store, self._commits.clock.time(), PRUNE_STEP):
            await self._commits.settled()
        # Events are kept for their time, too: an id must not be new again only because tasks are pruned.
        before = (now if now < float("inf") else self._commits.clock.time()) - self._settings.event_keep
        while prune_events(self._commits.store, before, PRUNE_STEP):
            await self._commits.settled()
        before = (now if now < float("inf") else self._commits.clock.time()) - self._settings.schedule_keep
        while prune_schedules(self._commits.store, before, PRUNE_STEP):
            self._schedules.pruned()
            await self._commits.settled()
        # The windows of unique tasks hold whatever is pruned.
        while prune_unique(self._commits.store, self._commits.clock.time(), PRUNE_STEP):
            await self._commits.settled()
        await self.bulks.prune(now)
        while self._table.writes.tallies.sum_up(self._commits.clock.time(), STEPS_STEP):
            await self._commits.settled()
        if total:
            await self.on_pruned()
        return total

    def _compact(self, client: ClientLink, request: int) -> None:
        self._in_background(client, request, self._commits.compact)


async def _nothing() -> None:
    pass
