"""The header of a store's file, read byte by byte before LMDB opens it.

LMDB maps the file and trusts it. A truncated file ends the process by SIGBUS, and opening another program's
file writes into it. So this module reads the few pages that show the file's owner and length, and changes
nothing. Layout: LMDB 0.9, data version 1, 64 bit, this machine's byte order (`lmdb/verify.py` checks
everything).
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from ...actors.errors import StoreCorrupt, StoreError, StoreForeign, StoreVersion
from ..tables.schema import HOME_ROW, ID_BYTES, OLDEST_SCHEMA, SCHEMA_ROW, SCHEMA_VERSION, Table
from .lmdb_errors import translate
from .locks import claimed
from .page_check import problems_of, vouch, vouched_for

_MAGIC: Final = 0xBEEFC0DE
_DATA_VERSION: Final = 1
_PAGE_HEADER: Final = struct.Struct("=QHHHH")  # number, pad, flags, lower, upper
_META: Final = struct.Struct(
    "=IIQQ48s48sQQ"
)  # magic, version, address, map size, free, main, last page, txnid
_TREE: Final = struct.Struct("=IHHQQQQQ")  # pad, flags, depth, branch, leaf, overflow pages, entries, root
_NODE: Final = struct.Struct("=HHHH")  # size low, size high, flags, key size
_BRANCH: Final = 1
#: A flag of a row whose value is on pages of its own, and bytes of the number that it has instead.
_BIG: Final = 1
_OVERFLOW: Final = 8
#: No table is deeper.
_DEEPEST: Final = 64
_LEAF: Final = 0x02
_NAMED: Final = 0x02
_NO_PAGE: Final = 2**64 - 1
_TRIES: Final = 50
_READABLE: Final = {b"%d" % version for version in range(OLDEST_SCHEMA, SCHEMA_VERSION + 1)}


class Tree(NamedTuple):
    """The root of one LMDB database."""

    depth: int
    entries: int
    root: int


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of the newest meta page."""

    page_size: int
    map_size: int
    last_page: int
    txnid: int
    main: Tree
    home_id: bytes = b""


class _Damaged(Exception):
    """A page is not valid. Either it is damaged, or a writer has changed it during the read."""


