"""The rows of class actors: one table, so that what one actor's commit changes lies close together.

The first byte of a key says what the row is. "id" is the 16 bytes of the actor's id. A letter is a message in its
envelope.

============================ ===========================================================================
key                          value
============================ ===========================================================================
01, id, 00                   the state, as its worker has packed it
01, id, 01, key              the value of a key of its storage
01, id, 02, …                a step, also of a task that is no actor: see `task_step_rows`
01, id, 03, name             a reminder: msgpack of [due, every, letter]
01, id, 04, dead letter's id a dead letter: msgpack of [time, letter, [type, message, traceback]]
02, id, seq (8)              a letter in its mailbox
03, class, 00, name          the id of the actor that has this name in this class
04, letter's id              a reply: msgpack of [actor's id, expires, reply]
05, due in µs (8), id, name  empty; all reminders by time
06, expires in ms (8),       empty; replies that are kept under a key of their sender, by time
letter's id
============================ ===========================================================================

Times are seconds since the epoch. Texts are UTF-8, so they sort by code points. The rows 01 go with the actor's record,
and so do letters that are left over when it ends.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgpack

from ...actors.errors import InvalidOption
from .schema import ID_BYTES, Table, after_prefix, due_sort, expiry_key

CLASS_NAME_BYTES: Final = 200
"""Longest name of an actor's class, as UTF-8."""

ACTOR_NAME_BYTES: Final = 200
"""Longest name of an actor within its class, as UTF-8."""

REMINDER_NAME_BYTES: Final = 200
"""Longest name of a reminder, as UTF-8."""

STORAGE_KEY_BYTES: Final = 400
"""Longest key of an actor's storage, as UTF-8."""

#: The first bytes of keys: what the row is.
OWN, LETTER, NAME, REPLY, DUE, REPLY_EXPIRY = b"\x01", b"\x02", b"\x03", b"\x04", b"\x05", b"\x06"

#: The bytes after the id of a row of kind OWN.
STATE, STORAGE, REMINDER, DEAD = b"\x00", b"\x01", b"\x03", b"\x04"

KEPT: Final = b"\xff" * 6
"""The first bytes of a letter's id that holds no time. Only replies to such letters have a row of kind REPLY_EXPIRY."""

_U64: Final = struct.Struct(">Q")
_HEAD: Final = 1 + ID_BYTES  # bytes of OWN or LETTER and the id
LETTER_KEY_BYTES: Final = _HEAD + _U64.size
"""Length of the key of a letter."""

Range = tuple[bytes, bytes]
"""The `start` and `stop` of a scan."""

Scan = Callable[..., list[tuple[bytes, bytes]]]
"""`Store.scan`."""


class ReminderRow(NamedTuple):
    """A reminder."""

    due: float
    #: Seconds between two times; None if it comes once.
    every: float | None
    letter: bytes


class ReplyRow(NamedTuple):
    """The reply to a letter that was dealt with."""

    actor: bytes
    expires: float
    #: None for a letter without a reply, sent under a key of its sender.
    reply: bytes | None


class DeadLetterRow(NamedTuple):
    """A letter that an actor could not deal with."""

    time: float
    letter: bytes
    #: Type, message and traceback.
    error: tuple[str, str, str]


# Rows of one actor.


def state_key(id: bytes) -> bytes:
    """The key of an actor's state."""
    return OWN + id + STATE


def storage_key(id: bytes, key: str) -> bytes:
    """The row of a key of an actor's storage; InvalidOption if it is no text or too long."""
    return OWN + id + STORAGE + _text("a key of an actor's storage", key, 0, STORAGE_KEY_BYTES)


def storage_range(id: bytes, prefix: str = "") -> Range:
    """The rows of an actor's storage whose keys start with this text."""
    return _under(storage_key(id, prefix))


def storage_text(key: bytes) -> str:
    """The key of the storage in the key of its row; ValueError if it is no text."""
    return key[_HEAD + 1 :].decode()


def reminder_key(id: bytes, name: str) -> bytes:
    """The key of an actor's reminder; InvalidOption if the name is no text, or its length is out of range."""
    return OWN + id + REMINDER + _name("a reminder's name", name, REMINDER_NAME_BYTES)


def reminders_of(id: bytes) -> Range:
    """The reminders of an actor, by name."""
    return _under(OWN + id + REMINDER)


def reminder_name(key: bytes) -> str:
    """The name in the key of a reminder; ValueError if it is no text."""
    return key[_HEAD + 1 :].decode()


