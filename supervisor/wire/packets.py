"""Messages between the supervisor and its fork server: msgpack maps, optionally with file descriptors.

The socket is a SOCK_SEQPACKET pair, so the kernel keeps packets whole and separate. A message that is too large for
one packet is sent as several. The first byte of each packet says whether more follow.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Any

import msgpack

from ...actors.errors import ProtocolError

#: Bytes of the largest packet; the kernel's default send buffer holds about three of them.
LIMIT = 64 * 1024
#: File descriptors that one message may carry.
MAX_FDS = 6

_LAST, _MORE = b"\0", b"\1"
_INT = struct.calcsize("i")


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets, blocking, closed on exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def cut(message: dict[str, Any]) -> list[bytes]:
    """The message as packets. Text may hold the surrogates of undecodable file names."""
    packed: bytes = msgpack.packb(message, unicode_errors="surrogateescape")
    step = LIMIT - 1
    pieces = [packed[start : start + step] for start in range(0, len(packed), step)]
    return [*(_MORE + piece for piece in pieces[:-1]), _LAST + pieces[-1]]


def send_packet(sock: socket.socket, packet: bytes, fds: Sequence[int] = ()) -> None:
    """Send one packet. BlockingIOError if the socket would block; another OSError if the peer is gone."""
    if fds:
        socket.send_fds(sock, [packet], fds, socket.MSG_NOSIGNAL)
    else:
        sock.send(packet, socket.MSG_NOSIGNAL)


def send(sock: socket.socket, message: dict[str, Any]) -> None:
    """Send over a blocking socket. OSError if the peer is gone."""
    for packet in cut(message):
        send_packet(sock, packet)


class Inlet:
    """The receiving side of a socket, blocking or not. Keeps packets until their message is complete."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pieces: list[bytes] = []
        self._fds: list[int] = []

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next message and its descriptors, which are closed on exec and belong to the caller.

        None if the peer is gone. BlockingIOError if the socket is non-blocking and the message is not complete.
        """
        while True:
            try:
                data, ancillary, flags, _ = self._sock.recvmsg(
                    LIMIT, socket.CMSG_SPACE(MAX_FDS * _INT), socket.MSG_CMSG_CLOEXEC
                )
            except ConnectionResetError:  # The peer closed with unread data.
                return None
            if not data:
                return None
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self._fds += struct.unpack(f"{len(payload) // _INT}i", payload)
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise ProtocolError(
                    "a packet or its descriptors were cut off; is the limit of open files reached?"
                )
            self._pieces.append(data[1:])
            if data[:1] == _LAST:
                break
        packed, self._pieces = b"".join(self._pieces), []
        fds, self._fds = self._fds, []
        return msgpack.unpackb(packed, unicode_errors="surrogateescape", strict_map_key=False), fds
