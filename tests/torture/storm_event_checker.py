"""The invariants of a storm's events, schedules and watches: what clients were told against the rows.

Whichever process was killed: no event is without its runs, and no run without its event; every occurrence of a schedule
is one run or one skip; and every watcher has seen a part of the one sequence of its stream.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import storm_events as stage
from storm_event_deeds import told
from understudy import UnderstudyError
from understudy.actors import values
from understudy.actors.ids import id_bytes, id_text
from understudy.storage.reader import Reader
from understudy.storage.tables.event_rows import EventRow
from understudy.storage.tables.record import Record
from understudy.storage.tables.schedule_rows import Entry, ScheduleRow
from understudy.supervisor.client.watch import Watch

#: Seconds by which two occurrences may differ from the interval: they are stored to the microsecond.
EXACT = 1e-5


@dataclass
class Emitted:
    """An event that a client was told of."""

    name: str
    runs: list[str]
    began: float
    ended: float
    replays: list[str] = field(default_factory=list)


class EventModel:
    """The model of all events, schedules and watches."""

    def __init__(self, home: Path, fault: Callable[[str], None], tally: Counter[str]) -> None:
        self._home = home
        self._fault = fault
        self._tally = tally
        self._emitted: dict[str, Emitted] = {}
        self._emitting: dict[str, set[str]] = defaultdict(set)
        #: When a listener has begun to listen, and when a client was about to close it.
        self._listening: dict[str, float] = {}
        self._closing: dict[str, float] = {}
        self._listeners: set[str] = set()
        self._publishers: dict[str, int] = {}
        self._scheduled: dict[str, dict[str, Any]] = {}
        self._made: set[str] = set()
        self._asked: dict[str, set[str]] = defaultdict(set)
        #: By stream or task: the cursor after which a client has watched, and what it has seen.
        self._watched: dict[str, list[tuple[str | None, list[Any]]]] = defaultdict(list)

    # --- what was told ---

    def told(self, verb: str, *row: Any) -> None:
        """One line of a client's journal."""
        match verb, *row:
            case "emitting", id, name:
                self._emitting[id].add(name)
            case "emitted", id, name, _, runs, began, ended:
                self._tally["events emitted"] += 1
                if (known := self._emitted.get(id)) is None:
                    self._emitted[id] = Emitted(name, runs, began, ended)
                elif known.runs != runs:
                    self._fault(f"event {id} was emitted with the runs {known.runs} and {runs}")
            case "again", id, _, runs:
                known = self._emitted.get(id)
                if known is not None and runs[: len(known.runs)] != known.runs:
                    self._fault(f"event {id} has the runs {known.runs}, and once more {runs}")
            case "replayed", id, runs:
                self._emitted[id].replays += runs
            case "lost", id:
                self._fault(f"event {id} was acknowledged and cannot be replayed")
            case "started", id, stage.listens.name:
                self._listeners.add(id)
            case "closing", id, at:
                self._closing[id] = at
            case "started", id, stage.publishes.name, count:
                self._publishers[id] = count
            case "scheduling", key, options:
                self._scheduled[key] = options
            case "scheduled", key:
                self._made.add(key)
            case "lost schedule", key:
                self._fault(f"schedule {key} was acknowledged and is not there")
            case "run", key, id:
                self._asked[key].add(id)
            case "not there", what, error:
                self._fault(f"{what} was acknowledged and cannot be watched: {error}")
            case "watched", what, after, entries:
                self._watched[json.dumps(what)].append((after, entries))
                self._tally["entries watched"] += len(entries)

    def listening(self, id: str, at: float) -> None:
        """A task has begun to listen; each of its attempts says so."""
        self._listening.setdefault(id, at)

    # --- what is there ---

    def look(self) -> None:
        """Compare, without a supervisor on the home."""
        with closing(Reader(self._home)) as reader:
            runs = [record for record in reader.records(limit=None) if record.trigger is not None]
            self._events(reader, [record for record in runs if record.kind == "event"])
            self._schedules(reader, [record for record in runs if record.kind == "schedule"])

    def _events(self, reader: Reader, records: list[Record]) -> None:
        """No event without its runs, no run without its event, and none of them twice."""
        events = reader.events(limit=None, seconds=None).rows
        by_id = {event.id: event for event in events}
        if len(by_id) < len(events):
            self._fault("two events have one id")
        runs = {run: event for event in events for _, run in event.runs}
        found = {record.id for record in records}
        for run in runs.keys() - found:
            self._fault(f"event {runs[run].id} is without its run {id_text(run)}")
        for run in found - runs.keys():
            self._fault(f"run {id_text(run)} is without its event")
        for event in events:
            self._event(event)
        for id, emitted in self._emitted.items():
            event = by_id.get(id)
            here = None if event is None else [id_text(run) for _, run in event.runs]
            if here is None or here[: len(emitted.runs)] != emitted.runs or not {*emitted.replays} <= {*here}:
                self._fault(f"event {id} has the runs {here}, and a client was told {emitted}")

    def _event(self, event: EventRow) -> None:
        handlers = Counter(handler for handler, _ in event.runs)
        wanted = stage.HANDLED.get(event.name, [stage.FOLLOWER] if event.name == stage.FOLLOWS else [])
        if set(handlers) != set(wanted) or len(set(handlers.values())) > 1:
            self._fault(
                f"event {event.id} ({event.name}) has runs of {handlers}, and its handlers are {wanted}"
            )
        names = self._emitting.get(event.id)
        if names is not None and event.name not in names:
            self._fault(f"event {event.id} is {event.name}; it was emitted as {names}")

    def _schedules(self, reader: Reader, records: list[Record]) -> None:
        """Each occurrence is one run or one skip, in order and without a gap."""
        by_key: dict[str, set[str]] = defaultdict(set)
        for record in records:
            by_key[(record.trigger or {})["schedule"]].add(id_text(record.id))
        rows = reader.schedules(limit=None)
        for key in self._made - {row.key for row in rows}:
            self._fault(f"schedule {key} was acknowledged and is not there")
        for row in rows:
            entries = [entry for _, entry in reader.schedule_history(row.key, None)][::-1]
            runs = [id_text(entry.run) for entry in entries if entry.run is not None]
            if len(set(runs)) < len(runs) or set(runs) != by_key.pop(row.key, set()):
                self._fault(f"schedule {row.key} has the runs {runs}, and tells others")
            if len(entries) != row.number or (len(runs), len(entries) - len(runs)) != (row.runs, row.skips):
                self._fault(f"schedule {row.key} counts {row.runs} and {row.skips}: {entries}")
            if missing := self._asked[row.key] - set(runs):
                self._fault(f"schedule {row.key} was asked to run {missing}")
            self._occurrences(row, [entry for entry in entries if entry.by is None])
        if by_key:
            self._fault(f"runs of schedules that are not there: {dict(by_key)}")

    def _occurrences(self, row: ScheduleRow, entries: list[Entry]) -> None:
        times = [entry.scheduled_at for entry in entries]
        every = row.definition.get("every")
        wanted = [row.anchor + (number + 1) * every for number in range(len(times))] if every else times[:1]
        if any(abs(time - right) > EXACT for time, right in zip(times, wanted, strict=False)) or len(
            times
        ) > len(wanted):
            self._fault(f"schedule {row.key} has occurrences at {times}, not at {wanted}")
        limit = row.definition.get("limit")
        if limit is not None and row.counted > limit:
            self._fault(f"schedule {row.key} has run {row.counted} times, and its limit is {limit}")

    # --- the end ---

    def end(self) -> None:
        """Checks when everything has ended."""
        with closing(Reader(self._home)) as reader:
            events = reader.events(limit=None, seconds=None).rows
            here = {event.id for event in events}
            for event in events:
                if event.name.startswith("storm.") and f"{event.id}/next" not in here:
                    self._fault(f"event {event.id} was handled, and what its handler emitted is not there")
            for id in self._listeners:
                self._heard(
                    id, self._result(reader, id), {event.id for event in events if event.name == stage.HEARD}
                )
            for id, count in self._publishers.items():
                self._published(reader, id, count, here)
            for what, parts in self._watched.items():
                self._sequence(reader, json.loads(what), parts)
            self._tally["occurrences"] += sum(row.runs + row.skips for row in reader.schedules(limit=None))
        self._tally["events"] += len(events)

    def _result(self, reader: Reader, id: str) -> Any:
        packed = reader.result(id_bytes(id))
        return None if packed is None else values.unpack(packed)

    def _heard(self, id: str, heard: list[str] | None, there: set[str]) -> None:
        """A listener has each event once that came after it had begun to listen, and before it was closed."""
        heard = heard or []
        since, until = self._listening.get(id, float("inf")), self._closing.get(id, float("inf"))
        wanted = {
            event
            for event, emitted in self._emitted.items()
            if emitted.name == stage.HEARD and emitted.began > since and emitted.ended < until
        }
        if len(set(heard)) < len(heard) or not wanted <= set(heard) <= there:
            self._fault(f"listener {id} lacks {wanted - set(heard)}; it has heard {heard}")
        self._tally["events heard"] += len(heard)

    def _published(self, reader: Reader, id: str, count: int, events: set[str]) -> None:
        """What was published and emitted with a checkpoint is there once, in its order."""
        entries = [entry[1:] for entry in self._all(reader, {"task": id})]
        steps = [value for kind, *_, name, value, _, _, _, _ in entries if (kind, name) == ("item", "step")]
        if steps != list(range(1, count + 1)):
            self._fault(f"task {id} has published the steps {steps} of {count}")
        if missing := {f"{id}/{step}" for step in range(1, count + 1)} - events:
            self._fault(f"task {id} has not emitted {missing}")

    def _sequence(
        self, reader: Reader, what: dict[str, str], parts: list[tuple[str | None, list[Any]]]
    ) -> None:
        """All watchers have seen parts of one sequence."""
        whole = self._all(reader, what)
        places = {entry[0]: number for number, entry in enumerate(whole, 1)}
        if len(places) < len(whole):
            self._fault(f"{what} has a cursor twice: {whole}")
        for after, seen in parts:
            start = 0 if after is None else places.get(after, -1)
            if start < 0 or whole[start : start + len(seen)] != seen:
                self._fault(f"{what} was watched after {after}: {seen}; on disk is {whole}")

    def _all(self, reader: Reader, what: dict[str, str]) -> list[list[Any]]:
        try:
            with Watch(reader, what.get("stream"), what.get("task"), None) as watch:
                return [
                    [entry.cursor, *told(entry)] for entry in _until_now(watch) if entry.kind != "snapshot"
                ]
        except UnderstudyError as error:
            self._fault(f"{what} cannot be watched: {error!r}")
            return []


def _until_now(watch: Watch) -> Iterator[Any]:
    """The entries of a watch that are there already."""
    try:
        while (entry := watch.next(timeout=0)) is not None:
            yield entry
    except TimeoutError:
        pass
