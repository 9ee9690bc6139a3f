"""Rows about access over HTTP. They are in the table `meta`, under prefixes of their own.

=============================== ================================================================
key                             value
=============================== ================================================================
b"web/key"                      32 random bytes that sign sessions and tokens for one task
b"web/first"                    there once the first token was made; the time in seconds
b"web/token/" + id              msgpack [name, role, [pattern, …], created, expires, hash of the token]
b"web/audit/" + µs (8), random  msgpack [time, who, token id, role, action, outcome, address]
(4)
=============================== ================================================================
"""

from __future__ import annotations

import struct
from dataclasses import astuple
from typing import Any, Final

import msgpack

from ...actors.access import AuditEntry, Role, TokenInfo

KEY: Final = b"web/key"
FIRST: Final = b"web/first"
KEPT: Final = 10_000
"""Entries of the audit; the oldest go first."""

_TOKEN: Final = b"web/token/"
_AUDIT: Final = b"web/audit/"
_TIME: Final = struct.Struct(">Q")
_TAIL: Final = 4
AUDIT_KEY_BYTES: Final = _TIME.size + _TAIL
#: Characters of a text in an entry.
_TEXT: Final = 500


def token_key(id: str) -> bytes:
    """The key of a token's row."""
    return _TOKEN + id.encode()


def all_tokens() -> tuple[bytes, bytes]:
    """The range of the rows of tokens."""
    return _TOKEN, _TOKEN[:-1] + b"0"


def pack_token(token: TokenInfo, digest: bytes) -> bytes:
    """The row of a token."""
    packed: bytes = msgpack.packb(
        [token.name, str(token.role), list(token.tasks), token.created, token.expires, digest]
    )
    return packed


def unpack_token(key: bytes, row: bytes) -> tuple[TokenInfo, bytes]:
    """A token and the hash of its text; ValueError for a damaged row."""
    try:
        name, role, tasks, created, expires, digest = msgpack.unpackb(row)
        if type(digest) is not bytes or len(digest) != 32:
            raise ValueError("no hash")
        id = key.removeprefix(_TOKEN).decode()
        return TokenInfo(id, name, Role(role), tuple(tasks), created, expires), digest
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"not the row of a token: {error}") from error


def audit_mark(time: float, random: bytes) -> bytes:
    """What orders the entries of the audit: the time, then something random that tells two apart."""
    return _TIME.pack(min(max(int(time * 1e6), 0), 2**64 - 1)) + random[:_TAIL]


def audit_key(mark: bytes) -> bytes:
    """The key of an entry."""
    return _AUDIT + mark


def audit_range(before: bytes | None = None) -> tuple[bytes, bytes]:
    """The range of all entries, or of those before a mark."""
    return _AUDIT, _AUDIT[:-1] + b"0" if before is None else _AUDIT + before


def mark_of(key: bytes) -> bytes:
    """The mark in the key of an entry."""
    return key.removeprefix(_AUDIT)


def pack_entry(entry: AuditEntry) -> bytes:
    """The row of an entry."""
    packed: bytes = msgpack.packb(fields_of(entry))
    return packed


def fields_of(entry: AuditEntry) -> list[Any]:
    """The fields of an entry. Texts are cut, and what UTF-8 cannot write is replaced."""
    time, *texts = astuple(entry)
    return [time, *(text[:_TEXT].encode(errors="replace").decode() for text in texts)]


def unpack_entry(row: bytes) -> AuditEntry:
    """The entry of a row; ValueError for a damaged one."""
    try:
        fields: list[Any] = msgpack.unpackb(row)
        return AuditEntry(*fields)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"not an entry of the audit: {error}") from error
