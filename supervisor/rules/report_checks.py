"""Checks of the reports of workers.

User code runs in a worker and may have changed any of its memory. A report with a field of the wrong type ends that
worker before the report changes anything. In a record or a batch, such a field would end the supervisor.
"""

from __future__ import annotations

from types import NoneType
from typing import Any, Final

import msgpack

from ...actors import values
from ...actors.attempt.host import Ending
from ...actors.attempt.item import NAME_BYTES
from ...actors.errors import ProtocolError, UnderstudyError
from ...actors.refs.port import PostKind
from ...actors.refs.remote_error import ERROR_LIMIT
from ...actors.step_label import LABEL_BYTES, unpack_label
from ...actors.step_label import NAME_BYTES as STEP_NAME_BYTES
from .stacks import OTHERS, OWN_CALLS

_NUMBERS: Final = (float, int)
_POSTS: Final = tuple(PostKind)
_ID_BYTES: Final = 16
_ROLES: Final = ("task", "loop", "maybe", "other")
#: Those of an event that a method emits: id, name, stream, origin, time, encoded event.
_EVENT_FIELDS: Final = (6, 7)
#: Those of an event in a checkpoint, which are those of an EMIT.
_EVENT_ROW: Final = (7, 8)
#: Msgpack's head of an array of three.
_THREE: Final = b"\x93"
#: Bytes of the head of a letter, and the most rows of one READ.
_LETTER_HEAD: Final = 34
_MOST_ROWS: Final = 10_000
#: Bytes of a key of an actor's storage, and of a reminder's name.
_KEY_BYTES: Final = 400
_NAME_BYTES: Final = 200
#: A time after which nothing is due, and a period that is too long: the end of the year 9999.
_LATEST: Final = 253_402_300_799
#: The most characters in a text of a report. Workers cut texts far shorter than this.
_LONGEST: Final = 1_000_000


def check_done(rows: Any) -> None:
    """ProtocolError if these are no rows of DONE. Checks by column, because most of the many rows are alike."""
    if not rows:
        return
    _ids, endings, values, errors, delays, ackeds, starts, ends = zip(*rows, strict=True)
    if (
        _all_of(endings, int)
        and 0 <= min(endings) <= max(endings) < len(Ending)
        and _all_of(values, bytes, NoneType)
        and (errors.count(None) == len(errors) or all(error is None or _is_error(error) for error in errors))
        and _all_of(delays, NoneType, *_NUMBERS)
        and _all_of(ackeds, int)
        and _all_of(starts, float)
        and _all_of(ends, float)
    ):
        return
    raise ProtocolError(f"not the ends of attempts: {rows!r:.200}")


def _all_of(column: tuple[Any, ...], *kinds: type) -> bool:
    return set(map(type, column)) <= {*kinds}


def _is_error(error: Any) -> bool:
    if type(error) is not tuple or len(error) not in {4, 5} or type(error[3]) is not tuple:
        return False
    if len(error) == 5 and not _are_details(error[4]):
        return False
    return all(map(_is_text, error[:3])) and all(
        type(names) is tuple and all(map(_is_text, names)) for names in error[3]
    )


def _are_details(details: Any) -> bool:
    """Whether this is a map of texts, numbers and maps of texts, as container tasks report it."""
    return type(details) is dict and all(
        _is_text(name)
        and (
            value is None
            or type(value) in {bool, int, float}
            or _is_text(value)
            or (type(value) is dict and all(map(_is_text, (*value.keys(), *value.values()))))
        )
        for name, value in details.items()
    )


def _is_text(text: Any) -> bool:
    return type(text) is str and len(text) <= _LONGEST


