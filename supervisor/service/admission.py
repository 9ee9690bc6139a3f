"""Admission: the checks of START and RETRY requests, and their idempotence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ...actors.checks import check_flag
from ...actors.errors import (
    InvalidOption,
    InvalidValue,
    NotUnique,
    TriggerChanged,
    UnknownPool,
    UnknownTask,
    ValueTooLarge,
)
from ...actors.ids import id_text, is_task_id
from ...actors.qualified_names import some_of, suggestion
from ...actors.task.declaration import NAME_LIMIT
from ...actors.task.launch import DELAY_LIMIT, KEY_LIMIT
from ...actors.task.limit import checked_limit_key, checked_unique_key
from ...actors.task.metadata import checked as checked_metadata
from ...actors.task.options import Options
from ...actors.task.trigger import CLIENTS_KINDS, HTTP, TASK, Trigger
from ...actors.tracing.traceparent import checked_trace
from ...storage.tables.index_rows import Facet, facet_of_id, newest_in, single
from ...storage.tables.record import EXTRAS, Record
from ...storage.tables.schema import Table, after_prefix, idempotency_key
from ...storage.tables.unique_rows import key_in
from ..task_kinds import OWN_KINDS, kind_of
from ..tasks.commit_loop import CommitLoop
from ..tasks.kept_steps import KeptSteps
from ..tasks.task_table import TaskTable
from ..tasks.unique_starts import UniqueStarts
from ..tasks.unique_tasks import Decision
from ..wire.checks import checked_id, is_id

#: What a row of a START may have among the options that is none, with its check.
_EXTRAS: Final[dict[str, Callable[[Any], Any]]] = {
    "metadata": checked_metadata,
    "limit_key": checked_limit_key,
    "unique_key": checked_unique_key,
    "trace": checked_trace,
    "linked": lambda linked: _checked_flag("link", linked),
}
assert _EXTRAS.keys() == EXTRAS
_NONE: Final[dict[str, Any]] = {}
#: Rows of the index read at a time.
FACET_ROWS: Final = 16


class Admission:
    """Makes tasks from the rows of a START: from all of them, or from none with an error."""

    def __init__(self, commits: CommitLoop, table: TaskTable, value_limit: int) -> None:
        self._commits = commits
        self._table = table
        self._value_limit = value_limit
        #: Called with the new tasks that are linked to those that start them.
        self.on_linked: Callable[[Sequence[Record]], None] = lambda _: None
        newest = commits.scan(Table.TASKS, limit=1, reverse=True)
        #: The largest id seen so far; a larger one cannot be on disk.
        self._newest = newest[0][0] if newest else b""

    def start(self, rows: Any, kind: Any = TASK, http: Any = None) -> list[bytes] | None:
        """Start all of the rows or none, as runs of this kind; `http` is what has triggered one of an HTTP request.

        Returns the task id of each row if a key led to another task, else None. A key may be (text, "start"): a task
        with this key that has ended is started anew.
        """
        if not rows:
            return None
        ids, names, _, options, keys, _, _, _ = zip(*rows, strict=True)
        if not all(map(is_task_id, ids)):
            raise InvalidValue("a task's id must be a UUID of version 7")
        there: list[bytes] | None = None
        if _given(keys) or min(ids) <= self._newest or len(set(ids)) < len(ids):
            rows, there = self._fresh(rows)
        unique = self._unique_among(rows, names, options)
        if unique is not None:
            rows = list(unique.fresh.values())
            if unique.led:
                there = [unique.led.get(id, id) for id in there or ids]
        if rows:
            self._begin(rows, kind, http, unique)
        if unique is not None:
            unique.renew()
        # Ids grow with time, so an id larger than all of these cannot be on disk and needs no lookup.
        self._newest = max((self._newest, *ids))
        return None if there is None or there == list(ids) else there

    def _unique_among(
        self, rows: Any, names: tuple[Any, ...], options: tuple[Any, ...]
    ) -> UniqueStarts | None:
        """What the unique ones of these rows do; None if none of them is unique. NotUnique if one is refused."""
        unique, declared = self._table.unique, self._table.declared
        named = bool(declared.unique) and (declared.aliases or not declared.unique.keys().isdisjoint(names))
        if not named and options.count(None) == len(options):
            return None
        if declared.aliases:
            rows = [(id, declared.present(name), *rest) for id, name, *rest in rows]
        if not any(unique.concerns(row[1], row[3]) for row in rows):
            return None
        starts = UniqueStarts(unique, rows)
        replacing = [row for _, row in starts.renewed.values()]
        self.check_values(_given(tuple(row[2] for row in replacing)), "the argument list")
        self._check_dues(row[5] for row in replacing)
        return starts

    def _check_dues(self, dues: Iterable[Any]) -> None:
        now = self._commits.clock.time()
        for due in dues:
            if due is not None and not (isinstance(due, int | float) and 0 <= due <= now + DELAY_LIMIT + 1):
                raise InvalidOption(f"the time of the first attempt must lie within ten years: {due!r:.40}")

    def _begin(self, rows: Any, kind: Any, http: Any, unique: UniqueStarts | None = None) -> None:
        """Check the rows and add their tasks to the task table."""
        if kind != TASK and kind not in CLIENTS_KINDS:
            raise InvalidOption(f"a client starts no tasks of the kind {kind!r:.40}")
        now = self._commits.clock.time()
        declared = self._table.declared
        if declared.aliases:
            rows = [(id, declared.present(name), *rest) for id, name, *rest in rows]
        # By columns: most fields are equal in all rows, and equal ones are checked once.
        _, names, args, options, keys, dues, streams, origins = zip(*rows, strict=True)
        for name in set(names):
            self.check_declared(name)
            if name in declared.actors:
                raise InvalidOption(f"{name} is a class of actors, not a task: get one with Runtime.actor")
        self.check_values(_given(args), "the argument list")
        self._check_dues(_given(dues))
        if not (all(map(is_id, set(streams))) and all(map(is_id, set(_given(origins))))):
            raise InvalidValue("stream and origin must be ids of 16 bytes")
        depths = self._depths(set(_given(origins)))
        extras: dict[bytes, dict[str, Any]] = {}
        if _given(options):
            rows = [_without_extras(row, extras) for row in rows]
            for id, name, _, changes, _, _, _, origin in rows:
                self.check_options(name, changes)
                if origin is None and "linked" in extras.get(id, _NONE):
                    raise InvalidOption("link=True is for a task that another one starts")
        elif declared.no_pool:
            for name in set(names):
                self.check_options(name, None)
        new = [
            (Record(id, name, now, stream, origin, options, key, due if due and due > now else None), args)
            for id, name, args, options, key, due, stream, origin in rows
        ]
        if kind != TASK:
            trigger = self._trigger(names, http) if kind == HTTP else None
            for record, _ in new:
                record.kind, record.trigger = kind, trigger
        if depths:
            for record, _ in new:
                record.depth = depths.get(record.origin or b"", 0)
        if extras:
            for record, _ in new:
                for name, value in extras.get(record.id, _NONE).items():
                    if name == "unique_key":
                        continue
                    if name == "limit_key" and record.name not in declared.limits:
                        raise InvalidOption(
                            f"limit_key= is for a task with a limit, and {record.name} has none"
                        )
                    setattr(record, name, value)
        if not OWN_KINDS.keys().isdisjoint(names):
            for record, packed in new:
                _close_if_deaf(record, packed)
        # From here on nothing is refused any more.
        if unique is not None:
            unique.claim(new)
        if _given(keys):
            for record, _ in new:
                if record.key is not None:
                    self._commits.put(Table.KEYS, idempotency_key(record.key), record.id)
        self._table.add(new)
        if extras and (linked := [record for record, _ in new if record.linked]):
            self.on_linked(linked)

    def _trigger(self, names: tuple[str, ...], http: Any) -> dict[str, Any]:
        """What has triggered a run of this task. TriggerChanged if its declaration is not the one of the caller."""
        (name,), (method, path, digest, delivery) = names, http
        for trigger in self._table.declared.triggers.get(name, ()):
            if (trigger.method, trigger.path, trigger.digest) == (method, path, digest):
                if delivery is not None and not (isinstance(delivery, str) and len(delivery) <= KEY_LIMIT):
                    raise InvalidOption(f"a delivery is named by text of at most {KEY_LIMIT:,} characters")
                return Trigger(method=method, path=path, delivery=delivery).pack()
        raise TriggerChanged(f"{name} handles {method} {path} in another way now, or not any more")

    def _depths(self, origins: set[bytes]) -> dict[bytes, int]:
        """How deep in a chain of events the tasks are that start others, of those that are in one."""
        depths: dict[bytes, int] = {}
        for origin in origins:
            # It runs, so it is in memory. One that does not run any more starts nothing that goes on without end.
            task = self._table.tasks.get(origin)
            if task is not None and task.record.depth:
                depths[origin] = task.record.depth
        return depths

    def _fresh(self, rows: Any) -> tuple[list[tuple[Any, ...]], list[bytes]]:
        """The rows that start new tasks, and the task id of every row.

        The id is that of an existing task if the key is known or the client repeats the request.
        """
        tasks = self._table.tasks
        older = [row[0] for row in rows if row[0] <= self._newest and row[0] not in tasks]
        on_disk = self._commits.get_many(Table.TASKS, older)
        ids = [row[0] for row in rows]
        are_new = not on_disk and len(set(ids)) == len(ids) and tasks.keys().isdisjoint(ids)
        if are_new and all(row[4] is None for row in rows):
            # They only seem to be old, as the children of a map do.
            return list(rows), ids
        fresh: dict[bytes, tuple[Any, ...]] = {}
        keys: dict[str, bytes] = {}
        there: list[bytes] = []
        for row in rows:
            id, key = row[0], row[4]
            if starts_new := type(key) is tuple:
                key = _of_pair(key)
            known = None if key is None else keys.get(key) or self._of_key(key)
            # Rows of one request with the same key share one task, also if the request is repeated.
            if starts_new and known not in (None, id) and key not in keys and self._has_ended(known):
                known = None
            if known is None and (id in fresh or id in tasks or id in on_disk):
                known = id
            if known is None:
                fresh[id] = (*row[:4], key, *row[5:]) if starts_new else row
            if key is not None:
                keys.setdefault(key, known or id)
            there.append(known or id)
        return list(fresh.values()), there

    def _has_ended(self, id: bytes) -> bool:
        return self._table.known(id).ended is not None

    def _of_key(self, key: Any) -> bytes | None:
        """The existing task with this key, or None."""
        if not isinstance(key, str) or len(key.encode()) > KEY_LIMIT:
            raise InvalidOption(f"a key must be text of at most {KEY_LIMIT:,} bytes: {key!r:.80}")
        there = self._commits.get(Table.KEYS, idempotency_key(key))
        return there if there is not None and self._table.record(there) is not None else None

    def note(self, id: bytes) -> None:
        """A task with this id has been made elsewhere."""
        self._newest = max(self._newest, id)

    def check_declared(self, name: Any) -> None:
        if name not in self._table.declared.tasks:
            known = self._table.declared.names()
            what_to_do = (
                'A task of a script must be declared at its top level, outside `if __name__ == "__main__":`. Only a '
                "supervisor that the script has started knows it by this name. For one that serves the script's file, "
                'give it a name of its own: @task(name="…")'
                if str(name).startswith("__main__:")
                else "Start the supervisor with the app that has it"
            )
            raise UnknownTask(
                f"the supervisor's app declares no task {name!r:.{NAME_LIMIT}}.{suggestion(str(name), known)} It knows "
                f"{some_of(str(name), known)}. {what_to_do}",
                str(name),
            )

    def check_options(self, name: str, changes: Any) -> None:
        """Raise InvalidOption for options that a start of this task cannot change so, and UnknownPool."""
        declared = self._table.declared
        options = declared.tasks[name][0]
        if changes is not None:
            options = Options.unpack(_options_among(changes), options)
        pool, pools = options.pool, declared.pools
        if pool is None or (pool in pools and name not in OWN_KINDS):
            return
        if name in OWN_KINDS:
            raise InvalidOption("a container has no pool=: the engine runs it, not a worker")
        there = f"It has {', '.join(pools)}" if pools else "It has none"
        raise UnknownPool(
            f"task {name} is for the pool {pool!r}, and the supervisor has no such pool.{suggestion(pool, pools)} "
            f"{there}. Start it with that pool: serve --pool {pool}=1, or Runtime(pools={{{pool!r}: 1}})",
            pool,
            pools,
        )

    def check_task(self, name: Any, args: Any, changes: Any) -> str:
        """The present name of a task that is to be started later, with these arguments and changed options."""
        declared = self._table.declared
        name = declared.present(name)
        self.check_declared(name)
        if name in declared.actors:
            raise InvalidOption(f"{name} is a class of actors: have a task call it")
        if args is not None:
            self.check_values([args], "the argument list")
        if changes is not None:
            for extra, check in _EXTRAS.items():
                check(changes.get(extra))
            if changes.get("linked"):
                raise InvalidOption(f"link=True is for a start, and {name} is started by a schedule")
        self.check_options(name, changes)
        return str(name)

    def check_values(self, values: Sequence[Any], what: str) -> None:
        """Raise InvalidValue if a value is not encoded, ValueTooLarge if it is above the limit."""
        if set(map(type, values)) <= {bytes} and max(map(len, values), default=0) <= self._value_limit:
            return
        for value in values:
            self._check_value(value, what)

    def _check_value(self, value: Any, what: str) -> None:
        limit = self._value_limit
        if not isinstance(value, bytes):
            raise InvalidValue(f"{what} must be encoded, not {type(value).__name__}")
        if len(value) > limit:
            raise ValueTooLarge(
                f"{what} takes {len(value):,} bytes; the limit of this supervisor is {limit:,}. "
                "Store the data in a file and pass its path, or raise value_limit",
                len(value),
                limit,
            )

    def is_retried(self, old_id: Any, new_id: Any) -> bool:
        """Whether another task than the new one retries the old one."""
        facet = facet_of_id(Facet.RETRY_OF, checked_id(old_id))
        # Retries of other tasks may share the facet.
        start, stop = facet, after_prefix(facet)
        while rows := self._commits.store.look(Table.INDEX, start, stop, limit=FACET_ROWS):
            for key, _ in rows:
                retry = self._table.record(newest_in(key))
                if retry is not None and retry.retry_of == old_id and retry.id != new_id:
                    return True
            start = rows[-1][0] + b"\0"
        return False

    def retry(self, old_id: Any, new_id: Any, *, from_scratch: bool) -> bool:
        """Retry an ended task as a new one with its arguments and, unless `from_scratch`, its checkpoint and its
        steps.

        If the app does not declare it, the new one waits for its code. It takes over the key. False if the client
        repeats the request because the first answer was lost. NotUnique if it is unique and another task has its key.
        """
        if not is_task_id(new_id):
            raise InvalidValue("a task's id must be a UUID of version 7")
        # First: the old one may have been pruned since.
        if self._table.record(new_id) is not None:
            return False
        old = self._table.known(checked_id(old_id))
        if old.ended is None:
            raise InvalidOption(f"task {id_text(old_id)} is {old.state}: only an ended task can be retried")
        if old.actor is not None:
            raise InvalidOption(
                f"{id_text(old_id)} is an actor that has stopped: get a new one with Runtime.actor"
            )
        declared = self._table.declared
        name = declared.present(old.name)
        if name in declared.tasks:
            self.check_options(name, _sound(old.options, declared.tasks[name][0]))
        unique = self._unique_retry(old)
        self._newest = max(self._newest, new_id)
        record = Record(
            new_id,
            name,
            self._commits.clock.time(),
            old.stream,
            old.origin,
            old.options,
            old.key,
            retry_of=old_id,
        )
        # At once, not with the record: the next request may ask whether there is a retry.
        self._commits.put(Table.INDEX, single(facet_of_id(Facet.RETRY_OF, old_id), new_id), b"")
        if old.key is not None:
            self._commits.put(Table.KEYS, idempotency_key(old.key), new_id)
        if old.closed and not from_scratch:
            # It goes on where the old one ended, which may have been behind the last message.
            record.closed = True
        for name in ("metadata", "limit_key", "trace"):
            if (value := getattr(old, name)) is not None:
                setattr(record, name, value)
        if old.kind != TASK:
            record.kind, record.trigger = old.kind, old.trigger
        if old.depth:
            record.depth = old.depth
        state = None if from_scratch else self._commits.get(Table.CHECKPOINTS, old_id)
        if state is not None:
            self._commits.put(Table.CHECKPOINTS, new_id, state)
            record.checkpoint = (self._commits.clock.time(), len(state))
        if old.steps is not None and not from_scratch:
            KeptSteps(self._commits.store, old_id).copy(old, record)
        new = (record, self._commits.get(Table.ARGS, old_id))
        _close_if_deaf(*new)
        if unique is not None:
            self._table.unique.claim(record, unique)
        self._table.add([new])
        task = self._table.tasks.get(new_id)
        if task is not None and record.steps is not None:
            task.steps = KeptSteps(self._commits.store, new_id)
        return True

    def is_taken(self, old_id: Any) -> bool:
        """Whether a retry of this task would be refused with NotUnique."""
        old = self._table.record(checked_id(old_id))
        try:
            if old is not None:
                self._unique_retry(old)
        except NotUnique:
            return True
        return False

    def _unique_retry(self, old: Record) -> Decision | None:
        """How a retry of this task takes over its text; None if it is not unique. Its own window does not bar it."""
        name, unique = self._table.declared.present(old.name), self._table.unique
        if not unique.concerns(name, old.options):
            return None
        key = None if old.unique is None else key_in(old.unique)
        try:
            decision = unique.decide(name, self._commits.get(Table.ARGS, old.id), old.options, key=key)
        except InvalidOption:
            return None  # It was unique by its declaration, which has changed.
        if decision is None or decision.is_free:
            return decision
        if decision.id == old.id:
            return decision.freed()
        raise unique.refusal(decision)


def _given(column: tuple[Any, ...]) -> list[Any]:
    """The values of a column that are not None."""
    return [] if column.count(None) == len(column) else [value for value in column if value is not None]


def _of_pair(pair: tuple[Any, ...]) -> str:
    if len(pair) != 2 or pair[1] != "start":
        raise InvalidOption(f"not a key: {pair!r:.80}")
    key: str = pair[0]
    return key


def _options_among(changes: Any) -> Any:
    """The changed options of a start, without what it has among them that is no option."""
    if not isinstance(changes, dict) or _EXTRAS.keys().isdisjoint(changes):
        return changes
    return {option: value for option, value in changes.items() if option not in _EXTRAS}


def _without_extras(row: tuple[Any, ...], extras: dict[bytes, dict[str, Any]]) -> tuple[Any, ...]:
    """The row with the task's options alone; adds what else it has among them to `extras`, by id."""
    id, name, args, changes, *rest = row
    options = _options_among(changes)
    if options is changes:
        return row
    given = {extra: check(changes[extra]) for extra, check in _EXTRAS.items() if extra in changes}
    extras[id] = {extra: value for extra, value in given.items() if value is not None}
    return id, name, args, options or None, *rest


def _sound(changes: dict[str, Any] | None, declared: Options) -> dict[str, Any] | None:
    """The changed options of a stored task; None if a release with other options has written them."""
    try:
        if changes is not None:
            Options.unpack(changes, declared)
    except (InvalidOption, ValueError, TypeError):
        return None
    return changes


def _checked_flag(name: str, value: Any) -> bool | None:
    """True, or None for a flag that is not set."""
    if value is not None:
        check_flag(name, value)
    return value or None


def _close_if_deaf(record: Record, args: bytes | None) -> None:
    """Close the mailbox of a task that takes no messages."""
    if not kind_of(record.name).takes_messages(args):
        record.closed = True
