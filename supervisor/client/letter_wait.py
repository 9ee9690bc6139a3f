"""What is asked of actors and told to them, as a client waits for it: `LetterWait` and `LettersWait`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...actors.errors import ValueTooLarge
from ...actors.refs.letter import KEPT, Kind, flags_of, id_of_letter, kind_of, sender_of
from ..settings import FRAME_OVERHEAD
from ..wire.messages import Ask
from .answer_wait import AnswerWait
from .connection import Connection, take_all
from .reconnecting import ReconnectingClient

AddressedLetter = tuple[bytes, bytes]
"""The id of an actor, and a letter to it."""


class LetterWait(AnswerWait):
    """The answer to one letter: the reply to an ask, or that what was told is taken in.

    An ask is repeated under its id, and so is what was told under a key. Without one, a second letter would be another
    message.
    """

    def __init__(
        self, client: ReconnectingClient, id: bytes, letter: bytes, *, keep: object, soon: bool
    ) -> None:
        told = kind_of(letter) == Kind.TELL
        kept = bool(flags_of(letter) & KEPT)
        super().__init__(
            client,
            Ask.TELL if told else Ask.ASK,
            again=kept or not told,
            on_cancel=None if told else Ask.UNASK,
            keep=keep,
            soon=soon,
        )
        self._id = id
        self._letter = letter
        #: Whether nobody else can make a letter with this id. The reply under a key stays for others that ask under it;
        #: what a method has asked is confirmed with the commit of its message, because a rerun asks again.
        self._is_own = not kept and sender_of(letter) is None

    def _send(self, connection: Connection) -> None:
        _check_size(self._letter, connection)
        if self._is_own and self._is_soon():
            connection.post_letter(self, self._id, self._letter)
            return
        if self._op is Ask.TELL:
            fields: tuple[Any, ...] = ([(self._id, self._letter)],)
        else:
            fields = (self._id, self._letter, take_all(connection.seen))
        connection.post(self, self._op, fields, soon=self._is_soon())

    def answered(self, connection: Connection, payload: Any) -> None:
        """See `Asking`."""
        if self._is_own and self._op is Ask.ASK and connection is self.connection:
            connection.seen.append(id_of_letter(self._letter))
        super().answered(connection, payload)


class LettersWait(AnswerWait):
    """That some letters which are told are taken in, all of them."""

    def __init__(
        self, client: ReconnectingClient, letters: Sequence[AddressedLetter], *, keep: object
    ) -> None:
        again = all(flags_of(letter) & KEPT for _, letter in letters)
        super().__init__(client, Ask.TELL, again=again, keep=keep)
        self._letters = letters

    def _send(self, connection: Connection) -> None:
        for _, letter in self._letters:
            _check_size(letter, connection)
        connection.post(self, Ask.TELL, (self._letters,))


def _check_size(letter: bytes, connection: Connection) -> None:
    """ValueTooLarge for a letter that the supervisor's frames would not take."""
    limit = connection.value_limit
    if len(letter) > limit + FRAME_OVERHEAD:
        raise ValueTooLarge(
            f"a message takes {len(letter):,} bytes; the supervisor allows {limit:,}", len(letter), limit
        )