def check_checkpoint(
    request: Any, value: Any, acked: Any, posted: Any, value_limit: int, items: Any = (), events: Any = ()
) -> None:
    """ProtocolError if these are no fields of CHECKPOINT."""
    sound = type(request) is int and type(acked) is int and _is_value(value, value_limit)
    for part in items:
        check_items(part, value_limit)
    sound = sound and all(type(event) is tuple and len(event) in _EVENT_ROW for event in events)
    if not sound or not all(
        type(id) is bytes and len(id) == _ID_BYTES and _is_value(message, value_limit)
        for messages in posted
        for id, message in messages
    ):
        raise ProtocolError(f"not a checkpoint: {(request, value, acked, posted)!r:.200}")


def _is_value(value: Any, limit: int) -> bool:
    return type(value) is bytes and len(value) <= limit


def check_items(bodies: Any, value_limit: int) -> None:
    """ProtocolError if these are no bodies of items."""
    for body in bodies:
        if not _is_item(body, value_limit):
            raise ProtocolError(f"not an item: {body!r:.200}")


def _is_item(body: Any, value_limit: int) -> bool:
    if type(body) is not bytes:
        return False
    try:
        # With the head of an array: its time, its name, and its value.
        at, name, value = msgpack.unpackb(_THREE + body)
    except (ValueError, TypeError, msgpack.UnpackException):
        return False
    return (
        type(at) is float
        and 0 <= at <= _LATEST
        and _is_key(name, 1, NAME_BYTES)
        and _is_value(value, value_limit)
    )


def check_progress(done: Any, total: Any, note: Any) -> None:
    """ProtocolError if these are no fields of PROGRESS."""
    if type(done) in _NUMBERS and (total is None or type(total) in _NUMBERS) and _is_text(note):
        return
    raise ProtocolError(f"not progress: {(done, total, note)!r:.200}")


def check_ready(id: Any, ready: Any) -> None:
    """ProtocolError if these are no fields of READY."""
    if type(id) is not bytes or type(ready) is not bool:
        raise ProtocolError(f"not a begin: {(id, ready)!r:.200}")


def check_step(request: Any, letter: Any, label: Any, name: Any, value: Any, value_limit: int) -> None:
    """ProtocolError if these are no fields of STEP."""
    if (
        type(request) is int
        and (letter == b"" or _is_id(letter))
        and _is_label(label)
        and _is_key(name, 1, STEP_NAME_BYTES)
        and _is_value(value, value_limit)
    ):
        return
    raise ProtocolError(f"not a step: {(request, letter, label, name, value)!r:.200}")


def _is_label(label: Any) -> bool:
    if type(label) is not bytes or len(label) > LABEL_BYTES:
        return False
    try:
        unpack_label(label)
    except ValueError:
        return False
    return True


def check_steps(request: Any, label: Any) -> None:
    """ProtocolError if these are no fields of STEPS."""
    if type(request) is not int or type(label) is not bytes or len(label) > _ID_BYTES + LABEL_BYTES:
        raise ProtocolError(f"not a request for steps: {(request, label)!r:.200}")


def check_failure(message: Any, trace: Any) -> None:
    """ProtocolError if these are no fields of FAILED."""
    if not (_is_text(message) and _is_text(trace)):
        raise ProtocolError(f"not a failure: {(message, trace)!r:.200}")


def check_stack(number: Any, rows: Any) -> None:
    """ProtocolError if these are no fields of STACK."""
    sound = type(number) is int and (
        rows is None or (type(rows) is tuple and len(rows) <= 1 + OTHERS and all(map(_is_stack, rows)))
    )
    if not sound:
        raise ProtocolError(f"not a stack: {(number, rows)!r:.200}")


def _is_stack(row: Any) -> bool:
    name, role, id, left_out, calls = row
    return (
        _is_text(name)
        and role in _ROLES
        and (id is None or _is_id(id))
        and type(left_out) is int
        and type(calls) is tuple
        and len(calls) <= OWN_CALLS
        and all(
            _is_text(file) and type(line) is int and _is_text(function) and _is_text(source)
            for file, line, function, source in calls
        )
    )


def check_lines(lines: Any) -> None:
    """ProtocolError if these are no lines of a log."""
    for at, level, text in lines:
        if not (type(at) in _NUMBERS and type(level) is str and _is_text(text)):
            raise ProtocolError(f"not a line of a log: {(at, level, text)!r:.200}")