def pack_reminder(due: float, every: float | None, letter: bytes) -> bytes:
    return _packed((due, every, letter))


def unpack_reminder(row: bytes) -> ReminderRow:
    """A reminder; ValueError if the bytes are none."""
    due, every, letter = _fields("reminder", row, _NUMBER, (*_NUMBER, type(None)), _BYTES)
    return ReminderRow(due, every, letter)


def dead_key(id: bytes, dead: bytes) -> bytes:
    """The key of a dead letter of an actor. `dead` is a UUIDv7, so they sort by time."""
    return OWN + id + DEAD + dead


def dead_range(id: bytes, dead: bytes | None = None) -> Range:
    """This dead letter of an actor, or all of them."""
    return _under(OWN + id + DEAD + (dead or b""))


def dead_id(key: bytes) -> bytes:
    """The dead letter's id in its key."""
    return key[_HEAD + 1 :]


def pack_dead(time: float, letter: bytes, error: tuple[str, str, str]) -> bytes:
    return _packed((time, letter, error))


def unpack_dead(row: bytes) -> DeadLetterRow:
    """A dead letter; ValueError if the bytes are none."""
    time, letter, error = _fields("dead letter", row, _NUMBER, _BYTES, (tuple,))
    if len(error) != 3 or not all(type(text) is str for text in error):
        raise ValueError("not a dead letter: its error is not three texts")
    return DeadLetterRow(time, letter, error)


# The mailbox.


def letter_key(id: bytes, seq: int) -> bytes:
    """The key of a letter: sorted by receiver, then by sequence number."""
    return LETTER + id + _U64.pack(seq)


def letter_keys(id: bytes, first: int, last: int) -> list[bytes]:
    """The keys of a receiver's letters with numbers from `first` to `last`, inclusive."""
    pack, head = _U64.pack, LETTER + id
    return [head + pack(seq) for seq in range(first, last + 1)]


def letter_seq(key: bytes) -> int:
    """The sequence number in the key of a letter."""
    return int.from_bytes(key[_HEAD:], "big")


def letters_of(id: bytes) -> Range:
    """The letters in an actor's mailbox, in order."""
    return _under(LETTER + id)


def letter_ids(scan: Scan, after: bytes, most: int) -> list[bytes]:
    """At most `most` actors whose ids are above `after` and that have letters on disk, by id.

    It reads one row for each actor, however many letters that one has.
    """
    ids: list[bytes] = []
    start, stop = after_prefix(LETTER + after) if after else LETTER, after_prefix(LETTER)
    while len(ids) < most and (rows := scan(Table.ACTORS, start, stop, 1)):
        ids.append(rows[0][0][1:_HEAD])
        start = after_prefix(rows[0][0][:_HEAD])
    return ids


def first_with_letters(scan: Scan, first: bytes, last: bytes) -> bytes | None:
    """The first actor that has letters on disk, of those with ids from `first` to `last`; None if none has."""
    rows = scan(Table.ACTORS, LETTER + first, after_prefix(LETTER + last), 1)
    return rows[0][0][1:_HEAD] if rows else None


# Names.


def name_key(class_name: str, name: str) -> bytes:
    """The key of an actor's name. InvalidOption if a name has NUL in it, or its length is out of range."""
    return _class(class_name) + _name("an actor's name", name, ACTOR_NAME_BYTES)


def names_range(class_name: str, prefix: str = "") -> Range:
    """The names of a class that start with this text, sorted."""
    return _under(_class(class_name) + _text("the prefix of an actor's name", prefix, 0, ACTOR_NAME_BYTES))


def name_parts(key: bytes) -> tuple[str, str]:
    """The class and the name in the key of a name; ValueError if it is malformed."""
    class_name, separator, name = key[1:].partition(b"\0")
    if not (class_name and separator and name):
        raise ValueError("not a name: without a class or a name")
    return class_name.decode(), name.decode()


# Replies.


def reply_key(letter: bytes) -> bytes:
    """The key of the reply to the letter with this id."""
    return REPLY + letter


def reply_expiry_key(expires: float, letter: bytes) -> bytes:
    """The key of the index row for the reply to a letter whose id holds no time."""
    return REPLY_EXPIRY + expiry_key(expires, letter)


