"""Values on the wire and on disk: msgpack plus a few extension types, never pickle.

=====  ==========================  =========================================
code   type                        payload
=====  ==========================  =========================================
1      datetime                    ISO 8601 text, with its UTC offset if any
2      date                        ISO 8601 text
3      timedelta                   [days, seconds, microseconds]
4      Decimal                     its text
5      UUID                        16 bytes
6, 7   set, frozenset              array of the elements
8      int beyond 64 bits          its decimal text
9      a registered type           [name, plain value]
=====  ==========================  =========================================

As in JSON, a tuple comes back as a list, and a subclass of a plain type (an IntEnum, an OrderedDict) as that type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar
from uuid import UUID

import msgpack

from .errors import InvalidOption, InvalidValue, UnencodableValue, ValueTooLarge

T = TypeVar("T")

#: Bytes that one encoded value (arguments, message, checkpoint, result) may take.
VALUE_LIMIT: Final = 64 * 1024 * 1024
#: Levels of nesting; msgpack's own packer stops at 511.
DEPTH_LIMIT: Final = 500
#: Digits of an integer beyond 64 bits: Python's own limit for text conversion is 4,300.
DIGITS_LIMIT: Final = 4_000

_DATETIME, _DATE, _TIMEDELTA, _DECIMAL, _UUID, _SET, _FROZENSET, _BIGINT, _REGISTERED = range(1, 10)
_PLAIN: Final = (bool, int, float, str, bytes, bytearray, memoryview, list, tuple, dict, type(None))

_by_type: dict[type, tuple[str, Callable[[Any], Any]]] = {}
_by_name: dict[str, Callable[[Any], Any]] = {}


def register(kind: type[T], name: str, encode: Callable[[T], Any], decode: Callable[[Any], T]) -> None:
    """Let values hold objects of class `kind`.

    `encode(obj)` gives a plain value (which may hold other registered types), `decode(value)` the object again.
    `name` is what is stored: keep it when the class moves. Call it where both the app and its clients import it.
    Subclasses of plain types (a namedtuple, say) are always stored as that plain type and are refused here.
    """
    if issubclass(kind, _PLAIN):
        raise InvalidOption(f"{kind.__qualname__} is a subclass of a plain type and is stored as such")
    if not name or (name in _by_name and _by_type.get(kind, ("",))[0] != name):
        raise InvalidOption(f"the name {name!r} is empty or already registered for another type")
    _by_type[kind] = (name, encode)
    _by_name[name] = decode


def pack(value: Any, what: str = "value", limit: int = VALUE_LIMIT) -> bytes:
    """The value's bytes.

    Raises UnencodableValue with the path to the part that cannot be encoded (`what` names the root of that path)
    and ValueTooLarge above `limit` bytes.
    """
    try:
        packed: bytes = msgpack.packb(value, default=_extend)
    except UnencodableValue:
        raise _explain(value, what) from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        # Integers beyond 64 bits are the one plain value that needs help from us; a second try with them wrapped.
        try:
            packed = msgpack.packb(_wrap_big(value, 0), default=_extend)
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise _explain(value, what) from error
    if len(packed) > limit:
        raise ValueTooLarge(
            f"{what} takes {len(packed):,} bytes; the limit is {limit:,}. Store the data in a file and pass its path",
            len(packed),
            limit,
        )
    return packed


def unpack(packed: bytes) -> Any:
    """The value of these bytes; InvalidValue for bytes that are none."""
    try:
        return msgpack.unpackb(packed, ext_hook=_unextend, strict_map_key=False)
    except TypeError:
        # A tuple used as a key comes back as a list; only then is the slower hook needed.
        try:
            return msgpack.unpackb(packed, ext_hook=_unextend, strict_map_key=False, object_pairs_hook=_with_tuple_keys)
        except (TypeError, ValueError, msgpack.UnpackException) as error:
            raise InvalidValue(f"not an encoded value: {error}") from error
    except (ValueError, msgpack.UnpackException, RecursionError, ArithmeticError) as error:
        raise InvalidValue(f"not an encoded value: {error}") from error


def _extend(value: Any) -> msgpack.ExtType:
    registered = _by_type.get(type(value))
    if registered is not None:
        name, encode = registered
        return msgpack.ExtType(_REGISTERED, msgpack.packb([name, encode(value)], default=_extend))
    match value:
        case datetime():
            return msgpack.ExtType(_DATETIME, value.isoformat().encode())
        case date():
            return msgpack.ExtType(_DATE, value.isoformat().encode())
        case timedelta():
            return msgpack.ExtType(_TIMEDELTA, msgpack.packb([value.days, value.seconds, value.microseconds]))
        case Decimal():
            return msgpack.ExtType(_DECIMAL, str(value).encode())
        case UUID():
            return msgpack.ExtType(_UUID, value.bytes)
        case set():
            return msgpack.ExtType(_SET, msgpack.packb(list(value), default=_extend))
        case frozenset():
            return msgpack.ExtType(_FROZENSET, msgpack.packb(list(value), default=_extend))
    raise UnencodableValue(type(value).__qualname__)


def _unextend(code: int, data: bytes) -> Any:
    match code:
        case 1:
            return datetime.fromisoformat(data.decode())
        case 2:
            return date.fromisoformat(data.decode())
        case 3:
            return timedelta(*msgpack.unpackb(data))
        case 4:
            return Decimal(data.decode())
        case 5:
            return UUID(bytes=data)
        case 6:
            return set(msgpack.unpackb(data, ext_hook=_unextend, use_list=False, strict_map_key=False))
        case 7:
            return frozenset(msgpack.unpackb(data, ext_hook=_unextend, use_list=False, strict_map_key=False))
        case 8:
            if len(data) > DIGITS_LIMIT + 1:
                raise ValueError("an integer with too many digits")
            return int(data)
        case 9:
            name, value = msgpack.unpackb(data, ext_hook=_unextend, strict_map_key=False)
            if name not in _by_name:
                raise ValueError(f"type {name!r} is not registered in this process; call understudy.register first")
            return _by_name[name](value)
    raise ValueError(f"unknown extension type {code}")


def _with_tuple_keys(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    return {_hashable(key): value for key, value in pairs}


def _hashable(key: Any) -> Any:
    return tuple(_hashable(part) for part in key) if isinstance(key, list) else key


def _is_big(value: Any) -> bool:
    return isinstance(value, int) and not -(1 << 63) <= value < (1 << 64)


def _wrap_big(value: Any, depth: int) -> Any:
    """The value with every integer beyond 64 bits as an extension; ValueError for one that is far too long."""
    if depth > DEPTH_LIMIT:
        raise ValueError("too deep")
    match value:
        case int() if _is_big(value):
            if value.bit_length() > DIGITS_LIMIT * math.log2(10):
                raise ValueError("too many digits")
            return msgpack.ExtType(_BIGINT, str(value).encode())
        case Mapping():
            return {_wrap_big(key, depth + 1): _wrap_big(part, depth + 1) for key, part in value.items()}
        case list() | tuple():
            return tuple(_wrap_big(part, depth + 1) for part in value)
        case set():
            return {_wrap_big(part, depth + 1) for part in value}
        case frozenset():
            return frozenset(_wrap_big(part, depth + 1) for part in value)
    return value


def _explain(value: Any, what: str) -> UnencodableValue:
    """Find the part that cannot be encoded, and say where it is. Only runs once encoding has failed."""
    path, part, why = _culprit(value, what, 0) or (what, value, "cannot be encoded")
    return UnencodableValue(
        f"{path} is of type {type(part).__qualname__}: {why}. Pass plain data (None, bool, int, float, str, bytes, "
        "list, dict, datetime, Decimal, UUID, set), or register the type with understudy.register",
        path,
    )


def _culprit(value: Any, path: str, depth: int) -> tuple[str, Any, str] | None:
    if depth > DEPTH_LIMIT:
        return path[:200] + "…", value, f"nested deeper than {DEPTH_LIMIT} levels"
    children: list[tuple[str, Any]] = []
    match value:
        case Mapping() if isinstance(value, dict):
            children = [(f"{path}.key({key!r:.40})", key) for key in value]
            children += [(f"{path}[{key!r:.40}]", part) for key, part in value.items()]
        case list() | tuple():
            children = [(f"{path}[{index}]", part) for index, part in enumerate(value)]
        case set() | frozenset():
            children = [(f"{path}.element({part!r:.40})", part) for part in value]
        case _:
            try:
                msgpack.packb(_wrap_big(value, depth), default=_extend)
            except UnencodableValue:
                return path, value, "cannot be encoded"
            except (TypeError, ValueError, OverflowError, RecursionError) as error:
                return path, value, f"cannot be encoded ({error})"
            return None
    for child_path, part in children:
        found = _culprit(part, child_path, depth + 1)
        if found is not None:
            return found
    return None
