"""`LetterBox`, the mailbox of one live actor.

A letter gets the next number of its box. Letters of a durable actor are rows on disk, with one exception: an ask is
written only when a letter that must be on disk stands behind it, or after a while. Its asker sends it again if the
supervisor dies, and most asks are answered before the next commit. So every letter up to `stored` is on disk and none
behind it.

Memory holds the first letters only. The rest of a long box is read from disk when its turn comes.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from ...actors.refs.letter import READ_ONLY, Kind, flags_of, id_of_letter, kind_of
from ...storage.store import Store
from ...storage.tables.actor_rows import LETTER_KEY_BYTES, letter_key, letter_keys, letter_seq, letters_of
from ...storage.tables.schema import Table

#: Letters of one durable box that are kept in memory.
WINDOW: Final = 256


class Room(NamedTuple):
    """What has no room in a mailbox."""

    mailbox: bytes
    """The actor, or task, whose mailbox it is."""
    letters: int = 0
    """How many are for it."""
    size: int = 0
    """Their bytes."""


class LetterBox:
    """One box. Numbers count from 1."""

    __slots__ = (
        "_durable",
        "_far_reads",
        "_id",
        "_letters",
        "_store",
        "bytes",
        "first",
        "known",
        "last",
        "stored",
    )

    def __init__(self, store: Store, id: bytes, *, durable: bool) -> None:
        self._store = store
        self._id = id
        self._durable = durable
        #: The first letters, from number `first` on.
        self._letters = EMPTY
        #: The numbers of the read-only asks behind these, by id; None for none.
        self._far_reads: dict[bytes, int] | None = None
        #: The first number that is not acknowledged, the last that was given out, and the last that is on disk.
        self.first = 1
        self.last = self.stored = 0
        #: Bytes of all letters that are not acknowledged.
        self.bytes = 0
        #: The ids of the asks that were here when the supervisor began; None once there are none.
        self.known: set[bytes] | None = None

    @classmethod
    def load(cls, store: Store, id: bytes) -> LetterBox:
        """The box of a durable actor, as it is on disk."""
        box = cls(store, id, durable=True)
        rows = store.scan(Table.ACTORS, *letters_of(id))
        if rows:
            box.first, box.last = letter_seq(rows[0][0]), letter_seq(rows[-1][0])
            box.stored = box.last
            box.bytes = sum(len(letter) for _, letter in rows)
            # Numbers of letters that were taken back are missing, so these may be fewer than WINDOW.
            near = ((letter_seq(key), letter) for key, letter in rows[:WINDOW])
            there = {number: letter for number, letter in near if number < box.first + WINDOW}
            box._letters = deque(there.get(number, b"") for number in range(box.first, max(there) + 1))
            for key, letter in rows:
                box._note_far(letter_seq(key), letter)
            box.known = {id_of_letter(letter) for _, letter in rows if kind_of(letter) in _ASKS} or None
        return box

    @property
    def count(self) -> int:
        """Letters that are not acknowledged."""
        return self.last - self.first + 1

    def post(self, letter: bytes) -> None:
        """Put a letter behind all others."""
        if not self.count:
            self._letters = deque()
        in_memory = len(self._letters) == self.count
        self.last += 1
        self.bytes += len(letter)
        if not self._durable:
            self._letters.append(letter)
            return
        if in_memory and len(self._letters) < WINDOW:
            self._letters.append(letter)
            if kind_of(letter) in _ASKS:
                return
        self._note_far(self.last, letter)
        self.store_all()
        if self.stored < self.last:
            self._put({letter_key(self._id, self.last): letter})
            self.stored = self.last

    def _note_far(self, number: int, letter: bytes) -> None:
        if number >= self.first + len(self._letters) and _only_reads(letter):
            if self._far_reads is None:
                self._far_reads = {}
            self._far_reads[id_of_letter(letter)] = number

    def store_all(self) -> None:
        """Have all letters on disk that are in memory."""
        if not self._durable or self.stored >= self.first + len(self._letters) - 1:
            return
        begin, end = max(self.stored + 1, self.first), self.first + len(self._letters)
        letters = {number: self._letters[number - self.first] for number in range(begin, end)}
        self._put({letter_key(self._id, number): letter for number, letter in letters.items() if letter})
        self.stored = end - 1

    def _put(self, rows: dict[bytes, bytes]) -> None:
        size = sum(map(len, rows.values())) + LETTER_KEY_BYTES * len(rows)
        self._store.batch.merge(Table.ACTORS, dict(rows), size)

    def head(self, most: int) -> list[bytes]:
        """The first letters, at most `most`."""
        most = min(most, self.count)
        if len(self._letters) < most:
            self._read_on()
        letters = self._letters
        return [letters[place] for place in range(min(most, len(letters)))]

    def letter(self, number: int) -> bytes | None:
        """The letter with this number; None for one that was taken back."""
        place = number - self.first
        if 0 <= place < len(self._letters):
            return self._letters[place] or None
        return self._store.get(Table.ACTORS, letter_key(self._id, number)) if self._durable else None

    def has_stop(self, last: int) -> bool:
        """Whether one of the letters up to this number stops the actor. They must have been given out."""
        return any(letter and kind_of(letter) == Kind.STOP for letter in self.head(last - self.first + 1))

    def _read_on(self) -> None:
        begin = self.first + len(self._letters)
        keys = letter_keys(self._id, begin, min(self.last, begin + WINDOW - 1))
        rows = self._store.get_many(Table.ACTORS, keys)
        # A letter without a row was taken back.
        self._letters.extend(rows.get(key, b"") for key in keys)
        if self._far_reads:
            for letter in rows.values():
                self._far_reads.pop(id_of_letter(letter), None)

    def acknowledge(self, last: int) -> list[bytes]:
        """Remove the letters up to this number and return them."""
        gone: list[bytes] = []
        last = min(last, self.last)
        if last < self.first:
            return gone
        begin = self.first
        # With them go the empty ones behind them.
        while self.first <= last or self._first_is_out():
            if not self._letters:
                self._read_on()
            letter = self._letters.popleft()
            self.bytes -= len(letter)
            self.first += 1
            gone.append(letter)
        if self.stored >= begin:
            keys = letter_keys(self._id, begin, min(self.first - 1, self.stored))
            self._store.batch.remove(Table.ACTORS, keys)
        self.stored = max(self.stored, self.first - 1)
        if not self.count:
            self._letters = EMPTY
        if self.known is not None:
            self.known.difference_update(id_of_letter(letter) for letter in gone if letter)
            self.known = self.known or None
        return gone

    def take_back(self, letter_id: bytes) -> bytes | None:
        """Take one letter out that is in memory, or that `reads` has given; None if it is not here any more."""
        for place, letter in enumerate(self._letters):
            if letter and id_of_letter(letter) == letter_id:
                self._take_out(place)
                self._drop_empty()
                return letter
        number = (self._far_reads or {}).pop(letter_id, None)
        if number is None:
            return None
        key = letter_key(self._id, number)
        far = self._store.get(Table.ACTORS, key)
        if far is not None:
            self._store.delete(Table.ACTORS, key)
            self._is_out(far)
        return far

    def take_back_asks(self) -> list[bytes]:
        """Take all asks out."""
        places = [place for place, letter in enumerate(self._letters) if letter and kind_of(letter) in _ASKS]
        taken = [self._take_out(place) for place in places]
        for begin in range(self.first + len(self._letters), self.last + 1, WINDOW):
            rows = self._store.get_many(
                Table.ACTORS, letter_keys(self._id, begin, min(self.last, begin + WINDOW - 1))
            )
            for key, letter in rows.items():
                if kind_of(letter) in _ASKS:
                    self._store.delete(Table.ACTORS, key)
                    self._is_out(letter)
                    taken.append(letter)
        self._far_reads = None
        self._drop_empty()
        return taken

    def _take_out(self, place: int) -> bytes:
        letter = self._letters[place]
        number = self.first + place
        # Its number stays, with an empty letter: others may be with a worker under theirs.
        self._letters[place] = b""
        self._is_out(letter)
        if number <= self.stored:
            self._store.delete(Table.ACTORS, letter_key(self._id, number))
        return letter

    def _is_out(self, letter: bytes) -> None:
        self.bytes -= len(letter)
        if self.known is not None:
            self.known.discard(id_of_letter(letter))
            self.known = self.known or None

    def _drop_empty(self) -> None:
        if self._first_is_out():
            self.acknowledge(self.first)

    def _first_is_out(self) -> bool:
        if not self._letters and self.count:
            self._read_on()
        return bool(self._letters) and not self._letters[0]

    def reads(self) -> list[bytes]:
        """The read-only asks."""
        found = [letter for letter in self._letters if letter and _only_reads(letter)]
        if self._far_reads:
            keys = [letter_key(self._id, number) for number in self._far_reads.values()]
            rows = self._store.get_many(Table.ACTORS, keys)
            found += [rows[key] for key in keys if key in rows]
        return found


def _only_reads(letter: bytes) -> bool:
    return kind_of(letter) == Kind.ASK and bool(flags_of(letter) & READ_ONLY)


_ASKS: Final = (Kind.ASK, Kind.STOP)

#: The letters of every empty box. An empty deque takes 600 bytes, and most boxes are empty.
EMPTY: Final[deque[bytes]] = deque(maxlen=0)
