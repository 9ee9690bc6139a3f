"""Granting: the methods of `Runtime` about access over HTTP."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...actors.access import AuditEntry, TokenInfo
from ..web_settings import WebSettings
from .access_calls import WATCH_LIFE, AccessCalls, Watched
from .runtime_part import RuntimePart


class Granting(RuntimePart):
    """The part of a runtime that makes tokens and reads the audit."""

    _access: AccessCalls

    @property
    def web_url(self) -> str | None:
        """The URL of the supervisor's web process, without a slash at its end; None if it has none."""
        deadline = self._deadline(None)
        return self._do(self._access.web_url(deadline), deadline)

    def watch_token(
        self,
        info: Watched,
        expires: float = WATCH_LIFE,
        send: bool = False,
        *,
        timeout: float | None = None,
    ) -> str:
        """A signed token to watch one task or stream over HTTP, valid for `expires` seconds.

        It is the only kind of token that the web process takes from a URL, so an app may give it to its own pages.
        With `send` it also allows messages to the task. It cannot be taken back before it expires.
        """
        deadline = self._deadline(timeout)
        return self._do(self._access.watch_token(deadline, info, expires, send), deadline)

    def add_token(
        self,
        name: str,
        *,
        role: Literal["read", "run", "admin"] = "read",
        tasks: str | Sequence[str] = "*",
        expires: float | None = None,
        timeout: float | None = None,
    ) -> str:
        """Make a token for the web process; returns its text, which is not stored.

        `tasks` are patterns of the names of tasks that it is for. It is valid for `expires` seconds, or until it is
        removed. Raises InvalidOption, also if a token has this name.
        """
        deadline = self._deadline(timeout)
        return self._do(self._access.add(deadline, name, role, tasks, expires), deadline)

    def remove_token(self, name: str, *, timeout: float | None = None) -> bool:
        """Remove the token with this name or id, and end the sessions that began with it. False if there is none."""
        deadline = self._deadline(timeout)
        return self._do(self._access.remove(deadline, name), deadline)

    def record_audit(self, entries: Sequence[AuditEntry], *, timeout: float | None = None) -> None:
        """Add entries to the audit, as the web process does; at most 1,000 at once. Returns when they are on disk."""
        deadline = self._deadline(timeout)
        return self._do(self._access.record(deadline, entries), deadline)

    def tokens(self) -> builtins.list[TokenInfo]:
        """The tokens of the home, by time of creation, those that have expired included. Read from disk."""
        return self._access.tokens()

    def audit(self, *, limit: int = 100) -> builtins.list[AuditEntry]:
        """What was changed or refused over HTTP and with tokens, newest first. The last 10,000 entries are kept."""
        return self._access.audit(limit)


def web_settings(web: str | Mapping[str, Any] | None) -> WebSettings:
    """The settings of a runtime's own web process. Raises InvalidOption, also if packages are absent."""
    changes = dict(web) if isinstance(web, Mapping) else {"web": web}
    settings = WebSettings.of(changes)
    settings.check_needs()
    return settings
