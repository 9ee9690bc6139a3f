"""What the app declares: its tasks by name, their options, and where each kind of them runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from ...actors.errors import InvalidOption
from ...actors.events.pattern import PatternMap, check_pattern
from ...actors.http.declaration import HttpTrigger
from ...actors.task.limit import Limit
from ...actors.task.options import Options
from ...actors.task.trigger import HTTP
from ...storage.tables.record import Record
from ...storage.tables.schema import Lane, ready_sort
from ..rules.argument_keys import Places, places_of
from ..settings import Settings
from ..task_kinds import OWN_KINDS, kind_of
from .pool_lanes import AnyLane, lane_in

#: Lane and sort of a task's row in the `live` table.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ActorRules:
    """What a class of actors declares for the supervisor, beside the options of tasks."""

    durable: bool = True
    """Whether its state and letters are on disk."""
    idle: float | None = 60.0
    """Seconds without work after which it is put to rest; None for never."""
    reply_keep: float = 3600.0
    """Seconds for which answers are kept for an asker that asks again."""
    on_passivate: bool = True
    """Whether its code is run before it is put to rest."""
    read_only: frozenset[str] = frozenset()
    """The methods that change nothing."""

    @classmethod
    def of(cls, declared: Mapping[str, Any]) -> Self:
        """The rules as a class declares them; further fields are for the worker."""
        return cls(
            declared["durable"],
            declared["idle"],
            declared["reply_keep"],
            declared["on_passivate"],
            frozenset(declared["read_only"]),
        )


@dataclass(frozen=True, slots=True)
class Declared:
    """One task as the app declares it."""

    options: Options
    is_async: bool = False
    parameters: list[Any] | None = None
    """As actors/task/parameters.py packs them; None if they are not known."""
    aliases: tuple[str, ...] = ()
    """Its former names."""
    patterns: tuple[str, ...] = ()
    """Those of the events that it handles."""
    schedules: tuple[tuple[str, dict[str, Any]], ...] = ()
    """Key and packed definition of each."""
    triggers: tuple[HttpTrigger, ...] = ()
    """The HTTP requests that it handles."""
    rules: ActorRules | None = None
    """For a class of actors."""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """A task as a fork server tells of it: the fields of its options, and some more."""
        fields = dict(told)
        is_async = bool(fields.pop("is_async", False))
        parameters = fields.pop("parameters", None)
        aliases, patterns, schedules, triggers = (
            tuple(fields.pop(field, None) or ()) for field in ("aliases", "patterns", "schedules", "triggers")
        )
        actor = fields.pop("actor", None)
        return cls(
            Options.unpack(fields),
            is_async,
            parameters,
            aliases,
            patterns,
            schedules,
            tuple(HttpTrigger.unpack(trigger) for trigger in triggers),
            None if actor is None else ActorRules.of(actor),
        )


@dataclass(frozen=True, slots=True)
class LimitedBy:
    """The limit of a task, and what makes its keys."""

    limit: Limit
    places: Places | None = None
    """None where the limit has no keys."""


#: The rules of a class that the app does not declare.
UNKNOWN_RULES = ActorRules()


class TaskCatalog:
    """Known once a fork server has imported the app; more may come later. Containers are known from the start."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        #: The pools that there are, beside the workers of all tasks without one.
        self.pools = tuple(self._settings.pools)
        #: The lanes of async tasks.
        self.loops: frozenset[AnyLane] = frozenset(lane_in(pool, Lane.ASYNC) for pool in (None, *self.pools))
        #: Whether the app's tasks are known. Only then is a task that is not among them known to be absent.
        self.loaded = False
        #: Former names of tasks, with the present ones.
        self.aliases: dict[str, str] = {}
        #: By task name: the options, and whether it is async.
        self.tasks: dict[str, tuple[Options, bool]] = {}
        #: By task name: its parameters, as actors/task/parameters.py packs them; only those that are known.
        self.parameters: dict[str, list[Any]] = {}
        #: Of tasks started as they were declared: options, lane and place in the queue. All others wait for code.
        #: Without a place are those that have a limit or a pool.
        self.usual: dict[str, tuple[Options, AnyLane, Place | None]] = {}
        #: By task name, for those tasks that have a limit.
        self.limits: dict[str, LimitedBy] = {}
        #: The options of those tasks that are unique, by name.
        self.unique: dict[str, Options] = {}
        #: Declared tasks whose module a worker could not import, when it last tried, with the reason.
        self.unimportable: dict[str, str] = {}
        #: By task name, the pools that tasks name and this supervisor does not have.
        self.no_pool: dict[str, str] = {}
        #: By name, for those tasks that are classes of actors.
        self.actors: dict[str, ActorRules] = {}
        #: The handlers of events: names of tasks, by pattern.
        self.handlers: PatternMap[str] = PatternMap()
        self._patterns: dict[str, tuple[str, ...]] = {}
        #: By task name, the schedules that it declares: key and packed definition.
        self.schedules: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {}
        #: By task name, the HTTP requests that it handles.
        self.triggers: dict[str, tuple[HttpTrigger, ...]] = {}
        self.add(dict.fromkeys(OWN_KINDS, Options().pack()))

    def add(self, tasks: Mapping[str, Mapping[str, Any] | Declared]) -> None:
        """Take in tasks as a fork server tells of them, or as they were unpacked before."""
        for name, told in tasks.items():
            declared = told if isinstance(told, Declared) else Declared.of(told)
            self.aliases.update(dict.fromkeys(declared.aliases, name))
            self._handle(name, declared.patterns)
            self.schedules.pop(name, None)
            if declared.schedules:
                self.schedules[name] = declared.schedules
            self.triggers.pop(name, None)
            if declared.triggers:
                self.triggers[name] = declared.triggers
            if declared.rules is not None:
                self.actors[name] = declared.rules
            self.tasks[name] = (declared.options, declared.is_async)
            if declared.parameters is not None:
                self.parameters[name] = declared.parameters
            self._place(name)
            self.unimportable.pop(name, None)

    def _handle(self, name: str, patterns: tuple[str, ...]) -> None:
        """Let a task handle the events of these patterns, and no others."""
        for pattern in self._patterns.pop(name, ()):
            self.handlers.discard(pattern, name)
        for pattern in patterns:
            self.handlers.add(check_pattern(pattern), name)
        if patterns:
            self._patterns[name] = patterns

    def _place(self, name: str) -> None:
        options, is_async = self.tasks[name]
        lane = self._lane_in_pool(options, _usual_lane(name, options, is_async))
        self.no_pool.pop(name, None)
        if lane is Lane.NO_POOL and options.pool is not None:
            self.no_pool[name] = options.pool
        self.limits.pop(name, None)
        kinds = kind_of(name).limit
        limit = options.limit_of(name) if kinds is None else kinds(self._settings)
        if limit is not None:
            names = options.limit_by
            places = None if names is None else places_of(names, self.parameters.get(name))
            self.limits[name] = LimitedBy(limit, places)
        self.unique.pop(name, None)
        if options.unique is not False:
            self.unique[name] = options
        place = None
        if limit is None and isinstance(lane, Lane) and lane is not Lane.NO_POOL:
            place = (int(lane), ready_sort(options.priority))
        self.usual[name] = (options, lane, place)

    def _lane_in_pool(self, options: Options, lane: Lane) -> AnyLane:
        """The lane for this kind of room in the pool of a task; NO_POOL if there is no such pool."""
        pool = options.pool
        if pool is None:
            return lane
        return lane_in(pool, lane) if pool in self.pools else Lane.NO_POOL

    def all_limits(self) -> dict[str, Limit]:
        """The limits that tasks have, by their names."""
        return {limited.limit.name: limited.limit for limited in self.limits.values()}

    def places(self, name: str) -> bool:
        """Whether a task of this name may run, as far as is known: it does not wait for code."""
        return name in self.usual

    def drop(self, name: str, why: str = "") -> None:
        """A worker has no code for this task. It is not declared any more, or could not be imported: `why`."""
        self.usual.pop(name, None)
        if why:
            self.unimportable[name] = why
        else:
            self.tasks.pop(name, None)
            self.parameters.pop(name, None)
            self.no_pool.pop(name, None)
            self._handle(name, ())
            self.schedules.pop(name, None)
            self.triggers.pop(name, None)

    def import_again(self) -> list[str]:
        """Give the tasks that could not be imported their places again; their names."""
        names = [name for name in self.unimportable if not self.places(name)]
        for name in names:
            self._place(name)
        return names

    def pool_of(self, name: str) -> str | None:
        """The pool that a task declares; None for none, and for a task that is not declared."""
        found = self.tasks.get(name)
        return None if found is None else found[0].pool

    @property
    def actor_pools(self) -> set[str | None]:
        """The pools of the classes of actors, of those that are there."""
        pools = {self.tasks[name][0].pool for name in self.actors if name in self.tasks}
        return pools & {None, *self.pools} or {None}

    def rules_of(self, name: str) -> ActorRules:
        """The rules of a class of actors."""
        return self.actors.get(name, UNKNOWN_RULES)

    def present(self, name: str) -> str:
        """The present name of a task that may have been renamed."""
        return name if name in self.tasks else self.aliases.get(name, name)

    def all_names(self, name: str) -> list[str]:
        """The present name of a task and its former names."""
        return [name, *(old for old, new in self.aliases.items() if new == name)]

    def names(self) -> list[str]:
        """The names of the app's own tasks, sorted."""
        return sorted(self.tasks.keys() - OWN_KINDS.keys())

    def options_of(self, record: Record) -> tuple[Options, AnyLane]:
        """The options in force for a task and the lane it runs in.

        A task that the app does not declare has the default options. It waits for its code, and so does one that could
        not be imported. One whose pool is not there waits for that.
        """
        found = self.tasks.get(record.name)
        declared, is_async = found or _UNDECLARED
        try:
            options = declared if record.options is None else Options.unpack(record.options, declared)
        except (InvalidOption, ValueError, TypeError):
            # Written by a release with other options, or damaged; its task must still be runnable.
            options = declared
        if not self.places(record.name) and (self.loaded or found is not None):
            return options, Lane.CODE
        lane = Lane.ALONE if record.alone else _usual_lane(record.name, options, is_async)
        if record.kind == HTTP:
            lane = RUN_LANES.get(lane, lane)
        return options, lane if options.pool is None else self._lane_in_pool(options, lane)


_UNDECLARED = (Options(), False)
#: Where runs of HTTP requests wait, by the lane of other tasks with the same options.
RUN_LANES: Final = {Lane.SYNC: Lane.RUN, Lane.ASYNC: Lane.RUN_ASYNC}


def _usual_lane(name: str, options: Options, is_async: bool) -> Lane:
    """The lane of a task that is not suspected of anything."""
    if (lane := kind_of(name).lane) is not None:
        return lane
    return Lane.ALONE if options.alone else Lane.ASYNC if is_async else Lane.SYNC
