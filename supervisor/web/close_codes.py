"""CloseCode: why the server has closed a WebSocket. docs/live.md holds the same table."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from .live.reader import Ending


class CloseCode(IntEnum):
    """The codes, each for one reason. Those from 4400 on are HTTP's, and 4000."""

    END = 1000
    BINARY = 1003
    NOT_JSON = 1007
    TOO_LARGE = 1009
    FAILED = 1011
    RESTART = 1012
    TRY_LATER = 1013
    BAD_CURSOR = 4400
    NO_TOKEN = 4401
    NOT_ALLOWED = 4403
    NOT_FOUND = 4404
    NO_MESSAGES = 4409
    MAILBOX_FULL = 4413
    TOO_FAST = 4429


MEANINGS: Final = {
    CloseCode.END: "the task has ended, and all that it has told was sent",
    CloseCode.BINARY: "a message was not text",
    CloseCode.NOT_JSON: "a message was no JSON, or no value that a mailbox takes",
    CloseCode.TOO_LARGE: "a message was larger than 1 MiB",
    CloseCode.FAILED: "the server has failed, or the client has not answered a ping for 20 s",
    CloseCode.RESTART: "the server stops; the next one is there at once",
    CloseCode.TRY_LATER: "there are too many connections, or no supervisor has taken a message within 10 s",
    CloseCode.BAD_CURSOR: "the cursor is none, or of another stream",
    CloseCode.NO_TOKEN: "there was no valid token, or it has expired or was removed since",
    CloseCode.NOT_ALLOWED: "the token is for something else, or does not allow messages",
    CloseCode.NOT_FOUND: "there is no such task, or it was removed since",
    CloseCode.NO_MESSAGES: "the task takes no messages any more, or is an actor",
    CloseCode.MAILBOX_FULL: "the mailbox was full for 30 s",
    CloseCode.TOO_FAST: "messages came faster than 100 a second",
}

#: By why a reader gets no more.
OF_ENDING: Final = {
    Ending.END: CloseCode.END,
    Ending.GONE: CloseCode.NOT_FOUND,
    Ending.CLOSING: CloseCode.RESTART,
    Ending.EXPIRED: CloseCode.NO_TOKEN,
    Ending.UNREADABLE: CloseCode.FAILED,
}

#: By the HTTP status of a request that is refused.
OF_STATUS: Final = {
    400: CloseCode.BAD_CURSOR,
    401: CloseCode.NO_TOKEN,
    403: CloseCode.NOT_ALLOWED,
    404: CloseCode.NOT_FOUND,
    429: CloseCode.NO_TOKEN,
    503: CloseCode.TRY_LATER,
}


def as_table() -> str:
    """The codes as a Markdown table; docs/live.md holds exactly this text."""
    return "\n".join(
        ["| code | reason |", "| --- | --- |", *(f"| {code:d} | {says} |" for code, says in MEANINGS.items())]
    )
