"""The codec for values on the wire and on disk: msgpack and eleven extension types, never pickle.

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
10     time                        [ISO 8601 text, fold, zone]
11     datetime with more than     [ISO 8601 text, fold, zone]
       code 1 can say
=====  ==========================  =========================================

A zone is None, the key of a ZoneInfo, [days, seconds, microseconds, name or None] of a fixed offset, or a tzinfo
of a registered type. Any other tzinfo is refused.

As in JSON, a tuple comes back as a list. A subclass of a plain type (an IntEnum, an OrderedDict) comes back
as that type. Inside a set and as a key of a dict a tuple stays a tuple. msgpack's own timestamp (code -1) is
read as a datetime in UTC and never written.

For any bytes, `unpack` gives a value or raises InvalidValue. The memory it takes is proportional to their
number.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, Final, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgpack

from .errors import InvalidOption, InvalidValue, UnencodableValue, ValueTooLarge
from .qualified_names import module_name

T = TypeVar("T")

#: Bytes that one encoded value (arguments, message, checkpoint, result) may take.
VALUE_LIMIT: Final = 64 * 1024 * 1024
#: Levels of lists and dicts that always work. msgpack's packer stops at 511 or 1,024, by its version.
DEPTH_LIMIT: Final = 500
#: Nested levels of sets and registered types. Reading one level takes 40 KB of the C stack.
EXTENSION_DEPTH_LIMIT: Final = 32
#: Digits of an integer beyond 64 bits: Python's own limit for text conversion is 4,300.
DIGITS_LIMIT: Final = 4_000

#: Declared lengths are checked before anything is allocated if there are more bytes than this. msgpack before
#: 1.2 allocates an array as long as its header says, at each level. Up to this size that takes 30 MB at
#: worst.
_TRUSTED: Final = 4096
#: Packers that are not in use. They are kept because making one costs more than packing most values does. A
#: packer in use is not in this list, so no other thread and no nested call can take it. One with a large
#: buffer is dropped.
_spare: Final[list[msgpack.Packer]] = []
_KEPT: Final = 64 * 1024
_INT_BOUND: Final = 10**DIGITS_LIMIT
_DATETIME, _DATE, _TIMEDELTA, _DECIMAL, _UUID, _SET, _FROZENSET, _BIGINT, _REGISTERED, _TIME, _ZONED = range(
    1, 12
)
_PLAIN: Final = (bool, int, float, str, bytes, bytearray, memoryview, list, tuple, dict, type(None))

Registered = tuple[str, Callable[[Any], Any]]
"""A registered type's name and encoder."""

_by_type: dict[type, Registered] = {}
_by_name: dict[str, tuple[type, Callable[[Any], Any]]] = {}


def register(kind: type[T], name: str, encode: Callable[[T], Any], decode: Callable[[Any], T]) -> None:
    """Let values hold objects of class `kind`.

    `encode(obj)` gives a plain value, which may hold other registered types. `decode(value)` gives the object
    again. The store holds `name`: keep it when the class moves. Call this in a module that the app and its
    clients import. Subclasses of plain types (a namedtuple, say) are always stored as that plain type and are
    refused here. Registering the same class again, or its copy after a reload, replaces it.

    An object of a subclass is taken if `decode` makes an object of that same subclass of what `encode` gave, as
    `pathlib.Path` does. Otherwise it is refused: it would come back as another type.
    """
    if not isinstance(kind, type):
        raise InvalidOption(f"register takes a class, not {kind!r:.80}")
    if issubclass(kind, _PLAIN):
        raise InvalidOption(f"{kind.__qualname__} is a subclass of a plain type and is stored as such")
    if (
        not isinstance(name, str)
        or not name
        or (name in _by_name and not _same_class(_by_name[name][0], kind))
    ):
        raise InvalidOption(f"the name {name!r} is empty or already registered for another type")
    _by_type[kind] = (name, encode)
    _by_name[name] = (kind, decode)


