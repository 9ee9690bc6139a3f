"""`Storage`: the rows that an actor keeps on disk beside its attributes, as a sorted mapping with text keys.

Rows are read when they are used, in chunks. What the actor has written and not committed yet lies over them. Each read
gives a new object: changing it does not change the row.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import ItemsView, Iterator, KeysView, MutableMapping, Sequence, ValuesView
from typing import Any, Final, NoReturn, Protocol

from .. import values
from ..errors import InvalidOption

#: Bytes that a key may take, as UTF-8.
KEY_LIMIT: Final = 400
#: Rows that are read at once: at first, and later on. Most loops that end early do so at once.
FIRST_CHUNK: Final = 32
CHUNK: Final = 1_000

Rows = Sequence[tuple[str, bytes]]


class StorageRows(Protocol):
    """Where the rows of an actor are."""

    @property
    def value_limit(self) -> int:
        """Bytes that an encoded value may take."""

    def unwritten(self) -> Sequence[dict[str, bytes | None]]:
        """What is not on its way to disk yet, the newest first; None stands for a removed row."""

    def write(self, key: str, value: bytes | None) -> None:
        """Set a row, or remove it."""

    def read_row(self, key: str) -> bytes | None:
        """The value of a row on disk."""

    def read_rows(self, prefix: str, after: str | None, limit: int, *, reverse: bool) -> Rows:
        """Rows on disk whose keys have this prefix, behind this key in the order of reading."""


class Storage(MutableMapping[str, Any]):
    """The rows of one actor, in the order of their keys' characters."""

    __slots__ = ("_rows",)

    def __init__(self, rows: StorageRows) -> None:
        self._rows = rows

    def __getitem__(self, key: str) -> Any:
        packed = self._packed(key)
        if packed is None:
            raise KeyError(key)
        return values.unpack(packed)

    def __setitem__(self, key: str, value: Any) -> None:
        _check_key(key)
        self._rows.write(key, values.pack(value, f"storage[{key!r:.80}]", self._rows.value_limit))

    def __delitem__(self, key: str) -> None:
        if self._packed(key) is None:
            raise KeyError(key)
        self._rows.write(key, None)

    def __contains__(self, key: object) -> bool:
        return self._packed(key) is not None

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self._pairs("", reverse=False))

    def __reversed__(self) -> Iterator[str]:
        return (key for key, _ in self._pairs("", reverse=True))

    def __len__(self) -> int:
        """Reads every row. So does `list(storage)`, and then once more; `list(storage.keys())` does not."""
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None

    def __repr__(self) -> str:
        return "<the storage of an actor>"

    def keys(self, prefix: str = "") -> KeysView[str]:
        """The keys that start with `prefix`."""
        return _Keys(self, prefix)

    def values(self, prefix: str = "") -> ValuesView[Any]:
        """The values whose keys start with `prefix`, in the order of the keys."""
        return _Values(self, prefix)

    def items(self, prefix: str = "") -> ItemsView[str, Any]:
        """(key, value) of the keys that start with `prefix`. `reversed` of it begins with the last one."""
        return _Items(self, prefix)

    def clear(self, prefix: str = "") -> None:
        """Remove all rows, or those whose keys start with `prefix`."""
        for key, _ in self._pairs(prefix, reverse=False):
            self._rows.write(key, None)

    def _packed(self, key: object) -> bytes | None:
        if not isinstance(key, str) or not _fits(key):
            return None
        for layer in self._rows.unwritten():
            if key in layer:
                return layer[key]
        return self._rows.read_row(key)

    def _pairs(self, prefix: str, *, reverse: bool) -> Iterator[tuple[str, bytes]]:
        """The rows in order. The actor may change any of them meanwhile: a removed row does not come any more."""
        after: str | None = None
        limit = FIRST_CHUNK
        more = True
        while more:
            found = self._rows.read_rows(prefix, after, limit, reverse=reverse)
            more = len(found) == limit
            end = found[-1][0] if more else None
            chunk: dict[str, bytes | None] = dict(found)
            # What is over them goes in now: it may be on disk, and over them no more, before the chunk is through.
            over = self._over(prefix)
            chunk.update((key, over[key]) for key in _between(list(over), after, end, reverse=reverse))
            for key in sorted(chunk, reverse=reverse):
                packed = self._newest(key, chunk[key])
                if packed is not None:
                    yield key, packed
            after, limit = end, CHUNK

    def _over(self, prefix: str) -> dict[str, bytes | None]:
        over: dict[str, bytes | None] = {}
        for layer in reversed(self._rows.unwritten()):
            over.update((key, layer[key]) for key in list(layer) if key.startswith(prefix))
        return over

    def _newest(self, key: str, on_disk: bytes | None) -> bytes | None:
        for layer in self._rows.unwritten():
            if key in layer:
                return layer[key]
        return on_disk


