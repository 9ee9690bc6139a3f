"""systemd's notification protocol (sd_notify(3)): a datagram to the socket that $NOTIFY_SOCKET names."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping
from typing import Final

log = logging.getLogger("understudy")

VARIABLE: Final = "NOTIFY_SOCKET"


class Notifier:
    """Tells the service manager how we are; does nothing where there is none. Never raises: serving is what counts."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Takes the variable out of the environment, so that no task speaks in our name."""
        self._address = environ.pop(VARIABLE, "")

    def ready(self, status: str) -> None:
        """We serve."""
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={status}")

    def stopping(self, status: str) -> None:
        """We have begun to stop."""
        self._send(f"STOPPING=1\nSTATUS={status}")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        # An @ stands for the NUL byte of an abstract address.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.sendto(state.encode(), address)
        except OSError as error:
            log.warning("the service manager at %s cannot be told: %s", self._address, error)
