"""A letter: one message to an actor with its envelope, as bytes.

====== ======================================================================
bytes  meaning
====== ======================================================================
1      kind
1      flags: READ_ONLY, WAITS, KEPT
16     id
16     the actor that sends it; 16 zero bytes if no actor does
rest   msgpack [op, path, payload, stream, keep], and perhaps the id of a letter, or None, and a traceparent
====== ======================================================================

The head has a fixed size, so that the supervisor reads a kind, an id or a sender without decoding the rest. Only the
worker of the actor reads the body.

The id of a letter is what makes it one: the store keeps the reply to an ask under it, and an ask that comes again
under its id gets that reply. So an id is a new UUIDv7, unless the sender must be able to make the same id again:

- an ask with a key of its caller (KEPT): `keyed_id`;
- an ask made by a method of an actor, which a rerun of the same message makes again: `asked_id`.
"""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b
from struct import Struct
from typing import Any, Final, NamedTuple

import msgpack

from ..checks import is_number
from ..errors import InvalidValue
from ..tracing.traceparent import is_traceparent

HEAD: Final = Struct(">BB16s16s")

#: The method it calls changes nothing: it may run while another method of the actor waits.
READ_ONLY: Final = 1
#: The actor that sends it does nothing else until the answer comes.
WAITS: Final = 2
#: Its id comes from a key of the caller.
KEPT: Final = 4
_FLAGS: Final = READ_ONLY | WAITS | KEPT

_NOBODY: Final = bytes(16)

# The supervisor reads parts of the head several times for each letter, so they are read without the rest.
_HEAD_SIZE: Final = HEAD.size
_ID: Final = slice(2, 18)


class Kind(IntEnum):
    """What a letter is for."""

    TELL = 0
    """No answer is wanted."""
    ASK = 1
    """Its sender wants the answer."""
    REMINDER = 2
    """The actor itself has asked for it, by `remind`."""
    STOP = 3
    """Once it is handled, the actor stops. Its sender gets an answer."""


class Op(IntEnum):
    """What the actor does with it."""

    MESSAGE = 0
    """on_receive(message); the payload is the message."""
    CALL = 1
    """Call the method at `path`; the payload is [args, kwargs], or None for no arguments."""
    GET = 2
    """Read the attribute at `path`."""
    SET = 3
    """Set the attribute at `path`; the payload is the value."""


_KINDS: Final = tuple(Kind)
_OPS: Final = tuple(Op)
_CALL: Final = int(Op.CALL)


class Letter(NamedTuple):
    """One message to an actor. Ids have 16 bytes."""

    kind: Kind
    flags: int
    id: bytes
    sender: bytes | None
    """The actor that sends it; None if no actor does."""
    op: Op = Op.MESSAGE
    path: str | None = None
    """A name, or several with dots between them."""
    payload: bytes | None = None
    """An encoded value."""
    stream: bytes | None = None
    """The correlation id of its sender."""
    keep: float | None = None
    """Seconds that the reply is kept under this id; only with KEPT."""
    beside: bytes | None = None
    """The read-only letter whose method sends it, while another method of its actor waits."""
    trace: str | None = None
    """The trace context of its sender, as a W3C traceparent; None for none."""

    def pack(self) -> bytes:
        """Its bytes."""
        head = HEAD.pack(self.kind, self.flags, self.id, self.sender or _NOBODY)
        fields: tuple[Any, ...] = (int(self.op), self.path, self.payload, self.stream, self.keep)
        if self.trace is not None:
            fields = (*fields, self.beside, self.trace)
        elif self.beside is not None:
            fields = (*fields, self.beside)
        body: bytes = msgpack.packb(fields)
        return head + body

    @classmethod
    def unpack(cls, data: bytes) -> Letter:
        """The inverse of `pack`; InvalidValue (a ValueError) for bytes that are no letter."""
        kind, flags, id, sender = _head(data)
        if kind >= len(_KINDS) or flags & ~_FLAGS:
            raise InvalidValue(f"not a letter: kind {kind}, flags {flags}")
        try:
            op, path, payload, stream, keep, *more = msgpack.unpackb(memoryview(data)[_HEAD_SIZE:])
        except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
            raise InvalidValue(f"not a letter: {error or type(error).__name__}") from error
        usual = op is _CALL and path and type(path) is str and type(payload) is bytes
        if not usual or stream is not None or keep is not None:
            # Not a call with arguments from outside of tasks.
            _check_body(op, path, payload, stream, keep)
        if more:
            _check_more(*more)
        by = None if sender == _NOBODY else sender
        return cls(_KINDS[kind], flags, id, by, _OPS[op], path, payload, stream, keep, *more)


def kind_of(data: bytes) -> int:
    """The kind of a letter; InvalidValue if it is too short for one."""
    return data[0] if len(data) >= _HEAD_SIZE else _head(data)[0]


def flags_of(data: bytes) -> int:
    """Its flags."""
    return data[1] if len(data) >= _HEAD_SIZE else _head(data)[1]


def id_of_letter(data: bytes) -> bytes:
    """Its id."""
    return data[_ID] if len(data) >= _HEAD_SIZE else _head(data)[2]


def sender_of(data: bytes) -> bytes | None:
    """The actor that sent it; None if no actor did."""
    sender = _head(data)[3]
    return None if sender == _NOBODY else sender


def keyed_id(actor: bytes, key: str) -> bytes:
    """The id of a letter to this actor under a key of the caller."""
    return b"\xff" * 6 + _digest(actor + key.encode())


def asked_id(handled: bytes, what: bytes = b"", ordinal: int = 0) -> bytes:
    """The id of an ask that a method makes while it handles a letter with this id.

    `what` is what it asks, as `what_is_asked` says; the first such ask has ordinal 0.
    """
    return handled[:6] + _digest(handled + ordinal.to_bytes(8, "big") + what)


def what_is_asked(actor: bytes, kind: Kind, op: Op, path: str | None) -> bytes:
    """What an ask wants of which actor, whatever its arguments are."""
    return actor + bytes((kind, op)) + (path or "").encode()


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=10).digest()


def _head(data: bytes) -> tuple[int, int, bytes, bytes]:
    if len(data) < HEAD.size:
        raise InvalidValue(f"not a letter: {len(data)} bytes")
    return HEAD.unpack_from(data)


def _check_more(beside: Any, *trace: Any) -> None:
    valid = (beside is None and trace != ()) or (isinstance(beside, bytes) and len(beside) == 16)
    if not valid or len(trace) > 1 or not all(map(is_traceparent, trace)):
        raise InvalidValue("not a letter: its body has the wrong fields")


def _check_body(op: Any, path: Any, payload: Any, stream: Any, keep: Any) -> None:
    valid = (
        type(op) is int
        and 0 <= op < len(_OPS)
        and (path is None if op == Op.MESSAGE else isinstance(path, str) and path != "")
        and (payload is None or isinstance(payload, bytes))
        and (stream is None or (isinstance(stream, bytes) and len(stream) == 16))
        and (keep is None or (is_number(keep) and keep >= 0))
    )
    if not valid:
        raise InvalidValue("not a letter: its body has the wrong fields")
