"""What clients ask for, and the answers. Whatever changes something is answered once it is on disk."""

from __future__ import annotations

import asyncio
import copy
import functools
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from ..actors.errors import (
    AppFailed,
    InvalidOption,
    InvalidValue,
    TaskNotFound,
    UnderstudyError,
    UnknownTask,
    ValueTooLarge,
)
from ..actors.ids import id_text, is_task_id
from ..actors.options import Options
from ..actors.task import DELAY_LIMIT, KEY_LIMIT, NAME_LIMIT
from ..storage.batch import Batch
from ..storage.prune import prune
from ..storage.record import Record
from ..storage.schema import Table, idempotency_key
from .attempts import Attempts
from .book import Book
from .client_link import MALFORMED, ClientLink
from .entry import Entry
from .frames import Ask
from .journal import Journal
from .mail import Mailroom
from .pool import Pool
from .settings import Settings

log = logging.getLogger("understudy")

#: Tasks that one step of pruning removes.
PRUNE_STEP = 200


class Service:
    """Owns the connections of clients."""

    def __init__(
        self,
        journal: Journal,
        book: Book,
        mailroom: Mailroom,
        attempts: Attempts,
        pool: Pool,
        settings: Settings,
        facts: dict[str, Any],
        turn: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._journal = journal
        self._book = book
        self._mailroom = mailroom
        self._attempts = attempts
        self._pool = pool
        self._settings = settings
        self._facts = facts
        self._turn = turn
        self._clients: set[ClientLink] = set()
        self._waiting: dict[bytes, list[tuple[ClientLink, int]]] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._reading = True
        #: The changes that go to disk with the open batch, and which batch that is.
        self._changes: list[tuple[Any, ...]] = []
        self._changes_in: Batch | None = None
        #: Asked to stop the supervisor; True means now.
        self.on_stop: Callable[[bool], None] = lambda _: None
        #: Gives the live process tree.
        self.tree: Callable[[], dict[str, Any]] = dict
        self._on: dict[int, Callable[[ClientLink, tuple[Any, ...]], None]] = {
            Ask.START: self._start,
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
        }
        newest = journal.scan(Table.TASKS, limit=1, reverse=True)
        self._newest = newest[0][0] if newest else b""
        book.on_ended = self._ended

    # --- connections ---

    def connection(self) -> ClientLink:
        """A protocol for a new connection."""
        return ClientLink(self, self._settings.value_limit)

    def connected(self, client: ClientLink) -> None:
        """A client has said hello."""
        self._clients.add(client)
        client.welcome(self._facts)
        if not self._reading:
            client.read(False)

    def gone(self, client: ClientLink) -> None:
        """A client has gone; its waits are forgotten, what it asked for is done all the same."""
        self._clients.discard(client)
        if client.subscription is not None:
            self._unsubscribe(client)
        for request in list(client.waits):
            self._forget_wait(client, request)

    def asked(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        """A request has come in."""
        handler = self._on.get(frame[0])
        if handler is None:
            raise ValueError(f"no operation {frame[0]}")
        try:
            handler(client, frame)
        except UnderstudyError as error:
            client.refuse(frame[1], error)
        self._turn()

    def flush(self) -> None:
        """Send the answers of this turn."""
        for client in list(self._clients):
            client.flush()

    def read(self, go_on: bool) -> None:
        """Stop or go on reading requests."""
        self._reading = go_on
        for client in self._clients:
            client.read(go_on)

    async def close(self, reason: str) -> None:
        """Say goodbye to everybody."""
        for job in list(self._jobs):
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        for client in list(self._clients):
            client.goodbye(reason)
            client.close()

    def _refuse_new_work(self) -> None:
        self._check_app()
        self._journal.refuse_when_full()

    def _check_app(self) -> None:
        if self._pool.app_error is not None:
            # A copy: an error that is raised again and again gathers a longer traceback each time.
            raise copy.copy(self._pool.app_error)

    def _in_background(self, client: ClientLink, request: int, job: Coroutine[Any, Any, Any]) -> None:
        async def answered() -> None:
            try:
                client.answer(request, await job)
            except UnderstudyError as error:
                client.refuse(request, error)
            except MALFORMED as error:
                client.reject(error)
            client.flush()
            self._turn()

        self._begin(answered())

    def _once_loaded(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        """Take the request up again when it is known which tasks there are."""

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

        self._journal.after_commit(answer)

    # --- starting ---

    def _start(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        _, request, rows = frame
        self._refuse_new_work()
        if self._pool.app_ready.is_set():
            self._once_on_disk(client, request, self._admit(rows))
        else:
            self._once_loaded(client, frame)

    def _admit(self, rows: Any) -> list[bytes] | None:
        """Start all of the rows, or none; the ids where a key led to a task that was there already, else None."""
        now = time.time()
        admitted: dict[bytes, tuple[Record, bytes | None]] = {}
        keys: dict[str, bytes] = {}
        ids: list[bytes] = []
        others = False
        for row in rows:
            id, key = row[0], row[4]
            there = id if id in admitted else self._already(id, key, keys)
            ids.append(there or id)
            if there is not None:
                others = others or there != id
                continue
            admitted[id] = (self._checked(row, now), row[2])
            if key is not None:
                keys[key] = id
        for record, args in admitted.values():
            if record.key is not None:
                self._journal.put(Table.KEYS, idempotency_key(record.key), record.id)
            self._book.add(record, args)
        return ids if others else None

    def _already(self, id: bytes, key: str | None, keys: dict[str, bytes]) -> bytes | None:
        """The task that this start has led to before: by its key, or because the client asks a second time."""
        if not is_task_id(id):
            raise InvalidValue("a task's id must be a UUID of version 7")
        if key is not None:
            if key in keys:
                return keys[key]
            if not isinstance(key, str) or len(key.encode()) > KEY_LIMIT:
                raise InvalidOption(f"a key must be text of at most {KEY_LIMIT:,} bytes: {key!r:.80}")
            there = self._journal.get(Table.KEYS, idempotency_key(key))
            if there is not None and self._book.record(there) is not None:
                return there
        if id in self._book.entries:
            return id
        if id > self._newest:
            # Ids grow with time, so this one cannot be on disk: no need to look.
            self._newest = id
            return None
        return id if self._book.record(id) is not None else None

    def _checked(self, row: tuple[Any, ...], now: float) -> Record:
        id, name, args, options, key, due, stream, origin = row
        self._check_declared(name)
        if args is not None:
            self._check_value(args, "arguments")
        if due is not None and not (isinstance(due, int | float) and 0 <= due <= now + DELAY_LIMIT + 1):
            raise InvalidOption(f"the time of the first attempt must lie within ten years: {due!r:.40}")
        if options is not None:
            Options.unpack(options, self._book.tasks[name][0])
        if not _is_id(stream) or not (origin is None or _is_id(origin)):
            raise InvalidValue("stream and origin must be ids of 16 bytes")
        return Record(id, name, now, stream, origin, options, key, due if due is None or due > now else None)

    def _check_declared(self, name: Any) -> None:
        if name not in self._book.tasks:
            known = ", ".join(sorted(self._book.tasks)[:10]) or "none at all"
            raise UnknownTask(
                f"the supervisor's app declares no task {name!r:.{NAME_LIMIT}}; it knows {known}. "
                "Start the supervisor with the app that has it",
                str(name),
            )

    def _check_value(self, value: Any, what: str) -> None:
        limit = self._settings.value_limit
        if not isinstance(value, bytes):
            raise InvalidValue(f"{what} must be encoded, not {type(value).__name__}")
        if len(value) > limit:
            raise ValueTooLarge(
                f"{what} takes {len(value):,} bytes; the limit of this supervisor is {limit:,}. "
                "Store the data in a file and pass its path, or raise value_limit",
                len(value),
                limit,
            )

    def _retry(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        _, request, old_id, new_id, from_scratch = frame
        self._refuse_new_work()
        if not self._pool.app_ready.is_set():
            self._once_loaded(client, frame)
            return
        old = self._book.record(_checked_id(old_id))
        if old is None:
            raise TaskNotFound(f"no task has the id {id_text(old_id)}", id_text(old_id))
        if old.ended is None:
            raise InvalidOption(f"task {id_text(old_id)} is {old.state}: only an ended task can be tried again")
        if not is_task_id(new_id):
            raise InvalidValue("a task's id must be a UUID of version 7")
        if self._book.record(new_id) is not None:
            # The client asks a second time, because the first answer was lost.
            self._once_on_disk(client, request)
            return
        self._check_declared(old.name)
        self._newest = max(self._newest, new_id)
        record = Record(new_id, old.name, time.time(), old.stream, old.origin, old.options, retry_of=old_id)
        state = None if from_scratch else self._journal.get(Table.CHECKPOINTS, old_id)
        if state is not None:
            self._journal.put(Table.CHECKPOINTS, new_id, state)
            record.checkpoint = (time.time(), len(state))
        self._book.add(record, self._journal.get(Table.ARGS, old_id))
        self._once_on_disk(client, request)

    # --- messages and ends ---

    def _send(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        _, request, letters = frame
        self._refuse_new_work()
        for id, value in letters:
            _checked_id(id)
            self._check_value(value, "a message")
        self._mailroom.send(letters)
        self._once_on_disk(client, request)

    def _close(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        _, request, id = frame
        entry = self._book.find(_checked_id(id))
        if entry is not None:
            self._mailroom.close(entry)
        elif self._book.record(id) is None:
            raise TaskNotFound(f"no task has the id {id_text(id)}", id_text(id))
        self._once_on_disk(client, request)

    def _cancel(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        _, request, id = frame
        self._once_on_disk(client, request, self._attempts.cancel(_checked_id(id)))

    # --- waiting ---

    def _wait(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        _, request, ids = frame
        over: list[Record] = []
        left: set[bytes] = set()
        entries = self._book.entries
        for id in ids:
            # What is in memory is told of once its end is on disk, even if it has ended already.
            if id in entries:
                left.add(id)
                continue
            record = self._book.record(_checked_id(id))
            if record is None:
                raise TaskNotFound(f"no task has the id {id_text(id)}", id_text(id))
            if record.ended is None:
                left.add(id)
            else:
                over.append(record)
        if over:
            client.ended(request, [self._row(record) for record in over])
        if not left:
            client.answer(request)
            return
        self._check_app()
        self._forget_wait(client, request)
        client.waits[request] = left
        who = (client, request)
        waiting = self._waiting
        for id in left:
            waiting.setdefault(id, []).append(who)

    def give_up(self, error: AppFailed) -> None:
        """No task will begin any more: tell everybody who waits for one."""
        for client in self._clients:
            for request in list(client.waits):
                self._forget_wait(client, request)
                client.refuse(request, error)
            client.flush()

    def _row(self, record: Record) -> tuple[Any, ...]:
        return record.id, record.state, self._book.result_of(record.id), record.error

    def _unwait(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        self._forget_wait(client, frame[1])

    def _forget_wait(self, client: ClientLink, request: int) -> None:
        for id in client.waits.pop(request, ()):
            waiting = self._waiting.get(id, [])
            if (client, request) in waiting:
                waiting.remove((client, request))
                if not waiting:
                    del self._waiting[id]

    def _ended(self, entries: list[Entry]) -> None:
        """These tasks' ends are on disk: tell who waits for them."""
        told: dict[tuple[ClientLink, int], list[Any]] = {}
        for entry in entries:
            waiting = self._waiting.pop(entry.id, None)
            if waiting is not None:
                record = entry.record
                row = (record.id, record.state, entry.result, record.error)
                for who in waiting:
                    told.setdefault(who, []).append(row)
        for (client, request), rows in told.items():
            left = client.waits.get(request)
            if left is None:
                continue
            client.ended(request, rows)
            left.difference_update(row[0] for row in rows)
            if not left:
                del client.waits[request]
                client.answer(request)
            client.flush()

    # --- events ---

    def _subscribe(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        _, request, task, stream = frame
        client.subscription = (request, task, stream)
        self._book.on_change = self._changed
        client.answer(request)

    def _unsubscribe(self, client: ClientLink) -> None:
        client.subscription = None
        if not any(other.subscription for other in self._clients):
            self._book.on_change = None

    def _changed(self, entry: Entry) -> None:
        record = entry.record
        batch = self._journal.store.batch
        if batch is not self._changes_in:
            self._changes_in, self._changes = batch, []
            self._journal.after_commit(functools.partial(self._tell_changes, self._changes))
        self._changes.append((record.id, record.name, record.state, record.attempt, time.time(), record.stream))

    def _tell_changes(self, changes: list[tuple[Any, ...]]) -> None:
        for client in list(self._clients):
            if client.subscription is not None:
                _, task, stream = client.subscription
                rows = [row for row in changes if task in (None, row[1]) and stream in (None, row[5])]
                if rows:
                    client.event(rows)
                    client.flush()

    # --- running the supervisor ---

    def _declare(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        _, request, modules = frame
        self._in_background(client, request, self._declared(modules))

    async def _declared(self, modules: Any) -> None:
        if not self._facts["embedded"]:
            raise UnknownTask("this supervisor serves a fixed app; start it with the app that has the task")
        await self._pool.app_ready.wait()
        self._check_app()
        await self._pool.declare([str(module) for module in modules])

    def _tree(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        client.answer(frame[1], self.tree())

    def _stop(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        client.answer(frame[1])
        client.flush()
        self.on_stop(bool(frame[2]))

    def _prune(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        self._in_background(client, frame[1], self.prune(float("inf") if frame[2] else time.time()))

    async def prune(self, now: float) -> int:
        """Remove ended tasks whose time to be kept is over by `now`, in small steps beside the work."""
        total = 0
        while removed := prune(self._journal.store, now, PRUNE_STEP):
            total += removed
            await self._journal.settled()
        return total

    def _compact(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        self._in_background(client, frame[1], self._journal.compact())


def _is_id(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == 16


def _checked_id(value: Any) -> bytes:
    if not _is_id(value):
        raise InvalidValue("an id must have 16 bytes")
    return bytes(value)

