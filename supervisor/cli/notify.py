"""`Notifier`, for systemd's sd_notify(3): it sends datagrams to the socket that $NOTIFY_SOCKET names."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping
from typing import Final

log = logging.getLogger("understudy")

VARIABLE: Final = "NOTIFY_SOCKET"


class Notifier:
    """Tells the service manager the supervisor's state; does nothing without one. Never raises OSError."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Removes the variable from `environ`, so that no task can notify the service manager."""
        self._address = environ.pop(VARIABLE, "")

    def ready(self, status: str) -> None:
        """The supervisor serves."""
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={status}")

    def stopping(self, status: str) -> None:
        """The supervisor has begun to stop."""
        self._send(f"STOPPING=1\nSTATUS={status}")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        # A leading @ stands for the NUL byte of an abstract address.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.sendto(state.encode(), address)
        except OSError as error:
            log.warning("cannot notify the service manager at %s: %s", self._address, error)
