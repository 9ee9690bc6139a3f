"""AccessReader: the part of `Reader` that reads the rows about access over HTTP."""

from __future__ import annotations

from itertools import islice

from ..actors.access import AuditEntry, TokenInfo
from ..actors.errors import StoreCorrupt
from .snapshot_reader import SnapshotReader
from .tables import access_rows
from .tables.schema import Table


class AccessReader(SnapshotReader):
    """Reads of tokens and of the audit. A damaged row raises StoreCorrupt, which names it."""

    def access_key(self) -> bytes | None:
        """The key that signs sessions and tokens for one task; None if none was made yet."""
        with self._read() as snapshot:
            return snapshot.get(Table.META, access_rows.KEY)

    def token(self, id: str) -> tuple[TokenInfo, bytes] | None:
        """The token with this id, and the hash of its text; None if there is none."""
        key = access_rows.token_key(id)
        with self._read() as snapshot:
            row = snapshot.get(Table.META, key)
            return None if row is None else _token(key, row)

    def tokens(self) -> list[TokenInfo]:
        """All tokens, by time of creation."""
        with self._read() as snapshot:
            found = [_token(key, row)[0] for key, row in snapshot.rows(Table.META, *access_rows.all_tokens())]
        return sorted(found, key=lambda token: (token.created, token.id))

    def audit(self, limit: int = 100, before: bytes | None = None) -> list[tuple[bytes, AuditEntry]]:
        """Entries of the audit with their marks, newest first, older than that with the mark `before`."""
        with self._read() as snapshot:
            rows = snapshot.rows(Table.META, *access_rows.audit_range(before), reverse=True)
            return [(access_rows.mark_of(key), _entry(row)) for key, row in islice(rows, limit)]


def _token(key: bytes, row: bytes) -> tuple[TokenInfo, bytes]:
    try:
        return access_rows.unpack_token(key, row)
    except ValueError as error:
        raise StoreCorrupt(
            f"the token {key.decode(errors='replace')} is damaged; remove it", problems=[str(error)]
        ) from error


def _entry(row: bytes) -> AuditEntry:
    try:
        return access_rows.unpack_entry(row)
    except ValueError as error:
        raise StoreCorrupt(
            "an entry of the audit is damaged; run `understudy check`", problems=[str(error)]
        ) from error
