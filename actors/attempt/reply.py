"""Replies of a turn: the answer to an ask, from what its method has returned or raised."""

from __future__ import annotations

from typing import Any

from ..refs.remote_error import ERROR_LIMIT, details_of, pack_error, pack_value
from ..task.annotations import Annotations
from .host import describe
from .resident import encoded


def value_reply(value: Any, types: Annotations, limit: int) -> bytes:
    """The reply with a result; UnencodableValue or ValueTooLarge for one that cannot be sent."""
    return pack_value(encoded(value, types, limit))


def error_reply(error: BaseException) -> bytes:
    """The reply with an error; never raises, and takes at most ERROR_LIMIT bytes."""
    kind, message, traceback, _ = describe(error)
    reply = pack_error((kind, message, traceback, (), details_of(error)))
    return reply if len(reply) <= ERROR_LIMIT else pack_error((kind, message, traceback, (), {}))