def register_as(kind: type[T], other: type[Any], convert: Callable[[T], Any]) -> None:
    """Let values hold objects of class `kind`, each as the object of a registered class that `convert` gives."""
    name, encode = _by_type[other]
    _by_type[kind] = (name, lambda value: encode(convert(value)))


def as_foreign(value: object) -> Foreign | None:
    """An object of a registered type as it is stored; None for any other one."""
    registered = _by_type.get(type(value))
    return None if registered is None else Foreign(registered[0], registered[1](value))


def is_registered(kind: type) -> bool:
    """Whether values of exactly this class are encoded by a function given to `register`."""
    return kind in _by_type


def _same_class(one: type, other: type) -> bool:
    return (module_name(one.__module__), one.__qualname__) == (
        module_name(other.__module__),
        other.__qualname__,
    )


def pack(value: Any, what: str = "value", limit: int = VALUE_LIMIT) -> bytes:
    """The value's bytes.

    Raises UnencodableValue with the path to the part that cannot be encoded; `what` names the root of that
    path. Raises ValueTooLarge above `limit` bytes.
    """
    try:
        packed = _packed(value)
    except MemoryError:
        raise
    except Exception as error:
        raise _explain(value, what) from error
    if len(packed) > limit:
        raise ValueTooLarge(
            f"{what} takes {len(packed):,} bytes; the limit is {limit:,}. Store the data in a file and pass its path",
            len(packed),
            limit,
        )
    return packed


def _packed(value: Any) -> bytes:
    try:
        packer = _spare.pop()
    except IndexError:
        packer = msgpack.Packer(default=_EXTEND[0], autoreset=True)
    packed: bytes = packer.pack(value)
    if len(packed) <= _KEPT:
        _spare.append(packer)
    return packed


def unpack(packed: bytes) -> Any:
    """The value of these bytes; InvalidValue if they are not an encoded value."""
    try:
        if len(packed) > _TRUSTED:
            _check_lengths(packed)
        try:
            return msgpack.unpackb(packed, ext_hook=_UNEXTEND[0], strict_map_key=False, timestamp=3)
        except TypeError:
            # A tuple used as a key comes back as a list, which cannot be a key. This needs the slower hook.
            return msgpack.unpackb(
                packed,
                ext_hook=_UNEXTEND[0],
                strict_map_key=False,
                timestamp=3,
                object_pairs_hook=_with_tuple_keys,
            )
    except InvalidValue:
        raise
    except _FOREIGN as error:
        raise InvalidValue(f"not an encoded value: {error or type(error).__name__}") from error


class Foreign:
    """A stored value of a type that is not registered in this process, or whose decoder has raised."""

    __slots__ = ("name", "value")

    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        self.value = value

    def __repr__(self) -> str:
        return f"<{self.name}: {self.value!r}>"


def unpack_foreign(packed: bytes) -> Any:
    """As `unpack`, for code that only shows the value: a registered type that is not known here is a `Foreign`."""
    with foreign_allowed():
        return unpack(packed)


@contextmanager
def foreign_allowed() -> Iterator[None]:
    """In this context `unpack` does as `unpack_foreign`, in this thread."""
    _shows.on = True
    try:
        yield
    finally:
        _shows.on = False


class _Shows(threading.local):
    """Whether this thread decodes a value in order to show it."""

    on = False


_shows = _Shows()

_FOREIGN: Final = (TypeError, ValueError, ArithmeticError, RecursionError, msgpack.UnpackException)
"""Errors that msgpack and the constructors of the extension types raise for bytes that are not a value."""