def check_turn(
    acked: Any,
    state: Any,
    rows: Any,
    posts: Any,
    reminders: Any,
    replies: Any,
    dead: Any,
    seen: Any,
    limit: int,
) -> None:
    """ProtocolError if these are no fields of TURN."""
    sound = (
        type(acked) is int
        and (state is None or _is_value(state, limit))
        and all(_is_row(key, value, limit) for part in rows for key, value in part)
        and _are_posts(posts, limit)
        and all(_is_reminder(name, due, every, letter, limit) for name, due, every, letter in reminders)
        and all(
            _is_id(letter_id) and _is_reply(reply, limit) and type(changed) is bool
            for letter_id, reply, changed in replies
        )
        and all(_is_letter(letter, limit) and _is_error(error) for letter, error in dead)
        and all(map(_is_id, seen))
    )
    if not sound:
        raise ProtocolError(
            f"not a turn: {(acked, state, rows, posts, reminders, replies, dead, seen)!r:.200}"
        )


def _is_reply(reply: Any, limit: int) -> bool:
    return _is_value(reply, max(limit, ERROR_LIMIT))


def _is_row(key: Any, value: Any, limit: int) -> bool:
    return _is_key(key, 1, _KEY_BYTES) and (value is None or _is_value(value, limit))


def _is_key(key: Any, least: int, most: int) -> bool:
    """Whether it is text of so many bytes, which fit into a key of the store."""
    return type(key) is str and least <= len(key) <= most and (key.isascii() or len(key.encode()) <= most)


def _is_reminder(name: Any, due: Any, every: Any, letter: Any, limit: int) -> bool:
    return (
        _is_key(name, 1, _NAME_BYTES)
        and (due is None or (type(due) in _NUMBERS and 0 <= due <= _LATEST))
        and (every is None or (type(every) in _NUMBERS and 0 < every <= _LATEST))
        and (letter is None or _is_letter(letter, limit))
    )


def check_read(request: Any, what: Any, key: Any, after: Any, limit: Any, reverse: Any) -> None:
    """ProtocolError if these are no fields of READ."""
    if not (
        type(request) is int
        and what in ("row", "rows", "reminders")
        and _is_key(key, 0, _KEY_BYTES)
        and (after is None or _is_key(after, 0, _KEY_BYTES))
        and type(limit) is int
        and 0 < limit <= _MOST_ROWS
        and type(reverse) is bool
    ):
        raise ProtocolError(f"not a read: {(request, what, key, after, limit, reverse)!r:.200}")


def check_aside(letter_id: Any, reply: Any, posts: Any, limit: int) -> None:
    """ProtocolError if these are no fields of ASIDE."""
    if not (_is_id(letter_id) and _is_reply(reply, limit) and _are_posts(posts, limit)):
        raise ProtocolError(f"not an answer: {(letter_id, reply, posts)!r:.200}")


def _are_posts(posts: Any, limit: int) -> bool:
    return all(
        _is_id(id)
        and _is_value(value, limit)
        and kind in _POSTS
        and (kind != PostKind.ITEM or _is_item(value, limit))
        for part in posts
        for id, value, kind in part
    )


def event_fields(value: bytes) -> list[Any]:
    """The fields of an event that a method has emitted, after its uid; ProtocolError if they are none."""
    try:
        fields = values.unpack(value)
    except UnderstudyError as error:
        raise ProtocolError(f"not an event: {value!r:.200}") from error
    if not isinstance(fields, list) or len(fields) not in _EVENT_FIELDS:
        raise ProtocolError(f"not an event: {fields!r:.200}")
    return fields


def _is_id(id: Any) -> bool:
    return type(id) is bytes and len(id) == _ID_BYTES


def _is_letter(letter: Any, limit: int) -> bool:
    return _is_value(letter, limit) and len(letter) >= _LETTER_HEAD
