"""Signals to one thread of another process, and what such a thread does with them."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class SignalState:
    """What a thread does with one signal."""

    caught: bool
    """Whether it has a handler. A signal without one may end the process."""
    pending: bool
    """Whether it was sent and not yet handled."""
    blocked: bool
    """Whether it is held back; so it is while its handler runs."""


def signal_state(pid: int, tid: int, number: int) -> SignalState:
    """What a thread does with a signal. OSError if there is no such thread, or /proc does not tell."""
    masks = {"SigCgt": 0, "SigPnd": 0, "ShdPnd": 0, "SigBlk": 0}
    with open(f"/proc/{pid}/task/{tid}/status", "rb") as file:
        for line in file:
            name, _, value = line.decode(errors="replace").partition(":")
            if name in masks:
                masks[name] = int(value, 16)
    bit = 1 << (number - 1)
    return SignalState(
        caught=bool(masks["SigCgt"] & bit),
        pending=bool((masks["SigPnd"] | masks["ShdPnd"]) & bit),
        blocked=bool(masks["SigBlk"] & bit),
    )


def signal_thread(pid: int, tid: int, number: int) -> None:
    """Send a signal to a thread. ProcessLookupError if it is gone, or belongs to another process."""
    if _libc.tgkill(pid, tid, number):
        error = ctypes.get_errno()
        raise OSError(error, f"tgkill: {os.strerror(error)}")
