"""AccessCalls: the calls of a runtime about access over HTTP. Those that need the supervisor are steps."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...actors.access import (
    AuditEntry,
    TokenInfo,
    WatchGrant,
    check_grant,
    check_life,
    new_token,
    sign_watch,
)
from ...actors.checks import check_flag, check_whole
from ...actors.errors import InvalidOption
from ...actors.events.stream import Stream, StreamInfo
from ...actors.ids import id_bytes
from ...actors.task.handles import IdLike, id_of
from ...storage.reader import Reader
from ...storage.tables import access_rows
from ..wire.messages import Ask
from .deadline import Deadline
from .reconnecting import ReconnectingClient
from .steps import Steps

Watched = IdLike | Stream | StreamInfo
"""What a token of `watch_token` is for."""

#: Seconds that a token of `watch_token` is valid.
WATCH_LIFE = 900.0


class AccessCalls:
    """The calls of one `ReconnectingClient` about access. Like `Calls`, it does not refer to the `Runtime`."""

    def __init__(self, client: ReconnectingClient, reader: Reader) -> None:
        self._client = client
        self._reader = reader

    def add(
        self, deadline: Deadline, name: str, role: str, tasks: str | Sequence[str], expires: float | None
    ) -> Steps[str]:
        """See `Runtime.add_token`."""
        name, known, globs, life = check_grant(name, role, tasks, expires)
        id, text, digest = new_token()
        until = None if life is None else self._client.clock.time() + life
        yield from self._client.ask(
            deadline, Ask.ACCESS, "add", id, name, str(known), list(globs), until, digest
        )
        return text

    def remove(self, deadline: Deadline, name: str) -> Steps[bool]:
        """See `Runtime.remove_token`."""
        return bool((yield from self._client.ask(deadline, Ask.ACCESS, "remove", name)))

    def record(self, deadline: Deadline, entries: Sequence[AuditEntry]) -> Steps[None]:
        """Add entries to the audit; returns once they are on disk."""
        rows = [
            (access_rows.audit_mark(entry.time, os.urandom(4)), access_rows.fields_of(entry))
            for entry in entries
        ]
        yield from self._client.ask(deadline, Ask.ACCESS, "record", rows)

    def key(self, deadline: Deadline) -> Steps[bytes]:
        """The key of the home, which signs sessions and tokens for one task."""
        key = self._reader.access_key()
        if key is None:
            key = yield from self._client.ask(deadline, Ask.ACCESS, "key")
        return bytes(key)

    def watch_token(self, deadline: Deadline, watched: Watched, expires: float, send: bool) -> Steps[str]:
        """See `Runtime.watch_token`."""
        life = check_life(expires)
        check_flag("send", send)
        is_stream = isinstance(watched, Stream | StreamInfo)
        if is_stream and send:
            raise InvalidOption("send=True needs a task: a stream has no mailbox")
        id = id_bytes(watched.id) if isinstance(watched, Stream | StreamInfo) else id_of(watched)
        key = yield from self.key(deadline)
        until = int(self._client.clock.time() + life) + 1
        return sign_watch(key, WatchGrant(id, is_stream, send, until))

    def tokens(self) -> list[TokenInfo]:
        """See `Runtime.tokens`."""
        return self._reader.tokens()

    def audit(self, limit: int) -> list[AuditEntry]:
        """See `Runtime.audit`."""
        check_whole("limit", limit, 1)
        return [entry for _, entry in self._reader.audit(limit)]

    def web_url(self, deadline: Deadline, which: str = "web_url") -> Steps[str | None]:
        """Where the web process listens; None if there is none."""
        connection = yield from self._client.connected(deadline)
        url = connection.facts.get(which)
        return None if url is None else str(url)
