"""AccessCheck: the part of the check of a store that looks at the table `meta`: access over HTTP, and starts."""

from __future__ import annotations

from collections.abc import Iterator

from .tables import access_rows
from .tables.access_rows import AUDIT_KEY_BYTES, FIRST, KEY
from .tables.start_rows import STARTS_ROW, unpack_starts


class AccessCheck:
    """The rules of these rows."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def problems(self, key: bytes, row: bytes) -> Iterator[str]:
        """What is wrong with a row of the table `meta`. Rows of other kinds are left alone."""
        tokens, audit = access_rows.all_tokens(), access_rows.audit_range()
        try:
            if key == KEY and len(row) != 32:
                yield "the key that signs sessions is damaged: remove all tokens, and make new ones"
            elif key == FIRST:
                int(row)
            elif key == STARTS_ROW:
                unpack_starts(row)
            elif tokens[0] <= key < tokens[1]:
                name = access_rows.unpack_token(key, row)[0].name
                if name in self._names:
                    yield f"two tokens are named {name!r}"
                self._names.add(name)
            elif audit[0] <= key < audit[1]:
                access_rows.unpack_entry(row)
                if len(access_rows.mark_of(key)) != AUDIT_KEY_BYTES:
                    yield f"row {key.hex()} of meta is no entry of the audit"
        except ValueError as error:
            yield f"row {key.hex()} of meta: {error}"
