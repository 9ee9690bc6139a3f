"""The invariants of a home, whichever processes were killed: journals of clients and tasks against the store.

`Checker.look` may be called at any time without a supervisor on the home, `Checker.end` when everything has
ended.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from storm_actor_checker import Actors
from storm_box_checker import Boxes
from storm_boxes import Part
from storm_event_checker import EventModel
from storm_gates import NAMES
from storm_known import Known, mail_of, value_of
from storm_session_checker import Sessions
from storm_ties import ENDS as TIED
from storm_ties import Ties, watcher
from storm_trees import SERVICES
from understudy.actors.box.conf import BOX
from understudy.actors.ids import id_bytes, id_text
from understudy.actors.state import TERMINAL, State
from understudy.storage.check import check
from understudy.storage.shared_view import Snapshot, release, view_of
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table

#: Gateways send the messages of their mailbox over a connection; feeds pass on messages from a connection.
GATEWAYS = {"storm_sessions:gateway", "storm_sessions:gateway_async"}
FEEDS = {"storm_sessions:feed", "storm_sessions:feed_async"}
#: Consumers that keep all messages in order.
KEEPERS = {"storm_tasks:collect", "storm_tasks:collect_async", "storm_tasks:relay", *GATEWAYS}
#: Tasks whose value is the number up to which they have counted.
COUNTERS = {"storm_tasks:steps", *FEEDS}
#: The possible ends of tasks that were not cancelled.
ENDS = {
    "storm_tasks:stubborn": {State.TIMED_OUT, State.FAILED},
    **TIED,
    # Of one that is terminated while it is down, the failure before stands; see `storm_trees.Trees`.
    **{each.name: {State.CANCELLED, State.FAILED} for each in SERVICES},
}


class Checker:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.wrong: list[str] = []
        self.tally: Counter[str] = Counter()
        self._tasks: dict[bytes, Known] = {}
        self._keys: dict[str, bytes] = {}
        self._offsets: dict[Path, int] = {}
        self.sessions = Sessions(self._fault, self.tally)
        self._actors = Actors(self._fault, self.tally)
        self._events = EventModel(self.home, self._fault, self.tally)
        self._ties = Ties(self._fault, self.tally)
        self._boxes = Boxes(self.home, folder / "boxes" / "ran", self._fault, self.tally)

    # --- what was told ---

    def read(self) -> None:
        """Read the new lines of the journals.

        Not while tasks run: the files are read one after the other, so a later event could be read before its
        cause.
        """
        for path in sorted(self.folder.glob("*.journal")):
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offsets[path] = self._offsets.get(path, 0) + len(whole)
            told = self._client if path.name.startswith("client-") else getattr(self, f"_{path.stem}")
            for line in whole.splitlines():
                told(*json.loads(line))

    def _known(self, id: str, name: str = "") -> Known:
        key = id_bytes(id)
        known = self._tasks.get(key)
        if known is None:
            known = self._tasks[key] = Known(key)
        known.name = known.name or name
        return known

    def _client(self, verb: str, *row: Any) -> None:
        match verb, *row:
            case "started", id, name:
                self._known(id, name)
                self.tally["starts"] += 1
            case "keyed", key, id, _:
                self._keyed(key, id)
                self.tally["starts"] += 1
            case "consumer", id, name:
                self._known(id, name)
                self.tally["starts"] += 1
            case "relay", id, to:
                self._known(id, "storm_tasks:relay").relays_to = id_bytes(to)
                self.tally["starts"] += 1
            case "feed", id, name, to, count:
                feed = self._known(id, name)
                feed.relays_to, feed.count = id_bytes(to), count
                self.tally["starts"] += 1
            case "box", id, part:
                self._known(id, BOX).part = Part(**part)
                self.tally["starts"] += 1
            case "event", "started", id, name, *more:
                self._known(id, name)
                self._events.told("started", id, name, *more)
                self.tally["starts"] += 1
            case "event", what, *more:
                self._events.told(what, *more)
            case "actor", what, id, *more:
                self._actors.told(what, id, *more)
            case "sending", id, sender, first, last:
                self._known(id).sending[sender].update(range(first, last + 1))
            case "sent", id, sender, first, last:
                self._known(id).sent[sender].update(range(first, last + 1))
                self.tally["messages"] += last + 1 - first
            case "refused", id, sender, first, last, _:
                self._known(id).sending[sender].difference_update(range(first, last + 1))
            case "cancelled", id, True:
                self._known(id).cancelled = True
                self.tally["cancels"] += 1
            case "cancelled", id, False:
                self._known(id).refused_cancel = True
            case "saw", id, *end:
                self._saw(id, tuple(end))
                self.tally["waits"] += 1

    def _keyed(self, key: str, id: str) -> None:
        self._known(id, "storm_tasks:double")
        if self._keys.setdefault(key, id_bytes(id)) != id_bytes(id):
            self._fault(f"key {key} stands for two tasks, {id} is the second")

    def _saw(self, id: str, end: tuple[Any, ...]) -> None:
        known = self._known(id)
        if State(end[0]) not in TERMINAL:
            self._fault(f"task {id} had a result before it had an end: {end}")
        elif known.saw not in (None, end):
            self._fault(f"task {id} has ended as {known.saw} and then as {end}")
        else:
            known.saw = end

    def _run(self, id: str, attempt: int, interruptions: int, supervisor: int, worker: int) -> None:
        self._known(id).runs.append((attempt, interruptions, supervisor, worker))
        self.tally["attempts begun"] += 1

    def _saved(self, id: str, number: int) -> None:
        self._known(id).saved = number
        self.tally["checkpoints"] += 1

    def _found(self, id: str, number: int) -> None:
        if number < self._known(id).saved:
            self._fault(f"task {id} was given the checkpoint {number} after {self._known(id).saved}")

    def _heard(self, id: str, message: Any) -> None:
        self._known(id).heard.append((message[0], message[1]))

    def _listening(self, id: str, at: float) -> None:
        self._events.listening(id, at)

    def _server(self, *row: Any) -> None:
        self.sessions.told(*row)

    def _reconnected(self, id: str) -> None:
        self.tally["reconnects"] += 1

    def _child(self, key: str, id: str) -> None:
        self._keyed(key, id)
        self.tally["starts"] += 1

    def _step(self, *row: Any) -> None:
        self._ties.told(*row)

    def _wrong(self, *row: Any) -> None:
        self._fault(" ".join(map(str, row)))

    def _fault(self, text: str) -> None:
        self.wrong.append(text)

    # --- what is there ---

    def look(self, *, pages: bool) -> None:
        """Compare, without a supervisor on the home. With `pages`, also check the whole store, which takes longer."""
        self.read()
        if pages:
            self.wrong += [f"understudy check: {problem}" for problem in check(self.home).problems]
        view = view_of(self.home)
        try:
            with view.read() as snapshot:
                for known in self._tasks.values():
                    self._compare(snapshot, known)
                self._actors.look(snapshot)
        finally:
            release(view)
        if pages:
            self._events.look()
        self.tally["looks"] += 1

    def _compare(self, snapshot: Snapshot, known: Known) -> None:
        row = snapshot.get(Table.TASKS, known.id)
        if row is None:
            if known.name:  # otherwise it ran before it was on disk, and its start was never acknowledged
                self._fault(f"task {id_text(known.id)} ({known.name}) is not there")
            return
        if known.end is not None:
            if known.end != (row, snapshot.get(Table.RESULTS, known.id)):
                self._fault(f"the end of task {id_text(known.id)} was written twice")
            return
        record = Record.unpack(known.id, row)
        if record.state in TERMINAL:
            known.end = row, snapshot.get(Table.RESULTS, known.id)
            self._ended(snapshot, known, record)
            return
        if known.saw is not None or known.refused_cancel:
            self._fault(f"task {id_text(known.id)} has not ended, though a client was told that: {known.saw}")
        if known.cancelled and not record.cancel:
            self._fault(f"the cancel of task {id_text(known.id)} is not there")
        if known.name == BOX:
            self._boxes.under_way(known)
            return
        state = value_of(snapshot.get(Table.CHECKPOINTS, known.id))
        if known.saved > (state or 0 if isinstance(state, int | None) else 0):
            self._fault(f"task {id_text(known.id)} has saved {known.saved}, on disk is {state}")
        if known.name in KEEPERS:
            self._mail(known, [*(state or []), *mail_of(snapshot, known.id)], whole=True)
        elif known.sent:
            self._mail(known, [*map(list, known.heard), *mail_of(snapshot, known.id)], whole=False)
        if known.name in GATEWAYS:
            self.sessions.sent_out(id_text(known.id), state or [])
        if known.name in FEEDS:
            state = [[id_text(known.id), number] for number in range(1, (state or 0) + 1)]
        if known.relays_to is not None:
            self._passed_on(snapshot, known, state or [])

    def _ended(self, snapshot: Snapshot, known: Known, record: Record) -> None:
        id = id_text(known.id)
        value = value_of(known.end[1]) if known.end else None
        if known.saw is not None:
            state, attempt, interruptions, ended, seen = known.saw
            found = (str(record.state), record.attempt, record.interruptions, record.ended)
            if found != (state, attempt, interruptions, ended) or seen not in (None, value):
                self._fault(f"a client saw {known.saw} of task {id}, on disk is {found}, {value}")
        usual = self._boxes.ends_of(known.part) if record.name == BOX else {State.COMPLETED}
        right = {State.CANCELLED} if known.cancelled else ENDS.get(record.name, usual)
        if record.state is State.CANCELLED and not known.cancelled:
            right = {
                State.CANCELLED
            }  # the answer to the cancel was lost, with the client or with the supervisor
        if record.state not in right:
            self._fault(f"task {id} ({record.name}) ended as {record.state}: {record.error}")
        # One that was cancelled keeps what comes behind the cancel, for a retry. Only ends are told so late.
        is_told = record.name == watcher.name and record.state is State.CANCELLED
        if not is_told and list(mail_of(snapshot, known.id)):
            self._fault(f"task {id} has ended and left mail")
        if record.name == BOX:
            self._boxes.ended(known, record)
        elif record.state is State.COMPLETED:
            self._completed(known, record, value)
        self._ties.look(snapshot, known, record)
        self._runs(known, record)

    def _completed(self, known: Known, record: Record, value: Any) -> None:
        if record.name in KEEPERS:
            self._mail(known, value, whole=True)
        elif record.name == "storm_tasks:listen":
            self._mail(known, [list(message) for message in known.heard], whole=False)
        elif record.name in COUNTERS and not value - len(known.runs) <= known.saved <= value:
            # Each run may have died between a checkpoint and its record in the journal.
            self._fault(f"task {id_text(known.id)} counted to {value}, and has saved {known.saved}")
        if record.name in NAMES:
            self.tally["ends of tasks with limits, and of unique ones"] += 1
        self._ties.completed(record, value)
        if record.name in GATEWAYS:
            self.sessions.sent_out(id_text(known.id), value)
        elif record.name == "storm_actors:errand":
            self._actors.errand(value, id_text(known.id))
        if known.count not in (None, value):
            self._fault(f"feed {id_text(known.id)} ended with {value} of {known.count} numbers")

    def _mail(self, known: Known, messages: list[Any], *, whole: bool) -> None:
        """Every acknowledged message, no message that was not sent, in each sender's order; once each if `whole`."""
        id = id_text(known.id)
        by_sender: dict[str, list[int]] = defaultdict(list)
        for sender, number in messages:
            by_sender[sender].append(number)
        for sender, numbers in by_sender.items():
            distinct = sorted(set(numbers))
            if whole and numbers != distinct:
                self._fault(f"{known.name} {id} has of {sender} out of order or twice: {numbers}")
            if not whole and list(dict.fromkeys(numbers)) != distinct:
                self._fault(f"{known.name} {id} heard of {sender} out of order: {numbers}")
            if sender in known.sending and not set(numbers) <= known.sending[sender]:
                self._fault(f"{known.name} {id} has of {sender} what was never sent")
        for sender, numbers in known.sent.items():
            if missing := numbers - set(by_sender.get(sender, ())):
                self._fault(f"{known.name} {id} lacks acknowledged messages of {sender}: {sorted(missing)}")

    def _passed_on(self, snapshot: Snapshot, known: Known, state: list[Any]) -> None:
        """Exactly the messages that a stage recorded as passed on are in the next one's state or mailbox."""
        assert known.relays_to is not None
        row = snapshot.get(Table.TASKS, known.relays_to)
        if row is None or Record.unpack(known.relays_to, row).state in TERMINAL:
            return
        there = [
            *(value_of(snapshot.get(Table.CHECKPOINTS, known.relays_to)) or []),
            *mail_of(snapshot, known.relays_to),
        ]
        if there != state:
            self._fault(f"stage {id_text(known.id)} has passed on {state}, the next one has {there}")

    def _runs(self, known: Known, record: Record) -> None:
        """Attempts and interruptions only grow, and no two runs under one supervisor have the same numbers.

        Dispatch does not wait for the disk, so the next supervisor continues from the stored numbers.
        """
        runs = known.runs
        id = id_text(known.id)
        for before, after in pairwise(runs):
            if after[2] == before[2] and (after[0] < before[0] or after[1] < before[1]):
                self._fault(f"task {id} ran as {before[:2]} and then as {after[:2]}")
            if after[:3] == before[:3]:
                self._fault(f"task {id} ran twice as {before[:2]} under supervisor {before[2]}")
        last = runs[-1][:2] if runs else (1, 0)
        if last[0] > record.attempt or last[1] > record.interruptions:
            self._fault(f"task {id} ran as {last} and ended as {record.attempt}, {record.interruptions}")
        if record.state is State.COMPLETED and runs and last != (record.attempt, record.interruptions):
            self._fault(f"task {id} completed as {record.attempt}, {record.interruptions}, and ran as {last}")
        self.tally["ends"] += 1
        self.tally["further attempts"] += record.attempt - 1
        self.tally["interruptions"] += record.interruptions
        # A run that was killed too early for its record leaves a number without a line.
        self.tally["runs unseen"] += max(0, record.attempt + record.interruptions - max(1, len(set(runs))))

    # --- the end ---

    def end(self, *, containers: bool) -> None:
        """Checks at the end: stages have passed on all their messages, and no others."""
        for known in self._tasks.values():
            if known.relays_to is None or (sink := self._tasks.get(known.relays_to)) is None:
                continue
            passed, there = (each.end and value_of(each.end[1]) for each in (known, sink))
            if known.name in FEEDS:
                passed = [[id_text(known.id), number] for number in range(1, (passed or 0) + 1)]
            if passed != there:
                self._fault(f"stage {id_text(known.id)} has passed on {passed}, the next one has {there}")
        view = view_of(self.home)
        try:
            with view.read() as snapshot:
                self._actors.end(snapshot)
        finally:
            release(view)
        self._events.end()
        if containers:
            self._boxes.only_ones(list(self._tasks.values()))

    def has_ended(self, id: str) -> bool:
        """Whether its end was seen on disk."""
        return self._known(id).end is not None

    def unended(self) -> Iterator[str]:
        # A task without a name ran but was never started, according to the store and its client.
        return (id_text(known.id) for known in self._tasks.values() if known.name and known.end is None)