class _Keys(KeysView[str]):
    def __init__(self, storage: Storage, prefix: str) -> None:
        self._storage = storage
        self._prefix = prefix

    def __len__(self) -> NoReturn:
        raise _no_length()

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.startswith(self._prefix) and key in self._storage

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self._storage._pairs(self._prefix, reverse=False))

    def __reversed__(self) -> Iterator[str]:
        return (key for key, _ in self._storage._pairs(self._prefix, reverse=True))

    def __repr__(self) -> str:
        return f"<keys of a storage that start with {self._prefix!r}>"


class _Values(ValuesView[Any]):
    def __init__(self, storage: Storage, prefix: str) -> None:
        self._storage = storage
        self._prefix = prefix

    def __len__(self) -> NoReturn:
        raise _no_length()

    def __contains__(self, value: object) -> bool:
        return any(each == value for each in self)

    def __iter__(self) -> Iterator[Any]:
        return (values.unpack(packed) for _, packed in self._storage._pairs(self._prefix, reverse=False))

    def __reversed__(self) -> Iterator[Any]:
        return (values.unpack(packed) for _, packed in self._storage._pairs(self._prefix, reverse=True))

    def __repr__(self) -> str:
        return f"<values of a storage whose keys start with {self._prefix!r}>"


class _Items(ItemsView[str, Any]):
    def __init__(self, storage: Storage, prefix: str) -> None:
        self._storage = storage
        self._prefix = prefix

    def __len__(self) -> NoReturn:
        raise _no_length()

    def __contains__(self, item: object) -> bool:
        if not isinstance(item, tuple) or len(item) != 2:
            return False
        key, value = item
        return key in _Keys(self._storage, self._prefix) and bool(self._storage[key] == value)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        for key, packed in self._storage._pairs(self._prefix, reverse=False):
            yield key, values.unpack(packed)

    def __reversed__(self) -> Iterator[tuple[str, Any]]:
        for key, packed in self._storage._pairs(self._prefix, reverse=True):
            yield key, values.unpack(packed)

    def __repr__(self) -> str:
        return f"<items of a storage whose keys start with {self._prefix!r}>"


def _no_length() -> TypeError:
    # `list` asks for the length first, and goes on without one. It would read every row for that.
    return TypeError("rows of storage are read one by one: count them by sum(1 for _ in …)")


def _between(keys: list[str], after: str | None, end: str | None, *, reverse: bool) -> list[str]:
    """Those behind `after` and up to `end`, in the order of reading; None for no bound."""
    if reverse:
        return [key for key in keys if (after is None or key < after) and (end is None or key >= end)]
    keys.sort()
    begin = 0 if after is None else bisect_right(keys, after)
    return keys[begin : len(keys) if end is None else bisect_right(keys, end)]


def _fits(key: str) -> bool:
    """Whether it is a key that a row can have. `isascii` is quick."""
    if not key or len(key) > KEY_LIMIT:
        return False
    if key.isascii():
        return True
    try:
        return len(key.encode()) <= KEY_LIMIT
    except UnicodeEncodeError:
        return False


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise InvalidOption(f"a key of storage is text, not {type(key).__qualname__}: {key!r:.80}")
    if not _fits(key):
        raise InvalidOption(f"a key of storage has 1 to {KEY_LIMIT} bytes of UTF-8: {key!r:.80}")