def reply_rows(letter: bytes, actor: bytes, expires: float, reply: bytes | None) -> dict[bytes, bytes]:
    """The rows that keep a reply until `expires`: itself, and its index row if the letter's id holds no time."""
    rows = {reply_key(letter): pack_reply(actor, expires, reply)}
    if letter.startswith(KEPT):
        rows[reply_expiry_key(expires, letter)] = b""
    return rows


def pack_reply(actor: bytes, expires: float, reply: bytes | None) -> bytes:
    return _packed((actor, expires, reply))


def unpack_reply(row: bytes) -> ReplyRow:
    """A reply; ValueError if the bytes are none."""
    actor, expires, reply = _fields("reply", row, _BYTES, _NUMBER, (*_BYTES, type(None)))
    if len(actor) != ID_BYTES:
        raise ValueError(f"not a reply: its actor's id has {len(actor)} bytes")
    return ReplyRow(actor, expires, reply)


# Reminders by time.


def due_key(due: float, id: bytes, name: str) -> bytes:
    """The key of a reminder's index row. It holds whole microseconds."""
    return DUE + _U64.pack(due_sort(due)) + id + _name("a reminder's name", name, REMINDER_NAME_BYTES)


def due_range(until: float) -> Range:
    """The index rows of reminders that are due at `until` or earlier, by time."""
    return DUE, min(DUE + _U64.pack(due_sort(until)) + b"\xff" * (ID_BYTES + 1), after_prefix(DUE))


def due_after(time: float) -> Range:
    """The index rows of reminders that are due later than `time`, by time."""
    return due_range(time)[1], after_prefix(DUE)


def reminder_at(key: bytes) -> bytes:
    """The key of the reminder in its index row; ValueError if that is malformed."""
    middle = 1 + _U64.size
    end = middle + ID_BYTES
    if len(key) <= end:
        raise ValueError("not a reminder's time: too short")
    return OWN + key[middle:end] + REMINDER + key[end:]


def reminder_of_due_key(key: bytes) -> tuple[float, bytes, str]:
    """The time, the actor and the name in a reminder's index row; ValueError if it is malformed."""
    middle = 1 + _U64.size
    end = middle + ID_BYTES
    if len(key) <= end:
        raise ValueError("not a reminder's time: too short")
    return int.from_bytes(key[1:middle], "big") / 1e6, key[middle:end], key[end:].decode()


# Everything of one actor.


def rows_of(id: bytes) -> tuple[Range, Range]:
    """The rows that go with an actor's record: its own ones, and its letters."""
    return _under(OWN + id), _under(LETTER + id)


def owner_of(key: bytes) -> bytes | None:
    """The actor in whose `rows_of` this key is, or None."""
    return key[1:_HEAD] if key[:1] in (OWN, LETTER) else None


def _under(prefix: bytes) -> Range:
    return prefix, after_prefix(prefix)


def _class(class_name: str) -> bytes:
    return NAME + _name("the name of an actor's class", class_name, CLASS_NAME_BYTES) + b"\0"


def _name(what: str, name: str, most: int) -> bytes:
    encoded = _text(what, name, 1, most)
    if b"\0" in encoded:
        raise InvalidOption(f"{what} must not contain NUL: {name!r:.80}")
    return encoded


def _text(what: str, text: str, least: int, most: int) -> bytes:
    """The UTF-8 of a text; InvalidOption for anything else, and if its length is out of range."""
    try:
        encoded = text.encode()
    except (AttributeError, UnicodeEncodeError) as error:
        raise InvalidOption(f"{what} must be text that can be written as UTF-8: {text!r:.80}") from error
    if not least <= len(encoded) <= most:
        raise InvalidOption(
            f"{what} must have {least} to {most} bytes as UTF-8, not {len(encoded)}: {text!r:.80}"
        )
    return encoded


_NUMBER: Final = (float, int)
_BYTES: Final = (bytes,)


def _packed(fields: tuple[Any, ...]) -> bytes:
    packed: bytes = _PACK(fields)
    return packed


def _fields(what: str, row: bytes, *types: tuple[type, ...]) -> tuple[Any, ...]:
    """The fields of a row with these types; ValueError for any other."""
    try:
        fields: Any = msgpack.unpackb(row, use_list=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"not a {what}: {error}") from error
    if type(fields) is not tuple or len(fields) != len(types):
        raise ValueError(f"not a {what}: it has not {len(types)} fields")
    if not all(type(field) in kinds for field, kinds in zip(fields, types, strict=True)):
        raise ValueError(f"not a {what}: a field of the wrong type")
    return fields


_PACK: Final = msgpack.Packer(autoreset=True).pack
