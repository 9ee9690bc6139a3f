"""Events: each is committed with the runs that handle it and the messages to the tasks that listen, or not at all.

The handlers of an event are those that the catalogue has when it is emitted. There is no step after the commit that
could be lost.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgpack

from ...actors import values
from ...actors.checks import check_seconds
from ...actors.errors import (
    EventCycle,
    EventNotFound,
    InvalidOption,
    InvalidValue,
    NotInTask,
    ValueTooLarge,
)
from ...actors.events.condition import Condition, check_where, holds
from ...actors.events.event import CHAIN_LIMIT, Event, check_id
from ...actors.events.pattern import OWN, PatternMap, check_name, check_pattern, is_own
from ...actors.ids import id_bytes, id_text, is_task_id
from ...actors.state import State
from ...actors.task.trigger import EVENT, pack_event
from ...actors.tracing.traceparent import checked_trace
from ...storage.tables import event_rows
from ...storage.tables.event_rows import EventRow
from ...storage.tables.record import Record
from ...storage.tables.schema import ID_BYTES, Table
from ..rules.uniqueness import Wanted
from ..settings import Settings
from .commit_loop import CommitLoop
from .live_task import LiveTask
from .mailboxes import Mailboxes, Overfill
from .task_table import TaskTable

log = logging.getLogger("understudy")

#: Bytes that the copies of one event, one for each handler and listener, may take.
COPIES_LIMIT: Final = 1 << 30
#: Seconds since the epoch that no event reaches: the year 9999.
LATEST: Final = 253_000_000_000.0
#: Events that `since` reads at a time.
PART: Final = 1_000

#: The arguments of a handler are its event: msgpack of [[event], {}] around the encoded event.
_ARGS_HEAD: Final = b"\x92\x91"
_ARGS_TAIL: Final = b"\x80"


Runs = tuple[tuple[str, bytes], ...]
"""Handlers with the ids of their runs."""


class Emitted(NamedTuple):
    """What is told of an event that is about to be on disk."""

    id: str
    stream: bytes
    runs: tuple[bytes, ...]


class _Planned(NamedTuple):
    """An event that was checked, with the runs that its commit will make, and those that will be told of it."""

    uid: bytes
    row: EventRow
    given: bool
    listeners: Sequence[bytes]
    trace: str | None = None


class Prepared(NamedTuple):
    """Events that were checked together."""

    #: Those that are there already.
    there: Sequence[Emitted | None]
    planned: Sequence[_Planned]
    #: For each event its number among the planned ones.
    places: Sequence[int]


class Events:
    """All events of a home, and all that its tasks listen to."""

    def __init__(
        self, commits: CommitLoop, table: TaskTable, mailboxes: Mailboxes, settings: Settings
    ) -> None:
        self._commits = commits
        self._store = commits.store
        self._table = table
        self._mailboxes = mailboxes
        self._most_handlers = settings.event_handlers
        self._most_listens = settings.task_listens
        self._value_limit = settings.value_limit
        #: (task, condition) by pattern, and by task the keys of their rows with pattern and condition.
        self._listening: PatternMap[tuple[bytes, Condition]] = PatternMap()
        self._listens: dict[bytes, dict[bytes, tuple[str, Condition]]] = {}
        newest = commits.scan(Table.EVENTS, *event_rows.all_events(), limit=1, reverse=True)
        #: The largest uid of an event so far; one with a larger uid cannot be there yet.
        self._newest = event_rows.uid_of(newest[0][0]) if newest else b""
        self._load_listens()
        table.on_declared.append(self._watch_ends)
        self._watch_ends()

    # --- emitting ---

    def emit(self, rows: Any) -> list[Emitted]:
        """Store these events with their runs: all of them, or none and an error."""
        return self.carry_out(self.prepare(rows))

    def prepare(self, rows: Any) -> Prepared:
        """Check events that are to be emitted together, without any change.

        A row is (uid, id or None, name, stream or None, origin or None, time, encoded event), and perhaps the
        traceparent of its emitter. An event that is there already, by its uid or its id, stays as it is.
        """
        there: list[Emitted | None] = []
        planned: list[_Planned] = []
        known: dict[bytes | str, int] = {}
        places: list[int] = []
        for row in rows:
            uid, id, name, stream, origin, at, packed, *more = row
            (trace,) = more or (None,)
            self._check(uid, id, name, stream, origin, at, packed)
            checked_trace(trace)
            stored = self._stored(uid, id)
            if stored is not None:
                there.append(stored)
                places.append(-1)
                continue
            twin = known.get(uid, known.get(id)) if id is not None else known.get(uid)
            there.append(None)
            if twin is not None:
                places.append(twin)
                continue
            known[uid] = len(planned)
            if id is not None:
                known[id] = len(planned)
            places.append(len(planned))
            plan = self._plan(uid, id, name, stream, origin, at, packed)
            planned.append(plan if trace is None else plan._replace(trace=trace))
        return Prepared(there, planned, places)

    def carry_out(self, prepared: Prepared) -> list[Emitted]:
        """Emit events that were prepared just now."""
        made = self._carry_out(prepared.planned)
        return [
            stored if stored is not None else made[place]
            for stored, place in zip(prepared.there, prepared.places, strict=True)
        ]

    def _check(self, uid: Any, id: Any, name: Any, stream: Any, origin: Any, at: Any, packed: Any) -> None:
        if not is_task_id(uid):
            raise InvalidValue("an event's uid must be a UUID of version 7")
        if id is not None:
            check_id(id)
        check_name(name)
        for each in (stream, origin):
            if each is not None and not (isinstance(each, bytes) and len(each) == ID_BYTES):
                raise InvalidValue("stream and origin must be ids of 16 bytes")
        if type(at) not in (float, int) or not 0 <= at < LATEST:
            raise InvalidValue("the time of an event must be seconds since the epoch")
        if not isinstance(packed, bytes):
            raise InvalidValue(f"an event must be encoded, not {type(packed).__name__}")
        if len(packed) > self._value_limit:
            raise ValueTooLarge(
                f"event {name} takes {len(packed):,} bytes; the limit of this supervisor is {self._value_limit:,}. "
                "Store the data in a file and emit its path, or raise value_limit",
                len(packed),
                self._value_limit,
            )

    def _stored(self, uid: bytes, id: str | None) -> Emitted | None:
        """The event with this uid or this id, if there is one."""
        if id is not None:
            there = self._store.get(Table.EVENTS, event_rows.given_key(id))
            if there is not None and (row := self._row(there)) is not None:
                return _told(row)
        row = self._row(uid) if uid <= self._newest else None
        return None if row is None else _told(row)

    def _row(self, uid: bytes) -> EventRow | None:
        packed = self._store.get(Table.EVENTS, event_rows.event_key(uid))
        if packed is None:
            return None
        try:
            return EventRow.unpack(packed)
        except ValueError:
            log.exception("event %s is damaged", id_text(uid))
            return None

    def _plan(
        self,
        uid: bytes,
        id: str | None,
        name: str,
        stream: bytes | None,
        origin: bytes | None,
        at: float,
        packed: bytes,
    ) -> _Planned:
        """What the commit of this event is to make. EventCycle, ValueTooLarge, InvalidOption if it may not."""
        depth = 1 if origin is None else 1 + self._depth_of(origin)
        # The runtime's own events tell of the end of the longest chain, too.
        if depth > CHAIN_LIMIT + is_own(name):
            raise EventCycle(
                f"event {name} would be number {depth} in a row of events of which each was emitted by a run of the "
                "one before, or by what that has started: a handler emits what leads to itself again. Give it a "
                "pattern that leaves its own events out, or have it stop",
                name,
            )
        handlers = self._table.declared.handlers.match(name)
        if len(handlers) > self._most_handlers:
            raise InvalidOption(
                f"event {name} has {len(handlers):,} handlers; the limit of this supervisor is "
                f"{self._most_handlers:,}. Let fewer patterns match it, or raise event_handlers"
            )
        listeners = self._listeners(name, packed) if self._listens else ()
        if len(packed) * (len(handlers) + len(listeners)) > COPIES_LIMIT:
            raise ValueTooLarge(
                f"event {name} takes {len(packed):,} bytes for each of its {len(handlers):,} handlers and "
                f"{len(listeners):,} listeners, and together more than {COPIES_LIMIT:,}. Store the data in a file and "
                "emit its path",
                len(packed),
                COPIES_LIMIT,
            )
        runs = self._runs(handlers)
        row = EventRow(id or id_text(uid), name, at, stream or uid, origin, depth, packed, runs)
        return _Planned(uid, row, id is not None, listeners)

    def _depth_of(self, origin: bytes) -> int:
        record = self._table.record(origin)
        return 0 if record is None else record.depth

    def _runs(self, handlers: Iterable[str]) -> tuple[tuple[str, bytes], ...]:
        """These handlers, in the order of their names, with the id of a new run for each."""
        new_id = self._commits.clock.new_id
        return tuple([(handler, new_id()) for handler in sorted(handlers)])

    def _carry_out(self, plans: Sequence[_Planned]) -> list[Emitted]:
        """Put events, their runs and their messages into the open batch."""
        started = self._start(
            [
                (row, row.runs, row.stream == uid and len(row.runs) == 1, trace)
                for uid, row, _, _, trace in plans
            ]
        )
        plans = [
            plan if runs is plan.row.runs else plan._replace(row=plan.row._replace(runs=runs))
            for plan, runs in zip(plans, started, strict=True)
        ]
        rows: dict[bytes, bytes | None] = {}
        for uid, row, given, listeners, _ in plans:
            rows[event_rows.event_key(uid)] = row.pack()
            rows[event_rows.name_key(row.name, uid)] = b""
            if given:
                rows[event_rows.given_key(row.id)] = uid
            if row.stream != uid:
                if row.origin is None:
                    self._table.joined(row.stream)
                rows[event_rows.stream_key(row.stream, uid)] = b""
            if not row.runs and not listeners:
                rows[event_rows.unmatched_key(uid)] = b""
        size = sum(len(key) + len(value or b"") for key, value in rows.items())
        self._store.batch.merge(Table.EVENTS, rows, size)
        self._newest = max((self._newest, *(plan.uid for plan in plans)))
        for plan in plans:
            self._tell(plan.listeners, plan.row.packed)
        return [_told(plan.row) for plan in plans]

    def _start(self, events: Iterable[tuple[EventRow, Runs, bool, str | None]]) -> list[Runs]:
        """Start these runs of handlers, all at once; whether an event's run is alone in its stream; its trace context.

        The runs of each event as they are then: in place of one of a unique handler there may be an earlier one.
        """
        now = self._commits.clock.time()
        new: list[tuple[Record, bytes | None]] = []
        started: list[Runs] = []
        unique = self._table.declared.unique
        twins: dict[str, int] = {}
        for event, runs, is_alone, trace in events:
            if not runs:
                started.append(runs)
                continue
            trigger = pack_event(event.id, event.name)
            args = _ARGS_HEAD + event.packed + _ARGS_TAIL
            kept: list[tuple[str, bytes]] | None = None
            for number, (handler, id) in enumerate(runs):
                record = Record(id, handler, now, event.stream, event.origin)
                record.kind, record.trigger, record.depth = EVENT, trigger, event.depth
                if not is_alone and event.origin is None:
                    record.joined = True
                if trace is not None:
                    record.trace = trace
                if handler in unique and (there := self._earlier_run(record, args, new, twins)) is not None:
                    kept = list(runs) if kept is None else kept
                    kept[number] = handler, there
                    continue
                new.append((record, args))
            started.append(runs if kept is None else tuple(kept))
        if new:
            self._table.add(new)
        return started

    def _earlier_run(
        self,
        record: Record,
        args: bytes,
        new: list[tuple[Record, bytes | None]],
        twins: dict[str, int],
    ) -> bytes | None:
        """The task that a unique handler has in place of this run; None for none: `new` is to get the run.

        `twins` has the texts of those in `new`. Nobody could be told of a refusal: "raise" is as "return".
        """
        decision = self._table.unique.decide(record.name, args, None)
        if decision is None:
            return None
        if (number := twins.get(decision.text)) is not None:
            twin = new[number][0]
            if decision.options.on_conflict == "replace":
                new[number] = twin, args
            return twin.id
        if decision.wanted in (Wanted.START, Wanted.WAIT):
            twins[decision.text] = len(new)
            self._table.unique.claim(record, decision)
            return None
        if decision.wanted is Wanted.REPLACE:
            self._table.unique.renew(decision, args, None, record.id)
        return decision.id

    def replay(self, id: str, handler: str | None) -> Emitted:
        """Start the handlers of a stored event again: all that it has now, or this one."""
        uid = self._uid_of(id)
        row = None if uid is None else self._row(uid)
        if uid is None or row is None:
            raise EventNotFound(f"no event has the id {id!r:.80}; it may have been pruned", id)
        handlers = sorted(self._table.declared.handlers.match(row.name))
        if handler is not None:
            present = self._table.declared.present(handler)
            if present not in handlers:
                some = ", ".join(handlers[:5]) or "none"
                raise InvalidOption(
                    f"{handler} does not handle events named {row.name}; its handlers are: {some}"
                )
            handlers = [present]
        runs = self._runs(handlers)
        for _, run in row.runs:
            self._table.joined(run)
        (runs,) = self._start([(row, runs, not row.runs and row.stream == uid and len(runs) == 1, None)])
        self._store.batch.put(
            Table.EVENTS, event_rows.event_key(uid), row._replace(runs=row.runs + runs).pack()
        )
        if runs:
            self._store.batch.delete(Table.EVENTS, event_rows.unmatched_key(uid))
        return Emitted(row.id, row.stream, tuple(run for _, run in runs))

    def _uid_of(self, id: str) -> bytes | None:
        if not isinstance(id, str):
            raise InvalidOption(f"an event is named by its id, not by {id!r:.80}")
        there = (
            self._store.get(Table.EVENTS, event_rows.given_key(id))
            if id.isascii() and len(id) < 256
            else None
        )
        if there is not None:
            return there
        try:
            return id_bytes(id)
        except InvalidValue:
            return None

    # --- the runtime's own events ---

    def notice(self, name: str, data: dict[str, Any], cause: Record | None = None) -> None:
        """Emit one of the runtime's own events, if a handler or a listener matches it.

        It belongs to the stream of the task that caused it. Runs of the runtime's own events cause none.
        """
        if not (self._table.declared.handlers.own or self._listening.own):
            return
        if cause is not None and cause.trigger is not None and is_own(cause.trigger.get("event", "")):
            return
        if not (self._table.declared.handlers.match(name) or self._listening.match(name)):
            return
        uid, now = self._commits.clock.new_id(), self._commits.clock.time()
        stream, origin = (uid, None) if cause is None else (cause.stream, cause.id)
        event = Event(
            id_text(uid), name, data, now, id_text(stream), None if origin is None else id_text(origin)
        )
        try:
            self._carry_out([self._plan(uid, None, name, stream, origin, now, values.pack(event))])
        except (EventCycle, InvalidOption, ValueTooLarge) as error:
            log.warning("event %s was left out: %s", name, error)

    # --- listening ---

    def listen(self, id: bytes, pattern: Any, condition: Any, since: Any) -> None:
        """Put every matching event into this task's mailbox from now on, and those of the last `since` seconds.

        It ends with the task. Listening to the same a second time, as another attempt does, changes nothing.
        """
        check_pattern(pattern)
        condition = check_where(dict(condition))
        check_seconds("since", since, optional=True)
        task = self._table.find(id)
        if task is None or task.rests:
            self._table.known(id)
            raise NotInTask(f"{id_text(id)} is no task that could listen: it has ended, or it is an actor")
        mine = self._listens.setdefault(task.id, {})
        key = event_rows.listen_key(task.id, pattern, condition)
        if key in mine:
            return
        if len(mine) >= self._most_listens:
            raise InvalidOption(
                f"task {id_text(task.id)} listens to {len(mine):,} patterns, and the limit of this supervisor is "
                f"{self._most_listens:,}. Take one pattern for several names, or raise task_listens"
            )
        earlier = [] if since is None else self._earlier(pattern, condition, since)
        self._store.put(Table.EVENTS, key, event_rows.pack_listen(pattern, condition))
        mine[key] = (pattern, condition)
        self._listening.add(pattern, (task.id, condition))
        self._watch_ends()
        if earlier:
            self._mailboxes.send([(task.id, packed) for packed in earlier], overfill=Overfill.ALWAYS)

    def _earlier(self, pattern: str, condition: Condition, since: float) -> list[bytes]:
        """The events of the last seconds that match, in their order."""
        found: PatternMap[int] = PatternMap([(pattern, 1)])
        start, stop = event_rows.events_between(self._commits.clock.time() - since)
        packed: list[bytes] = []
        while rows := self._store.look(Table.EVENTS, start, stop, limit=PART):
            for key, value in rows:
                try:
                    row = EventRow.unpack(value)
                except ValueError:
                    log.exception("event %s is damaged", id_text(event_rows.uid_of(key)))
                    continue
                if found.match(row.name) and (not condition or holds(condition, _data_of(row.packed))):
                    packed.append(row.packed)
            start = rows[-1][0] + b"\0"
        return packed

    def _listeners(self, name: str, packed: bytes) -> list[bytes]:
        """The tasks that listen to this event, each once."""
        matching = self._listening.match(name)
        if not matching:
            return []
        data: Any = None
        if any(condition for _, condition in matching):
            data = _data_of(packed)
        return list(dict.fromkeys(task for task, condition in matching if holds(condition, data)))

    def _tell(self, listeners: Sequence[bytes], packed: bytes) -> None:
        for id in listeners:
            task = self._table.find(id)
            if task is not None and not task.record.closed:
                # Also into a full mailbox: the emitter has nothing to do with it, and no event may be missed.
                self._mailboxes.send([(id, packed)], overfill=Overfill.ALWAYS)

    def _watch_ends(self) -> None:
        """Hear of the ends of tasks while a task listens, or a handler wants the runtime's own events."""
        wanted = self._listens or self._table.declared.handlers.own
        self._table.ends.follow_all(self._ended, bool(wanted))

    def _ended(self, task: LiveTask, _event: object, _error: object) -> None:
        """A task has ended: it listens no longer, and its end may be an event itself."""
        if task.id in self._listens:
            self._forget_listens(task)
        record = task.record
        if record.state is not State.COMPLETED:
            self.notice(f"{OWN}.task.{record.state}", _end_of(record), record)

    def _forget_listens(self, task: LiveTask) -> None:
        for key, (pattern, condition) in self._listens.pop(task.id, {}).items():
            self._store.delete(Table.EVENTS, key)
            self._listening.discard(pattern, (task.id, condition))
        self._watch_ends()

    def _load_listens(self) -> None:
        for key, row in self._commits.scan(Table.EVENTS, *event_rows.all_listens()):
            try:
                pattern, condition = event_rows.unpack_listen(row)
                check_pattern(pattern)
            except (ValueError, InvalidOption):
                log.exception("what a task listens to is damaged")
                continue
            task = event_rows.listener_of(key)
            self._listens.setdefault(task, {})[key] = (pattern, condition)
            self._listening.add(pattern, (task, condition))


def _end_of(record: Record) -> dict[str, Any]:
    """The data of the event that a task has ended."""
    kind, message = (None, None) if record.error is None else record.error[:2]
    return {
        "id": id_text(record.id),
        "task": record.name,
        "state": str(record.state),
        "attempt": record.attempt,
        "error": kind,
        "message": message,
    }


def _told(row: EventRow) -> Emitted:
    return Emitted(row.id, row.stream, tuple([run for _, run in row.runs]))


def _data_of(packed: bytes) -> Any:
    """The data of an encoded event, without the types that only its receiver knows; None if it cannot be read."""
    try:
        event = msgpack.unpackb(packed, strict_map_key=False)
        _, fields = msgpack.unpackb(event.data, strict_map_key=False)
        return fields[2]
    except (ValueError, TypeError, AttributeError, LookupError, msgpack.UnpackException):
        return None
