"""`Access`: writes what the store holds about access over HTTP: the key, tokens and the audit."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

from ...actors.access import AuditEntry, TokenInfo, check_grant
from ...actors.errors import InvalidOption
from ...storage.store import Store
from ...storage.tables import access_rows
from ...storage.tables.access_rows import AUDIT_KEY_BYTES, KEPT
from ...storage.tables.schema import Table
from .commit_loop import CommitLoop

log = logging.getLogger("understudy")

#: Tokens that a home may have.
MOST_TOKENS = 10_000
#: Entries of the audit in one request.
MOST_ENTRIES = 1_000


class Access:
    """Every change is in the open batch when the call returns."""

    def __init__(self, commits: CommitLoop) -> None:
        self._clock = commits.clock
        self._store: Store = commits.store
        #: How many entries the audit has; None before the first one is written.
        self._entries: int | None = None
        #: The time of the last entry that was made here.
        self._noted = 0.0

    def key(self) -> bytes:
        """The key that signs sessions and tokens for one task. It is made when it is first needed."""
        key = self._store.get(Table.META, access_rows.KEY)
        if key is None:
            key = os.urandom(32)
            self._store.put(Table.META, access_rows.KEY, key)
        return key

    @property
    def has_first(self) -> bool:
        """Whether the first token was made."""
        return self._store.get(Table.META, access_rows.FIRST) is not None

    def made_first(self) -> None:
        """The first token is made; there will be no other first one."""
        self._store.put(Table.META, access_rows.FIRST, b"%d" % self._clock.time())

    def add(self, id: Any, name: Any, role: Any, tasks: Any, expires: Any, digest: Any) -> bool:
        """Keep a token; True. The same request again changes nothing. Raises InvalidOption.

        `expires` is a time in seconds since the epoch, or None.
        """
        now = self._clock.time()
        check_grant(name, role, list(tasks), None)
        if not isinstance(id, str) or not isinstance(digest, bytes) or len(digest) != 32:
            raise ValueError("no id or no hash of a token")
        if expires is not None and not isinstance(expires, float):
            raise ValueError("no time at which a token expires")
        key = access_rows.token_key(id)
        tokens = self._tokens()
        if any(token.name == name and token.id != id for token in tokens):
            raise InvalidOption(
                f"there is a token named {name!r} already; choose another name, or remove it first"
            )
        if len(tokens) >= MOST_TOKENS:
            raise InvalidOption(f"there are {MOST_TOKENS:,} tokens, and no more are kept; remove some")
        if self._store.get(Table.META, key) is None:
            token = TokenInfo(id, name, role, tuple(tasks), now, expires)
            self._store.put(Table.META, key, access_rows.pack_token(token, digest))
            self._note("add token", f"{name} ({role})")
        return True

    def remove(self, name: Any) -> bool:
        """Remove the token with this name or id. False if there is none."""
        found = False
        start, stop = access_rows.all_tokens()
        for key, row in self._store.look(Table.META, start, stop, limit=MOST_TOKENS):
            try:
                token, _ = access_rows.unpack_token(key, row)
                fits = name in (token.name, token.id)
            except ValueError:
                # A damaged one can be removed by its id.
                fits = key == access_rows.token_key(str(name))
            if fits:
                self._store.delete(Table.META, key)
                found = True
        if found:
            self._note("remove token", str(name))
        return found

    def record(self, rows: Sequence[Any]) -> None:
        """Add entries to the audit: pairs of a mark and the fields. The same mark again changes nothing."""
        if len(rows) > MOST_ENTRIES:
            raise ValueError("too many entries at once")
        for mark, fields in rows:
            if not isinstance(mark, bytes) or len(mark) != AUDIT_KEY_BYTES:
                raise ValueError("no mark of an entry")
            time, *texts = fields
            if type(time) is not float or len(texts) != 6 or not all(isinstance(text, str) for text in texts):
                raise ValueError("not the fields of an entry")
            self._enter(mark, AuditEntry(time, *texts))

    def _note(self, action: str, what: str) -> None:
        # Entries of one instant stay in their order.
        self._noted = now = max(self._clock.time(), self._noted + 1e-5)
        entry = AuditEntry(now, "local user", "", "admin", f"{action} {what}", "ok", "")
        self._enter(access_rows.audit_mark(now, os.urandom(4)), entry)

    def _enter(self, mark: bytes, entry: AuditEntry) -> None:
        key = access_rows.audit_key(mark)
        start, stop = access_rows.audit_range()
        if self._entries is None:
            self._entries = len(self._store.look(Table.META, start, stop, limit=2 * KEPT))
        if self._store.get(Table.META, key) is None:
            self._entries += 1
        self._store.put(Table.META, key, access_rows.pack_entry(entry))
        # In parts: to find the oldest one takes a read of the disk.
        if self._entries > KEPT + KEPT // 100:
            for oldest, _ in self._store.look(Table.META, start, stop, limit=self._entries - KEPT):
                self._store.delete(Table.META, oldest)
                self._entries -= 1

    def _tokens(self) -> list[TokenInfo]:
        start, stop = access_rows.all_tokens()
        found = []
        for key, row in self._store.look(Table.META, start, stop, limit=MOST_TOKENS):
            try:
                found.append(access_rows.unpack_token(key, row)[0])
            except ValueError:
                log.exception("a token is damaged: %s", key.decode(errors="replace"))
        return found
