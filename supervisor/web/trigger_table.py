"""TriggerTable: the HTTP requests that the app handles, as the supervisor tells them, and the secrets they need."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ...actors.http.signature import key_of
from ...actors.http.verifier import Verifier
from ..client.http_calls import Handled
from ..client.http_door import HttpDoor

log = logging.getLogger("understudy")

#: Seconds until the supervisor is asked again because a request fits nothing that is known.
ASK_AGAIN: Final = 1.0
#: Bytes of a secret's file.
SECRET_LIMIT: Final = 64 * 1024


class Match(NamedTuple):
    """What handles a request."""

    handled: Handled
    params: dict[str, str]


class TriggerTable:
    """Asked for once, and again when something may have changed."""

    def __init__(self, door: HttpDoor, clock: Callable[[], float] = time.monotonic) -> None:
        self._door = door
        self._clock = clock
        #: The triggers, by method; the one that fits best comes first. None until the supervisor was asked.
        self._by_method: dict[str, list[Handled]] | None = None
        self._asked_at = 0.0
        self._answers = 0
        self._asking = asyncio.Lock()

    async def match(self, method: str, path: str) -> Match | list[str]:
        """What handles the request; the methods that are allowed for this path if nothing does.

        Raises what `HttpDoor.triggers` raises.
        """
        found = self._look(method, path)
        if not isinstance(found, Match) and await self.refresh():
            found = self._look(method, path)
        return found

    async def refresh(self, *, now: bool = False) -> bool:
        """Ask the supervisor again, unless it was asked a moment ago; whether there is an answer since this call."""
        known = self._answers
        async with self._asking:
            if self._answers > known:
                # Another request has waited for the same.
                return True
            if not now and self._by_method is not None and self._clock() < self._asked_at + ASK_AGAIN:
                return False
            table: dict[str, list[Handled]] = {}
            for handled in await self._door.triggers():
                table.setdefault(handled.trigger.method, []).append(handled)
            for triggers in table.values():
                triggers.sort(key=lambda handled: handled.trigger.compiled.rank)
            self._by_method, self._asked_at = table, self._clock()
            self._answers += 1
            return True

    def _look(self, method: str, path: str) -> Match | list[str]:
        table = self._by_method or {}
        for handled in table.get(method, ()):
            if (params := handled.trigger.compiled.match(path)) is not None:
                return Match(handled, params)
        return sorted(
            other
            for other, triggers in table.items()
            if any(handled.trigger.compiled.match(path) is not None for handled in triggers)
        )


#: The secrets of which the log has told that they cannot be read.
_told: Final[set[str]] = set()


def secrets_of(verifier: Verifier, environ: Mapping[str, str] = os.environ) -> list[bytes]:
    """The secrets that can be read now; the log names the others. A file is read each time, so that it may change."""
    found = []
    for source in verifier.secrets:
        secret, why = _read(source, environ)
        if secret:
            found.append(secret)
            _told.discard(source)
        elif source not in _told:
            _told.add(source)
            log.error("the secret %s of a trigger %s", source, why)
    return found


def tell_of_secrets(handled: Iterable[Handled], environ: Mapping[str, str] = os.environ) -> None:
    """Log which triggers cannot check signatures now, before anybody calls them."""
    for task, trigger in handled:
        why = None if trigger.verify is None else _cannot(trigger.verify, environ)
        if why is not None:
            log.error(
                "%s %s of %s refuses every request with 500, because it cannot check signatures: %s",
                trigger.method,
                trigger.path,
                task,
                why,
            )


def _cannot(verifier: Verifier, environ: Mapping[str, str]) -> str | None:
    """Why no signature can be checked now, and what to do; None if some can."""
    secrets = secrets_of(verifier, environ)
    if not secrets:
        whys = "; ".join(f"{source} {_read(source, environ)[1]}" for source in verifier.secrets)
        if all(source.startswith("env:") for source in verifier.secrets):
            return f"{whys}. Set it in the environment of the supervisor, and start that again"
        return f"{whys}. It is looked for again with each request"
    try:
        for secret in secrets:
            key_of(verifier, secret)
    except ValueError as error:
        return str(error)
    return None


def _read(source: str, environ: Mapping[str, str]) -> tuple[bytes, str]:
    """A secret, and why it is empty if it is."""
    kind, _, name = source.partition(":")
    try:
        if kind == "env":
            secret = environ[name].encode("utf-8", "surrogateescape")
        else:
            with Path(name).open("rb") as file:
                secret = file.read(SECRET_LIMIT)
    except KeyError:
        return b"", "is not set"
    except (OSError, ValueError) as error:
        return b"", f"cannot be read: {error}"
    return secret.strip(), "is empty"
