"""A cheap WebSocket server: it sends messages made in advance and only counts those that it receives.

    python -m floors.feed

It prints its port and serves until the end of its input. A connection's path tells what it does: `/in/COUNT`
sends COUNT messages and closes. `/through/COUNT` closes when as many have come back with their lengths
unchanged. `/idle` sends nothing.
"""

from __future__ import annotations

import json
import socket
import sys
import threading

from websockets.server import ServerProtocol

MESSAGE = json.dumps(
    {"symbol": "ABC", "price": 101.25, "size": 300, "at": 1700000000.123}, separators=(",", ":")
).encode()
FRAME = bytes([0x81, len(MESSAGE)]) + MESSAGE
#: Bytes of the same message from a client, whose frames are masked.
BACK = len(FRAME) + 4
CLOSE = bytes([0x88, 2]) + (1000).to_bytes(2, "big")
#: Messages handed to the kernel at once.
BATCH = 1_000


def main() -> None:
    """See the module."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=_accept, args=(listener,), daemon=True).start()
    sys.stdin.read()


def _accept(listener: socket.socket) -> None:
    idle = []
    while True:
        sock, _ = listener.accept()
        kind, count = _shake_hands(sock)
        if kind == "idle":
            idle.append(sock)
        else:
            threading.Thread(target=_tell, args=(sock, kind, count), daemon=True).start()


def _shake_hands(sock: socket.socket) -> tuple[str, int]:
    protocol = ServerProtocol()
    request = b""
    while b"\r\n\r\n" not in request:
        request += sock.recv(65536)
    protocol.receive_data(request)
    [opening] = protocol.events_received()
    protocol.send_response(protocol.accept(opening))  # type: ignore[arg-type]
    sock.sendall(b"".join(protocol.data_to_send()))
    kind, _, count = opening.path.strip("/").partition("/")  # type: ignore[union-attr]
    return kind, int(count or 0)


def _tell(sock: socket.socket, kind: str, count: int) -> None:
    sending = threading.Thread(target=_send, args=(sock, count))
    sending.start()
    if kind == "through":
        left = count * BACK
        while left > 0:
            left -= len(sock.recv(1 << 20))
        assert left == 0, f"{-left} bytes too many"
    sending.join()
    sock.sendall(CLOSE)
    sock.shutdown(socket.SHUT_WR)  # the server closes the socket first
    while sock.recv(65536):
        pass
    sock.close()


def _send(sock: socket.socket, count: int) -> None:
    while count:
        batch = min(count, BATCH)
        sock.sendall(FRAME * batch)
        count -= batch


if __name__ == "__main__":
    main()