def _extend(depth: int, value: Any) -> msgpack.ExtType:
    """The extension for a value that msgpack cannot write itself, `depth` extensions deep."""
    registered = _by_type.get(type(value))
    if registered is not None:
        return _extend_registered(depth, value, registered)
    match value:
        case datetime():
            return _extend_datetime(depth, value)
        case date():
            return msgpack.ExtType(_DATE, date.isoformat(value).encode())
        case time():
            return msgpack.ExtType(
                _TIME, _pack_moment(depth, time.isoformat(value.replace(tzinfo=None)), value)
            )
        case timedelta():
            return _extend_timedelta(value)
        case Decimal():
            return msgpack.ExtType(_DECIMAL, str(value).encode())
        case UUID():
            return msgpack.ExtType(_UUID, value.bytes)
        case set():
            return msgpack.ExtType(_SET, msgpack.packb(list(value), default=_inner(depth)))
        case frozenset():
            return msgpack.ExtType(_FROZENSET, msgpack.packb(list(value), default=_inner(depth)))
        case int():
            # msgpack calls this only for integers beyond 64 bits.
            if not -_INT_BOUND < value < _INT_BOUND:
                raise ValueError(f"an integer of more than {DIGITS_LIMIT:,} digits")
            return msgpack.ExtType(_BIGINT, int.__repr__(value).encode())
    registered = _of_base(value)
    if registered is not None:
        return _extend_registered(depth, value, registered)
    raise TypeError("not plain data and not registered")


def _extend_registered(depth: int, value: Any, registered: Registered) -> msgpack.ExtType:
    name, encode = registered
    return msgpack.ExtType(_REGISTERED, msgpack.packb([name, encode(value)], default=_inner(depth)))


def _of_base(value: Any) -> Registered | None:
    """What a base class of the value's class is registered as; TypeError if the value would become another type."""
    for base in type(value).__mro__[1:]:
        registered = _by_type.get(base)
        if registered is not None:
            name, encode = registered
            back = _by_name[name][1](encode(value))
            if type(back) is type(value):
                return registered
            raise TypeError(
                f"not registered; its base {base.__qualname__} is, but would come back as {type(back).__qualname__}"
            )
    return None


def _extend_datetime(depth: int, value: datetime) -> msgpack.ExtType:
    zone = value.tzinfo
    if not value.fold and (zone is None or zone is UTC or (type(zone) is timezone and _is_usual(zone))):
        code, packed = _DATETIME, datetime.isoformat(value).encode()
    else:
        code, packed = _ZONED, _pack_moment(depth, datetime.isoformat(value.replace(tzinfo=None)), value)
    if type(value) is not datetime:
        naive = value.replace(tzinfo=None)
        if datetime.fromisoformat(datetime.isoformat(naive)) != naive:
            # A subclass may hold more, as the nanoseconds of pandas.Timestamp.
            raise ValueError("its class holds more than a datetime can")
    return msgpack.ExtType(code, packed)


def _extend_timedelta(value: timedelta) -> msgpack.ExtType:
    parts = value.days, value.seconds, value.microseconds
    if type(value) is not timedelta and timedelta(*parts) != value:
        raise ValueError("its class holds more than a timedelta can")
    return msgpack.ExtType(_TIMEDELTA, msgpack.packb(parts))


def _is_usual(zone: timezone) -> bool:
    """Whether ISO 8601 text says all of it: it has no name of its own and whole seconds."""
    return not zone.utcoffset(None).microseconds and _name_of(zone) is None


def _name_of(zone: timezone) -> str | None:
    """The name that it was given, or None."""
    name = zone.tzname(None)
    return None if name == timezone(zone.utcoffset(None)).tzname(None) else name


def _pack_moment(depth: int, text: str, value: datetime | time) -> bytes:
    zone = value.tzinfo
    packed: bytes = msgpack.packb([text, value.fold, _plain_zone(zone)], default=_inner(depth))
    return packed


def _plain_zone(zone: tzinfo | None) -> Any:
    if zone is None or type(zone) in _by_type:
        return zone
    if isinstance(zone, ZoneInfo):
        if _is_known(zone):
            return zone.key
        raise ValueError(f"its time zone {zone!r:.80} is not one that ZoneInfo(key) gives")
    if type(zone) is timezone:
        offset = zone.utcoffset(None)
        return [offset.days, offset.seconds, offset.microseconds, _name_of(zone)]
    if _of_base(zone) is not None:
        return zone
    raise TypeError(
        f"its time zone {zone!r:.80} of type {type(zone).__module__}.{type(zone).__qualname__} cannot be kept; take a "
        "zoneinfo.ZoneInfo or a datetime.timezone, or register that type"
    )


