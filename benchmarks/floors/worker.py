"""The floors' worker: it returns its arguments, or receives messages and acknowledges them.

python -m floors.worker tasks|asks|messages DESCRIPTOR
"""

from __future__ import annotations

import socket
import sys
from typing import Any

import msgpack

from floors.link import CHUNK


def call(value: Any) -> Any:
    """The task: its result is its argument."""
    return value


def main() -> None:
    """See the module."""
    kind, descriptor = sys.argv[1:]
    pack = msgpack.Packer(autoreset=True).pack
    unpacker = msgpack.Unpacker(max_buffer_size=1 << 30)
    with socket.socket(fileno=int(descriptor)) as sock:
        try:
            while data := sock.recv(CHUNK):
                unpacker.feed(data)
                if kind == "messages":
                    said = pack([key for key, _message in unpacker])
                else:
                    said = b"".join([pack((id, call(value))) for id, _name, value in unpacker])
                sock.sendall(said)
        except (BrokenPipeError, ConnectionResetError):
            pass


if __name__ == "__main__":
    main()
