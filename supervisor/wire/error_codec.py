"""Encoding of errors for a socket: an exception as class name, message and data, and back."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any, Final

import msgpack

from ...actors import errors
from ...actors.errors import ErrorInfo, UnderstudyError

#: Marks an ErrorInfo among the data of an error.
_INFO: Final = "$info"

_KINDS: Final[dict[str, type[UnderstudyError]]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, UnderstudyError)
}


def error_fields(error: UnderstudyError) -> tuple[str, str, dict[str, Any]]:
    """(class name, message, data) of an error."""
    message = str(error.args[0]) if error.args else str(error)
    # A path may hold bytes that are not UTF-8, which a frame cannot carry.
    message = message.encode("utf-8", "backslashreplace").decode()
    return type(error).__name__, message, _plain(error.__dict__)


def error_of(kind: str, message: str, data: dict[str, Any]) -> UnderstudyError:
    """The error that `error_fields` described; an unknown class becomes UnderstudyError."""
    error = _KINDS.get(kind, UnderstudyError).__new__(_KINDS.get(kind, UnderstudyError), message)
    error.args = (message,)
    error.__dict__.update((name, _restored(value)) for name, value in data.items())
    return error


def info_of(row: Any) -> ErrorInfo | None:
    """The ErrorInfo of a record's error row."""
    return None if row is None else ErrorInfo(row[0], row[1], row[2], dict(row[3]))


def _restored(value: Any) -> Any:
    if type(value) is not tuple:
        return value
    # A frame holds tuples only. The data of errors are lists.
    return ErrorInfo(*value[1:]) if value[:1] == (_INFO,) else list(value)


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    plain = {}
    for name, value in data.items():
        sent = (_INFO, *astuple(value)) if isinstance(value, ErrorInfo) else value
        try:
            msgpack.packb(sent)
        except (TypeError, ValueError, OverflowError):
            continue
        plain[name] = sent
    return plain
