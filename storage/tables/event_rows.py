"""The rows of events: one table, whose keys begin with a byte that says what the row is.

"uid" is the UUIDv7 of an event, which sorts it by time. Its id is the text by which programs know it: the one that
they gave, or the text of the uid.

====================== ==========================================================================================
key                    value
====================== ==========================================================================================
01, uid                the event: msgpack of [id, name, time, stream, origin, depth, event, [[handler, run], …]]
02, id                 uid; only of an id that a program gave
03, name, 00, uid      empty; all events by name
04, uid                empty; events that nothing handled and nobody listened to
05, stream, uid        empty; events of a stream that another task or event began
06, task, listen       msgpack of [pattern, condition]: what a task listens to
====================== ==========================================================================================

Times are seconds since the epoch. The packed event is an encoded value, which is the argument of its handlers.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple

import msgpack

from . import removed_rows
from .schema import ID_BYTES, Table, after_prefix, id_floor

#: The first bytes of keys: what the row is.
EVENT, GIVEN_ID, NAME, UNMATCHED, STREAM, LISTEN = (bytes((kind,)) for kind in range(1, 7))

Range = tuple[bytes, bytes]
"""The `start` and `stop` of a scan."""

LISTEN_BYTES: Final = 8
"""Length of the hash at the end of the key of what a task listens to."""


class EventRow(NamedTuple):
    """A stored event."""

    id: str
    name: str
    time: float
    stream: bytes
    #: The run or task that emitted it.
    origin: bytes | None
    #: How many events lie between it and the start of its stream, with itself.
    depth: int
    #: The event as an encoded value.
    packed: bytes
    #: (handler, id of its run), of replays, too.
    runs: tuple[tuple[str, bytes], ...]

    def pack(self) -> bytes:
        packed: bytes = _PACK(self)
        return packed

    @classmethod
    def unpack(cls, row: bytes) -> EventRow:
        """A stored event; ValueError if the bytes are none."""
        try:
            event = cls(*msgpack.unpackb(row, use_list=False))
            if (
                not type(event.id) is type(event.name) is str
                or not type(event.stream) is type(event.packed) is bytes
                or type(event.depth) is not int
                or type(event.time) not in (float, int)
            ):
                raise ValueError("a field of the wrong type")
            for handler, run in event.runs:
                if type(handler) is not str or type(run) is not bytes or len(run) != ID_BYTES:
                    raise ValueError("a run of the wrong type")
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise ValueError(f"not an event: {error}") from error
        return event


def event_key(uid: bytes) -> bytes:
    """The key of an event."""
    return EVENT + uid


def all_events() -> Range:
    """All events, by time."""
    return _under(EVENT)


def uid_of(key: bytes) -> bytes:
    """The uid at the end of the key of an event or of one of its index rows."""
    return key[-ID_BYTES:]


def given_key(id: str) -> bytes:
    """The key of the row that leads from an id which a program gave to the event."""
    return GIVEN_ID + id.encode()


def name_key(name: str, uid: bytes) -> bytes:
    """The key of an event's row in the index by name."""
    return NAME + name.encode() + b"\0" + uid


def events_of_name(name: str) -> Range:
    """The index rows of all events of this name, by time."""
    return _under(NAME + name.encode() + b"\0")


def names_from(prefix: str) -> Range:
    """The index rows of all events whose names begin so, by name."""
    return _under(NAME + prefix.encode())


def name_in(key: bytes) -> str:
    """The name in the key of a row of the index by name."""
    return key[1 : -ID_BYTES - 1].decode()


def unmatched_key(uid: bytes) -> bytes:
    """The key of the row of an event that nothing handled."""
    return UNMATCHED + uid


def stream_key(stream: bytes, uid: bytes) -> bytes:
    """The key of an event's row in the index by stream."""
    return STREAM + stream + uid


def events_of_stream(stream: bytes) -> Range:
    """The index rows of the events of a stream, by time, but for the one that began it."""
    return _under(STREAM + stream)


def events_between(since: float, until: float | None = None) -> Range:
    """The events made at these times."""
    stop = after_prefix(EVENT) if until is None else EVENT + id_floor(until)
    return EVENT + id_floor(since), stop


def rows_of(uid: bytes, event: EventRow) -> dict[bytes, bytes | None]:
    """The keys of all rows of an event, each with None: what a batch takes to delete them."""
    keys = [event_key(uid), name_key(event.name, uid), unmatched_key(uid)]
    if event.stream != uid:
        keys.append(stream_key(event.stream, uid))
    return dict.fromkeys(keys)


def listen_key(task: bytes, pattern: str, condition: tuple[tuple[str, Any], ...]) -> bytes:
    """The key of what a task listens to: the same for the same pattern and condition."""
    definition = hashlib.blake2b(pack_listen(pattern, condition), digest_size=LISTEN_BYTES)
    return LISTEN + task + definition.digest()


def all_listens() -> Range:
    """All that all tasks listen to."""
    return _under(LISTEN)


def listener_of(key: bytes) -> bytes:
    """The task in the key of what it listens to."""
    return key[1 : 1 + ID_BYTES]


def pack_listen(pattern: str, condition: tuple[tuple[str, Any], ...]) -> bytes:
    packed: bytes = _PACK((pattern, condition))
    return packed


def unpack_listen(row: bytes) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """The pattern and the condition of a listen; ValueError if the bytes are none."""
    try:
        pattern, condition = msgpack.unpackb(row, use_list=False)
        if type(pattern) is not str or not all(type(path) is str for path, _ in condition):
            raise ValueError("a field of the wrong type")
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"not a listen: {error}") from error
    return pattern, condition


def prune_events(store: Any, before: float, most: int) -> int:
    """Delete at most `most` events that were made before this time; how many. Call it until it returns 0.

    Their runs are tasks, which are kept for a time of their own. `store` is a `prune.Rows`.
    """
    done = 0
    start, stop = EVENT, EVENT + id_floor(before)
    for key, row in store.scan(Table.EVENTS, start, stop, 2 * most):
        if done >= most:
            break
        if store.get(Table.EVENTS, key) is None:
            continue  # deleted in a batch that is not on disk yet
        done += 1
        try:
            event = EventRow.unpack(row)
        except ValueError:
            store.delete(Table.EVENTS, key)
            continue
        for each in rows_of(uid_of(key), event):
            store.delete(Table.EVENTS, each)
        if event.id and store.get(Table.EVENTS, given_key(event.id)) == uid_of(key):
            store.delete(Table.EVENTS, given_key(event.id))
    removed_rows.add(store, removed_rows.EVENTS, [done])
    return done


def _under(prefix: bytes) -> Range:
    return prefix, after_prefix(prefix)


_PACK: Final = msgpack.Packer(autoreset=True).pack
