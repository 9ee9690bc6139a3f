"""Batch: entries of a watch that many readers are given, each encoded once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ....actors.events.entry import WatchEntry
from ....storage.item_reader import Place
from ...client.watch_source import Order

Format = Callable[[WatchEntry], bytes]
"""Encodes an entry; b"" leaves it out."""


class SharedEntry:
    """An entry, with its encodings."""

    __slots__ = ("_encoded", "entry", "order", "place", "size")

    def __init__(self, entry: WatchEntry, place: Place, order: Order) -> None:
        self.entry = entry
        #: Behind it, and as it is compared.
        self.place = place
        self.order = order
        #: Bytes of its value or text.
        self.size = len(entry.packed or b"") + len(entry.text or "")
        self._encoded: dict[Format, bytes] = {}

    def encoded(self, format: Format) -> bytes:
        """The entry in this format."""
        data = self._encoded.get(format)
        if data is None:
            data = self._encoded[format] = format(self.entry)
        return data


class Batch:
    """Some entries in a row."""

    __slots__ = ("_joined", "entries")

    def __init__(self, entries: Sequence[SharedEntry]) -> None:
        self.entries = entries
        self._joined: dict[tuple[Format, bool], bytes] = {}

    def __iter__(self) -> Iterator[SharedEntry]:
        return iter(self.entries)

    def joined(self, format: Format, *, chunked: bool) -> bytes:
        """All of them in a row, if wanted as one chunk of an HTTP body. All readers get the same bytes."""
        key = format, chunked
        data = self._joined.get(key)
        if data is None:
            data = b"".join([entry.encoded(format) for entry in self.entries])
            if data and chunked:
                data = chunk(data)
            self._joined[key] = data
        return data


def chunk(data: bytes) -> bytes:
    """Some bytes as a chunk of an HTTP/1.1 body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
