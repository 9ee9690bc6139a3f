"""Packets between the supervisor and its fork server: one msgpack map each, with file descriptors if need be.

The socket is a SOCK_SEQPACKET pair, so the kernel keeps the borders between packets.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgpack

from ..actors.errors import ProtocolError

#: Bytes of the largest packet; the kernel's default send buffer takes it about three times.
LIMIT = 64 * 1024
#: File descriptors that may go with one packet.
MAX_FDS = 4


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, blocking, closed on exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def pack(message: dict[str, Any]) -> bytes:
    """ProtocolError if it is over the limit. Text may hold the surrogates of undecodable file names."""
    packed: bytes = msgpack.packb(message, unicode_errors="surrogateescape")
    if len(packed) > LIMIT:
        raise ProtocolError(f"a packet of {len(packed):,} bytes is over the limit of {LIMIT:,}")
    return packed


def send(sock: socket.socket, packed: bytes, fds: Sequence[int] = ()) -> None:
    """Send one packet. BlockingIOError if the socket is non-blocking and full; OSError if the peer is gone."""
    if fds:
        socket.send_fds(sock, [packed], fds, socket.MSG_NOSIGNAL)
    else:
        sock.send(packed, socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next packet and its descriptors, which are closed on exec and now ours; None once the peer is gone."""
    size = struct.calcsize("i")
    try:
        data, ancillary, flags, _ = sock.recvmsg(
            LIMIT, socket.CMSG_SPACE(MAX_FDS * size), socket.MSG_CMSG_CLOEXEC
        )
    except OSError as error:
        if error.errno in (errno.ECONNRESET, errno.EPIPE):
            return None
        raise
    fds: list[int] = []
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds += struct.unpack(f"{len(payload) // size}i", payload[: len(payload) // size * size])
    if not data:
        return None
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise ProtocolError(
            "a packet, or its file descriptors, arrived cut off: is the limit of open files reached?"
        )
    return msgpack.unpackb(data, unicode_errors="surrogateescape", strict_map_key=False), fds


def portions(items: Iterable[tuple[str, Any]], limit: int = LIMIT // 2) -> Iterator[dict[str, Any]]:
    """Cut a large map into maps of about `limit` packed bytes at most; an empty map gives one empty portion."""
    portion: dict[str, Any] = {}
    size = 0
    for key, value in items:
        packed = len(pack({key: value}))
        if portion and size + packed > limit:
            yield portion
            portion, size = {}, 0
        portion[key] = value
        size += packed
    yield portion
