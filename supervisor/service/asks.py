"""Asks: the clients that wait for answers of actors, by the id of the letter that was sent.

An ask outlives its client: a client that has lost its connection asks again under the same id, and waits for the same
answer.
"""

from __future__ import annotations

import asyncio

from ...actors.errors import AppFailed, UnderstudyError
from ..execution.waits import Waits
from .client_link import ClientLink


class Asks:
    """Sends each answer to all who wait for it."""

    def __init__(self, waits: Waits) -> None:
        #: By letter. An ask without a client has lost it; its entry stays until the answer comes.
        self._waiting: dict[bytes, tuple[tuple[ClientLink, int], ...]] = {}
        #: The methods of actors that wait for answers.
        self.waits = waits
        self._loop = asyncio.get_running_loop()
        #: Clients with answers that are not sent yet. One send carries all answers of a commit.
        self._unsent: set[ClientLink] = set()

    def __contains__(self, letter_id: bytes) -> bool:
        return letter_id in self._waiting

    def wait(self, client: ClientLink, request: int, letter_id: bytes) -> None:
        """A client waits for the answer to this letter."""
        self._waiting[letter_id] = (*self._waiting.get(letter_id, ()), (client, request))
        client.asks[request] = letter_id

    def forget(self, client: ClientLink, request: int) -> bytes | None:
        """A client waits no longer; the letter for whose answer it has waited."""
        letter_id = client.asks.pop(request, None)
        if letter_id is not None and (waiting := self._waiting.get(letter_id)) is not None:
            self._waiting[letter_id] = left = tuple(who for who in waiting if who != (client, request))
            if not left:
                self.waits.end(letter_id)
        return letter_id

    def answer(self, letter_id: bytes, answer: bytes | UnderstudyError) -> None:
        """The answer to a letter has come."""
        self.waits.end(letter_id)
        for client, request in self._waiting.pop(letter_id, ()):
            client.asks.pop(request, None)
            if isinstance(answer, bytes):
                client.reply(request, answer)
            else:
                client.refuse(request, answer)
            if not self._unsent:
                self._loop.call_soon(self._send)
            self._unsent.add(client)

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, set()
        for client in unsent:
            client.flush()

    def fail(self, client: ClientLink, error: AppFailed) -> None:
        """No answer will come to this client."""
        for request in list(client.asks):
            self.forget(client, request)
            client.refuse(request, error)