def _is_known(zone: ZoneInfo) -> bool:
    """Whether its key leads to it in another process. ZoneInfo refuses to pickle one for which it does not."""
    try:
        zone.__reduce__()
        return bool(zone.key) and ZoneInfo(zone.key) is not None
    except Exception:  # noqa: BLE001 - one of pickle's own errors, among others; pickle is used nowhere
        return False


def _revive_zone(zone: Any) -> tzinfo | None:
    if zone is None or isinstance(zone, tzinfo):
        return zone
    if isinstance(zone, str):
        try:
            return ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise InvalidValue(
                f"this machine has no time zone {zone!r:.80}; install the system's tzdata or the package tzdata"
            ) from error
    days, seconds, microseconds, name = zone
    offset = timedelta(days, seconds, microseconds)
    return timezone(offset) if name is None else timezone(offset, name)


_EXTEND: Final = [functools.partial(_extend, depth) for depth in range(EXTENSION_DEPTH_LIMIT + 1)]


def _inner(depth: int) -> Callable[[Any], Any]:
    if depth >= EXTENSION_DEPTH_LIMIT:
        raise ValueError(f"sets or registered types nested deeper than {EXTENSION_DEPTH_LIMIT} levels")
    return _EXTEND[depth + 1]


def _unextend(depth: int, code: int, data: bytes) -> Any:
    """The value of one extension, `depth` extensions deep. It raises no TypeError: that means a tuple key."""
    try:
        match code:
            case 1:
                return datetime.fromisoformat(data.decode())
            case 2:
                return date.fromisoformat(data.decode())
            case 3:
                days, seconds, microseconds = msgpack.unpackb(data, max_array_len=3)
                return timedelta(days, seconds, microseconds)
            case 4:
                return Decimal(data.decode())
            case 5:
                return UUID(bytes=data)
            case 6:
                return set(_unpack_inner(depth, data, use_list=False))
            case 7:
                return frozenset(_unpack_inner(depth, data, use_list=False))
            case 8:
                if len(data) > DIGITS_LIMIT + 1:
                    raise InvalidValue(f"an integer of more than {DIGITS_LIMIT:,} digits")
                return int(data)
            case 9:
                name, value = _unpack_inner(depth, data, use_list=True)
                return _revive(name, value)
            case 10:
                text, fold, zone = _unpack_inner(depth, data, use_list=True)
                return time.fromisoformat(text).replace(fold=fold, tzinfo=_revive_zone(zone))
            case 11:
                text, fold, zone = _unpack_inner(depth, data, use_list=True)
                return datetime.fromisoformat(text).replace(fold=fold, tzinfo=_revive_zone(zone))
    except InvalidValue:
        raise
    except _FOREIGN as error:
        raise InvalidValue(f"not an encoded value: extension type {code}: {error}") from error
    raise InvalidValue(f"not an encoded value: unknown extension type {code}")


_UNEXTEND: Final = [functools.partial(_unextend, depth) for depth in range(EXTENSION_DEPTH_LIMIT + 1)]


def _unpack_inner(depth: int, data: bytes, *, use_list: bool) -> Any:
    if depth >= EXTENSION_DEPTH_LIMIT:
        raise InvalidValue(f"sets or registered types nested deeper than {EXTENSION_DEPTH_LIMIT} levels")
    if len(data) > _TRUSTED:
        _check_lengths(data)
    # This uses the hook for tuple keys at once: a first try without it would double the work at every level.
    return msgpack.unpackb(
        data,
        ext_hook=_UNEXTEND[depth + 1],
        use_list=use_list,
        strict_map_key=False,
        timestamp=3,
        object_pairs_hook=_with_tuple_keys,
    )