def inspect(path: Path) -> Header | None:
    """The header of a store that may be opened; None if the file is missing or empty.

    Raises StoreForeign, StoreVersion, StoreCorrupt, or HomeError for a file without read permission. A writer
    may work meanwhile: a problem is checked again if there was a commit since.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not block
    except FileNotFoundError:
        return None
    except OSError as error:
        raise translate(error, "read", path) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _foreign(path, "is no file")
        for _ in range(_TRIES):
            header = _newest(descriptor, path)
            if header is None:
                return None
            try:
                return _identify(descriptor, path, header)
            except (StoreError, _Damaged) as error:
                again = _newest(descriptor, path)
                if again is not None and again.txnid != header.txnid:
                    continue
                if isinstance(error, StoreError):
                    raise
                raise _corrupt(path, [str(error)]) from error
        raise StoreError(f"{path} changes faster than it can be read; try again")
    except OSError as error:
        raise translate(error, "read", path) from error
    finally:
        os.close(descriptor)


def ensure_sound(path: Path, header: Header) -> Header:
    """Raise StoreCorrupt if the file's pages are damaged; see `page_check`. Returns the current header.

    The caller is about to write the file and holds its claim, or reads it while another process may write.
    """
    for _ in range(_TRIES):
        if vouched_for(path):
            return header
        problems = problems_of(path)
        if not problems:
            vouch(path)
            return header
        again = inspect(path)
        if again is None or again.txnid == header.txnid:
            raise _corrupt(path, problems)
        header = again  # a writer changed pages during the check
        if claimed(path):
            return header
    raise StoreError(f"{path} changes faster than it can be read; try again")


def _newest(descriptor: int, path: Path) -> Header | None:
    """The newer of the two meta pages."""
    head = os.pread(descriptor, _PAGE_HEADER.size + _META.size, 0)
    if not head:
        return None
    first = _meta(head)
    if first is None:
        raise StoreForeign(
            f"{path} is not an Understudy store; it was not touched. Use another home, or move it away"
        )
    if first.page_size not in (4096, 8192, 16384, 32768, 1024, 2048, 512):
        raise _corrupt(path, [f"page size {first.page_size} is impossible"])
    second = _meta(os.pread(descriptor, _PAGE_HEADER.size + _META.size, first.page_size))
    if second is None:
        raise _corrupt(path, ["the second meta page is missing or damaged"])
    return second if second.txnid > first.txnid else first


def _meta(head: bytes) -> Header | None:
    if len(head) < _PAGE_HEADER.size + _META.size:
        return None
    magic, version, _, map_size, free, main, last_page, txnid = _META.unpack_from(head, _PAGE_HEADER.size)
    if magic != _MAGIC or version != _DATA_VERSION:
        return None
    page_size = _TREE.unpack(free)[0]  # LMDB keeps the page size in the free list's pad
    return Header(page_size, map_size, last_page, txnid, _tree(main))


def _tree(raw: bytes) -> Tree:
    fields = _TREE.unpack(raw)
    return Tree(depth=fields[2], entries=fields[6], root=fields[7])


def _identify(descriptor: int, path: Path, header: Header) -> Header:
    foreign = _foreign(path, "is an LMDB file of another program")
    if header.main.root == _NO_PAGE or header.main.depth != 1:
        raise foreign  # each of our stores has tables, and their list fits one page
    tables = _rows(descriptor, header, header.main.root)
    flags, raw = tables.get(Table.META.encode(), (0, b""))
    if flags != _NAMED or len(raw) != _TREE.size:
        raise foreign
    version = _row(descriptor, header, _tree(raw), SCHEMA_ROW)
    home_id = _row(descriptor, header, _tree(raw), HOME_ROW)
    if not version or len(home_id) != ID_BYTES:
        raise foreign
    if version not in _READABLE:
        found = int(version) if version.isdigit() else version
        raise StoreVersion(
            f"{path} has schema version {found!r}, this release knows {SCHEMA_VERSION}; it was not touched. "
            "Use the release that wrote it",
            found=found,
            supported=SCHEMA_VERSION,
        )
    known = {table.encode() for table in Table}
    if not tables.keys() <= known:
        raise foreign
    if int(version) == SCHEMA_VERSION and (missing := known - tables.keys()):
        raise _corrupt(path, [f"the table {min(missing).decode()} is missing"])
    _check_length(descriptor, path, header)
    return Header(header.page_size, header.map_size, header.last_page, header.txnid, header.main, home_id)


def _check_length(descriptor: int, path: Path, header: Header) -> None:
    size = os.fstat(descriptor).st_size
    needed = (header.last_page + 1) * header.page_size
    if size >= needed:
        return
    # Pages allocated and freed within one transaction are never written, so a sound file may be shorter. That
    # is rare enough to check the whole file.
    if problems := problems_of(path):
        raise _corrupt(path, [f"the file has {size} bytes of {needed}: it was cut short", *problems])


def _row(descriptor: int, header: Header, tree: Tree, key: bytes) -> bytes:
    """The value of a row; empty if there is none."""
    if tree.root == _NO_PAGE or tree.depth > _DEEPEST:
        return b""
    number = tree.root
    for _ in range(tree.depth - 1):
        number = _branch(descriptor, header, number, key)
    return _rows(descriptor, header, number).get(key, (0, b""))[1]


def _branch(descriptor: int, header: Header, number: int, key: bytes) -> int:
    """The page below a branch page in which a key is."""
    page, lower = _page(descriptor, header, number, _BRANCH)
    below = 0
    for place, (first,) in enumerate(struct.iter_unpack("=H", page[_PAGE_HEADER.size : lower])):
        if first + _NODE.size > len(page):
            raise _Damaged(f"page {number} has a row outside of it")
        low, high, upper, key_size = _NODE.unpack_from(page, first)
        start = first + _NODE.size
        if start + key_size > len(page):
            raise _Damaged(f"page {number} has a row outside of it")
        # The first one stands for all smaller keys, whatever its own is.
        if place and page[start : start + key_size] > key:
            break
        below = low | high << 16 | upper << 32
    return below


def _page(descriptor: int, header: Header, number: int, kind: int) -> tuple[bytes, int]:
    """(a page of this kind, where its list of rows ends)."""
    if not 2 <= number <= header.last_page:
        raise _Damaged(f"page {number} is out of range")
    page = os.pread(descriptor, header.page_size, number * header.page_size)
    if len(page) < header.page_size:
        raise _Damaged(f"page {number} is beyond the end of the file: it was cut short")
    own, _, flags, lower, _ = _PAGE_HEADER.unpack_from(page)
    sane = _PAGE_HEADER.size <= lower <= header.page_size and lower % 2 == 0
    if own != number or flags != kind or not sane:
        raise _Damaged(f"page {number} is not a {'leaf' if kind == _LEAF else 'branch'} page")
    return page, lower


def _rows(descriptor: int, header: Header, number: int) -> dict[bytes, tuple[int, bytes]]:
    """(flags, value) by key, for one leaf page. Of a value on pages of its own it is the number of the first."""
    page, lower = _page(descriptor, header, number, _LEAF)
    rows = {}
    for (place,) in struct.iter_unpack("=H", page[_PAGE_HEADER.size : lower]):
        if place + _NODE.size > len(page):
            raise _Damaged(f"page {number} has a row outside of it")
        low, high, row_flags, key_size = _NODE.unpack_from(page, place)
        start = place + _NODE.size
        middle = start + key_size
        end = middle + (_OVERFLOW if row_flags & _BIG else low | high << 16)
        if end > len(page):
            raise _Damaged(f"page {number} has a row outside of it")
        rows[page[start:middle]] = (row_flags, page[middle:end])
    return rows


def _foreign(path: Path, said: str) -> StoreForeign:
    return StoreForeign(f"{path} {said}; it was not touched. Use another home, or move it away")


def _corrupt(path: Path, problems: list[str]) -> StoreCorrupt:
    return StoreCorrupt(
        f"{path} is damaged: {problems[0]}. It was not touched. Restore the last backup, or move it away to start "
        "with an empty store",
        problems=problems,
    )
