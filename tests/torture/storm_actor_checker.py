"""The invariants of a storm's class actors: what clients were told against the rows of each actor.

Whichever process was killed, at every instant each message is in one place at most: in the notes of its actor, in its
mailbox, or among its dead letters. One that was acknowledged is in one of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from storm_actors import BELL, FORGOTTEN, PAID
from storm_known import value_of
from understudy.actors import values
from understudy.actors.ids import id_bytes
from understudy.actors.refs.letter import Kind, Letter, Op
from understudy.actors.state import State
from understudy.storage.shared_view import Snapshot
from understudy.storage.tables import actor_rows
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table
from understudy.supervisor.client.views import attributes_of

#: Senders whose messages may be handled out of their order, and senders of which nothing may be noted.
UNORDERED, NEVER = "!", "?"
#: Messages that an actor sends have its id as their sender, and one of these: told once, and asked.
PASSED, ASKED = ">", "="


@dataclass
class Told:
    """What clients know of one actor."""

    #: Keys of messages that were sent, that were acknowledged, and that cannot be there.
    sending: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    never: set[str] = field(default_factory=set)
    #: The places of notes, by key, as the actor has answered.
    asked: dict[str, Any] = field(default_factory=dict)
    bells: set[str] = field(default_factory=set)
    is_dead: bool = False


@dataclass
class Rows:
    """What is on disk of one actor."""

    record: Record
    attributes: dict[str, Any]
    notes: dict[str, int]
    #: Other rows of its storage, by the beginning of their keys.
    bells: dict[str, bool]
    paid: dict[str, Any]
    forgotten: dict[str, bool]
    #: Keys of messages in its mailbox, and of dead letters; the reminders among them and those that are set.
    mail: Counter[str]
    dead: Counter[str]
    ringing: Counter[str]
    result: Any

    @property
    def places(self) -> Counter[str]:
        """In how many places each message is."""
        return Counter(self.notes.keys()) + self.mail + self.dead


class Actors:
    """The model of all actors."""

    def __init__(self, fault: Callable[[str], None], tally: Counter[str]) -> None:
        self._fault = fault
        self._tally = tally
        self._told: dict[str, Told] = defaultdict(Told)

    # --- what was told ---

    def told(self, verb: str, id: str, *row: Any) -> None:
        """One line of a client's journal."""
        actor = self._told[id]
        match verb, *row:
            case "sending", sender, number:
                actor.sending.add(f"{sender}#{number}")
            case "told", sender, number:
                actor.told.add(f"{sender}#{number}")
                self._tally["messages told to actors"] += 1
            case "asked", sender, number, place:
                self._asked(id, f"{sender}#{number}", place)
            case "never", sender, number:
                actor.never.add(f"{sender}#{number}")
            case "bell", key:
                actor.bells.add(key)
                self._tally["reminders set"] += 1
            case "dead", *_:
                actor.is_dead = True

    def errand(self, value: Any, task: str) -> None:
        """A task has completed with this value: the actor that it has asked, and the answer."""
        id, place = value
        self._told[id].sending.add(f"errand#{task}")
        self._asked(id, f"errand#{task}", place)

    def _asked(self, id: str, key: str, place: Any) -> None:
        actor = self._told[id]
        if actor.asked.setdefault(key, place) != place:
            self._fault(f"actor {id} has answered {key} with {actor.asked[key]} and then with {place}")
        self._tally["asks answered by actors"] += 1

    # --- what is there ---

    def look(self, snapshot: Snapshot) -> None:
        """Compare all actors with what clients know of them, and with each other."""
        there: dict[str, Rows | None] = {id: self._rows(snapshot, id) for id in self._told}
        for id, told in self._told.items():
            rows = there[id]
            if rows is None:
                self._fault(f"actor {id} is not there")
                continue
            self._one(id, told, rows)
            self._reminders(id, told, rows)
            self._sent(snapshot, there, id, rows)

    def _one(self, id: str, told: Told, rows: Rows) -> None:
        notes, places = rows.notes, rows.places
        if sorted(notes.values()) != list(range(1, len(notes) + 1)):
            self._fault(f"actor {id} has these places of notes: {sorted(notes.values())}")
        if rows.attributes.get("count", 0) != len(notes):
            self._fault(f"actor {id} has {len(notes)} notes and counts {rows.attributes}")
        if twice := [key for key, count in places.items() if count > 1]:
            self._fault(f"actor {id} has in two places: {twice[:5]}")
        if missing := told.told - set(places):
            self._fault(f"actor {id} lacks what it was told: {sorted(missing)[:5]}")
        if there := told.never & set(places):
            self._fault(f"actor {id} has what was refused: {sorted(there)[:5]}")
        wrong = {key: place for key, place in told.asked.items() if notes.get(key) != place}
        if wrong:
            self._fault(f"actor {id} has answered {wrong}, and has {[notes.get(key) for key in wrong]}")
        if refused := [key for key in notes if key.partition("#")[0].endswith(NEVER)]:
            self._fault(f"actor {id} has kept what has failed: {refused[:5]}")
        self._tally["dead letters found"] += len(rows.dead)
        self._order(id, notes)
        ended = rows.record.ended is not None
        if told.is_dead and not ended:
            self._fault(f"actor {id} is {rows.record.state}, and a client was told that it is dead")
        if ended:
            self._ended(id, rows)

    def _order(self, id: str, notes: dict[str, int]) -> None:
        last: dict[str, int] = {}
        for key in sorted(notes, key=notes.__getitem__):
            sender, _, number = key.partition("#")
            if sender[-1] in (UNORDERED, ASKED) or ASKED in sender or not number.isdigit():
                continue
            if int(number) < last.get(sender, 0):
                self._fault(f"actor {id} has noted {number} of {sender} after {last[sender]}")
            last[sender] = int(number)

    def _ended(self, id: str, rows: Rows) -> None:
        if rows.record.state is not State.COMPLETED or rows.result != len(rows.notes):
            self._fault(f"actor {id} ended as {rows.record.state} with {rows.result}: {rows.record.error}")
        if rows.mail:
            self._fault(f"actor {id} has ended and left mail: {[*rows.mail][:5]}")

    def _reminders(self, id: str, told: Told, rows: Rows) -> None:
        for key in rows.bells:
            if rows.forgotten.get(key):
                self._fault(f"actor {id} was reminded of {key}, which it had forgotten")
        for key in {*rows.bells, *rows.ringing}:
            if (key in rows.bells) + rows.ringing[key] > 1:
                self._fault(f"actor {id} is reminded of {key} twice")
        if rows.record.ended is None:
            lost = told.bells - {*rows.bells} - {*rows.ringing} - {*rows.forgotten}
            if lost:
                self._fault(f"actor {id} has lost its reminders {sorted(lost)[:5]}")

    def _sent(self, snapshot: Snapshot, there: dict[str, Rows | None], id: str, rows: Rows) -> None:
        """What it has told another actor is there, exactly; what another one has answered stands."""
        for to, count in rows.attributes.get("passed", {}).items():
            other = self._other(snapshot, there, to)
            sender = f"{id}{PASSED}#"
            has = {key for key in (other.places if other else ()) if key.startswith(sender)}
            if has != {f"{sender}{number}" for number in range(1, count + 1)}:
                self._fault(f"actor {id} has passed on {count} messages to {to}, which has {sorted(has)}")
        for key, (to, reply) in rows.paid.items():
            if reply == "Deadlock":
                continue  # An earlier run may have asked before there was a circle. That ask stands.
            other = self._other(snapshot, there, to)
            if (other.notes.get(key) if other else None) != (reply if isinstance(reply, int) else None):
                self._fault(f"actor {id} was answered {reply} by {to} for {key}, which has not noted that")

    def _other(self, snapshot: Snapshot, there: dict[str, Rows | None], id: str) -> Rows | None:
        if id not in there:
            there[id] = self._rows(snapshot, id)
        return there[id]

    @staticmethod
    def _rows(snapshot: Snapshot, text: str) -> Rows | None:
        id = id_bytes(text)
        row = snapshot.get(Table.TASKS, id)
        if row is None:
            return None
        state = snapshot.get(Table.ACTORS, actor_rows.state_key(id))
        rows = Rows(
            Record.unpack(id, row),
            {} if state is None else attributes_of(state)[1],
            {},
            {},
            {},
            {},
            Counter(),
            Counter(),
            Counter(),
            value_of(snapshot.get(Table.RESULTS, id)),
        )
        for key, value in snapshot.rows(Table.ACTORS, *actor_rows.storage_range(id)):
            _place(rows, actor_rows.storage_text(key), values.unpack(value))
        for _, letter in snapshot.rows(Table.ACTORS, *actor_rows.letters_of(id)):
            _count(Letter.unpack(letter), rows.mail, rows.ringing)
        for _, dead in snapshot.rows(Table.ACTORS, *actor_rows.dead_range(id)):
            _count(Letter.unpack(actor_rows.unpack_dead(dead).letter), rows.dead, rows.ringing)
        for key, _ in snapshot.rows(Table.ACTORS, *actor_rows.reminders_of(id)):
            rows.ringing[actor_rows.reminder_name(key)] += 1
        return rows

    # --- the end ---

    def end(self, snapshot: Snapshot) -> None:
        """All have stopped: whatever one of them was asked has the other one's answer."""
        there: dict[str, Rows | None] = {id: self._rows(snapshot, id) for id in self._told}
        for id, rows in there.items():
            if rows is None:
                continue
            if rows.record.ended is None:
                self._fault(f"actor {id} never ended")
            for key in rows.notes:
                asker, mark, sent = key.partition(ASKED)
                other = self._other(snapshot, there, asker) if mark else None
                # An ask that was not on disk may be lost, and its client with it. What it has asked stands.
                answers = ([id, rows.notes[key]], [id, "Deadlock"])
                if other is not None and sent in other.notes and other.paid.get(key) not in answers:
                    self._fault(f"actor {id} has noted {key}, and its asker has {other.paid.get(key)}")
            self._tally["notes of actors"] += len(rows.notes)
            self._tally["rests of actors"] += rows.attributes.get("rests", 0)
            self._tally["reminders that came"] += len(rows.bells) + rows.attributes.get("ticks", 0)
            self._tally["actors"] += 1


def _place(rows: Rows, key: str, value: Any) -> None:
    for beginning, part in ((BELL, rows.bells), (PAID, rows.paid), (FORGOTTEN, rows.forgotten)):
        if key.startswith(beginning):
            part[key.removeprefix(beginning)] = value
            return
    rows.notes[key] = value


def _count(letter: Letter, messages: Counter[str], ringing: Counter[str]) -> None:
    """Count a letter under the key of its note, or of its reminder."""
    if letter.kind is Kind.STOP:
        return
    payload = None if letter.payload is None else values.unpack(letter.payload)
    if letter.op is Op.MESSAGE:
        messages[_key(*payload)] += 1
    elif letter.path == "ring":
        ringing[payload[0][0]] += 1
    elif payload is not None and len(payload[0]) >= 2:
        messages[_key(*payload[0])] += 1


def _key(sender: str, number: Any, *_: Any) -> str:
    return f"{sender}#{number}"