def _revive(name: object, value: Any) -> Any:
    if not isinstance(name, str) or name not in _by_name:
        if _shows.on and isinstance(name, str):
            return Foreign(name, value)
        raise InvalidValue(
            f"type {name!r:.80} is not registered in this process; call understudy.register first"
        )
    kind, decode = _by_name[name]
    try:
        return decode(value)
    except Exception as error:
        if _shows.on:
            return Foreign(name, value)
        raise InvalidValue(
            f"a stored {kind.__qualname__} ({name}) cannot be decoded: {error!r:.200}"
        ) from error


def _check_lengths(packed: bytes) -> None:
    """Raise the error of `unpackb` before it allocates the declared lengths: skipping builds nothing."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(packed))
    unpacker.feed(packed)
    try:
        unpacker.skip()
    except msgpack.OutOfData:
        raise InvalidValue("not an encoded value: it ends too early") from None


def _with_tuple_keys(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    return {_hashable(key): value for key, value in pairs}


def _hashable(key: Any) -> Any:
    return tuple(map(_hashable, key)) if isinstance(key, list) else key


def _explain(value: Any, what: str) -> UnencodableValue:
    """The error that names the part that cannot be encoded. Called only after encoding has failed."""
    path, part, why = _culprit(value, what)
    return UnencodableValue(
        f"{path} is of type {type(part).__qualname__}: cannot be encoded ({why}). Pass plain data (None, bool, int, "
        "float, str, bytes, list, dict, datetime, date, time, timedelta, Decimal, UUID, set), or register the type "
        "with understudy.register",
        path,
    )


_Place = tuple[str, Any, int]
"""A path, the part at that path, and its depth in extensions."""


def _culprit(value: Any, what: str) -> tuple[str, Any, str]:
    """(path, part, reason) of the first part that cannot be encoded. A loop: the value may be very deep."""
    open_places: list[Iterator[_Place]] = [iter([(what, value, 0)])]
    while open_places:
        path, part, depth = next(open_places[-1], ("", None, -1))
        if depth < 0:
            open_places.pop()
            continue
        if len(open_places) > DEPTH_LIMIT:
            return f"{path[:200]}…", part, f"nested deeper than {DEPTH_LIMIT} levels, or it contains itself"
        if depth > EXTENSION_DEPTH_LIMIT:
            return path, part, f"sets or registered types nested deeper than {EXTENSION_DEPTH_LIMIT} levels"
        children = None
        try:
            children = _children(path, part, depth)
            if children is None:
                msgpack.packb(part, default=_EXTEND[depth])
        except Exception as error:  # noqa: BLE001 - any error here is the reason that is reported
            return path, part, _one_line(error)
        if children is not None:
            open_places.append(children)
    return what, value, "it changed while it was being encoded"


def _children(path: str, part: Any, depth: int) -> Iterator[_Place] | None:
    """The parts of a container; None if it is not a container."""
    registered = _by_type.get(type(part)) or _of_base(part)
    if registered is not None:
        name, encode = registered
        return iter([(f"{path}<{name}>", encode(part), depth + 1)])
    match part:
        case dict():
            return _dict_children(path, part, depth)
        case list() | tuple():
            return ((f"{path}[{index}]", child, depth) for index, child in enumerate(part))
        case set() | frozenset():
            return ((f"{path}.element({_short(child)})", child, depth + 1) for child in part)
    return None


def _dict_children(path: str, part: dict[Any, Any], depth: int) -> Iterator[_Place]:
    for key, child in part.items():
        yield f"{path}.key({_short(key)})", key, depth
        yield f"{path}[{_short(key)}]", child, depth


def _short(value: object) -> str:
    try:
        return f"{value!r:.40}"
    except Exception:  # noqa: BLE001 - a user's __repr__ may raise anything
        return f"<{type(value).__qualname__}>"


def _one_line(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except Exception:  # noqa: BLE001 - as in _short
        return type(error).__name__
