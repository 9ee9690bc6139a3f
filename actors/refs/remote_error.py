"""Replies: the answer to a letter, which is a value or an error, and the error that is raised where it arrives.

A reply is msgpack `[0, value or None]` or `[1, error fields]`; the value is encoded by values.py. The fields are
(type, message, traceback, names, details), as the worker describes any error. The details hold what `details_of`
gives: "class" is the error's class as "module:qualname"; "args" and "attributes" are its arguments and attributes as
encoded values, if they can be encoded.

Nothing of what arrives is executed. The class is looked up in the modules that are imported here, and no `__init__` or
`__new__` of a user runs.
"""

from __future__ import annotations

import functools
import sys
from contextlib import suppress
from typing import Any, Final

import msgpack

from .. import values
from ..errors import ErrorInfo, InvalidValue, RemoteError
from ..qualified_names import class_name, module_name, program

#: Bytes that the encoded arguments of an error may take, and its attributes; longer ones are left out.
DATA_LIMIT: Final = 64 * 1024
#: Bytes that a reply with an error may take, however few a value may have.
ERROR_LIMIT: Final = 1024 * 1024

_VALUE: Final = 0
_ERROR: Final = 1


class _RemoteTraceback(Exception):
    """The cause of an error that comes from elsewhere: the traceback there, as text."""


def pack_value(value: bytes | None) -> bytes:
    """The reply with an encoded value; None for None."""
    packed: bytes = msgpack.packb((_VALUE, value))
    return packed


def pack_error(fields: tuple[Any, ...]) -> bytes:
    """The reply with an error's fields."""
    packed: bytes = msgpack.packb((_ERROR, fields))
    return packed


def details_of(error: BaseException) -> dict[str, Any]:
    """What the details of an error's fields must hold so that it can be raised elsewhere. Never raises."""
    if isinstance(error, RemoteError) and "class" in error.error.details:
        return dict(error.error.details)  # it comes from elsewhere, and goes on as it came
    details: dict[str, Any] = {"class": class_name(type(error))}
    for name, data in (("args", list(error.args)), ("attributes", getattr(error, "__dict__", None))):
        if data:
            # What cannot be encoded is left out; the encoder of a registered type may raise anything.
            with suppress(Exception):
                details[name] = values.pack(data, name, DATA_LIMIT)
    return details


def unpack_reply(reply: bytes) -> Any:
    """The value of a reply; raises its error. InvalidValue for bytes that are no reply."""
    try:
        outcome, content = msgpack.unpackb(reply)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise InvalidValue(f"not a reply: {error or type(error).__name__}") from error
    if outcome == _VALUE and (content is None or isinstance(content, bytes)):
        return None if content is None else values.unpack(content)
    if outcome == _ERROR:
        raise error_of(content)
    raise InvalidValue("not a reply: its fields have the wrong types")


def info_of(fields: Any) -> ErrorInfo:
    """The description of the error with these fields; InvalidValue if they are none."""
    if isinstance(fields, list | tuple) and len(fields) >= 3:
        kind, message, traceback = fields[:3]
        if isinstance(kind, str) and isinstance(message, str) and isinstance(traceback, str):
            details = fields[4] if len(fields) > 4 and isinstance(fields[4], dict) else {}
            return ErrorInfo(kind, message, traceback, details)
    raise InvalidValue("not the fields of an error")


def error_of(fields: Any) -> RemoteError:
    """The error with these fields: a RemoteError, and of its own class as well if that is imported here."""
    return _error(info_of(fields))


def _error(info: ErrorInfo) -> RemoteError:
    # What the supervisor itself finds, as a TimeoutError, comes with one of Python's names and without a class.
    kind = _imported(info.details.get("class", f"builtins:{info.type}"))
    both = None if kind is None else _both(kind)  # type: ignore[arg-type]  # a class can be hashed
    error = None if both is None else _made(both, info)
    if error is None:
        error = RemoteError(str(info))
    error.__dict__["error"] = info
    if info.traceback:
        error.__cause__ = _RemoteTraceback(f"\n{info.traceback.rstrip()}")  # Python prints it above
    return error


def _made(kind: type[RemoteError], info: ErrorInfo) -> RemoteError | None:
    """An error of this class; None if it cannot be made without code of its class."""
    args = _unpacked(info, "args", list)
    builtin = next(base for base in kind.__mro__[1:] if base.__module__ == "builtins")
    try:
        error: RemoteError = builtin.__new__(kind, *args)
        # It sets what Python's own errors have: errno, and the like.
        with suppress(Exception):
            builtin.__init__(error, *args)  # type: ignore[misc]  # the class's own is not to run
        error.args = tuple(args)
    except Exception:  # noqa: BLE001 - it takes other arguments
        return None
    attributes = _unpacked(info, "attributes", dict)
    error.__dict__.update({name: value for name, value in attributes.items() if isinstance(name, str)})
    return error


def _unpacked(info: ErrorInfo, name: str, kind: type) -> Any:
    """The arguments or attributes of an error; empty if they did not come along."""
    packed = info.details.get(name)
    if isinstance(packed, bytes):
        with suppress(InvalidValue):
            data = values.unpack(packed)
            if isinstance(data, kind):
                return data
    return [info.message] if kind is list else {}


def _text(error: RemoteError) -> str:
    """The message that the error had where it was raised: its own __str__ may need what has not come along."""
    return error.error.message


def _reduced(error: RemoteError) -> Any:
    return _error, (error.error,)


@functools.lru_cache(256)
def _both(kind: Any) -> type[RemoteError] | None:
    """A class that is this one and RemoteError; None if Python cannot make one."""
    if issubclass(kind, RemoteError):
        return kind if isinstance(kind, type) else None
    namespace = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "__init__": RemoteError.__init__,
        "__str__": _text,
        "__reduce__": _reduced,
        "error": RemoteError.error,
        "traceback": RemoteError.traceback,
    }
    try:
        made: type[RemoteError] = type(kind.__name__, (kind, RemoteError), namespace)
    except TypeError:
        return None
    return made


def _imported(name: object) -> type[Exception] | None:
    """The exception class of this name, if its module is imported here."""
    if not isinstance(name, str):
        return None
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    space: Any = program() if module == module_name("__main__") else getattr(found, "__dict__", {})
    for part in path.split("."):
        found = space.get(part)
        if not isinstance(found, type):
            return None
        space = vars(found)
    return found if issubclass(found, Exception) else None
