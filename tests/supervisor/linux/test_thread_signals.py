"""Signals to single threads of another process."""

from __future__ import annotations

import os
import signal

import pytest

from puppets import end, program, said
from understudy.supervisor.linux.thread_signals import SignalState, signal_state, signal_thread
from waiting import until

CODE = """
import os, signal, threading
got = []
signal.signal(signal.SIGUSR1, lambda *_: print(["got", threading.get_native_id()], flush=True))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
signal.signal(signal.SIGUSR2, lambda *_: None)
print([os.getpid(), threading.get_native_id()], flush=True)
while True:
    signal.pause()
"""


def test_what_a_thread_does_with_a_signal_and_sending_one():
    process = program(CODE)
    try:
        pid, tid = said(process)
        assert signal_state(pid, tid, signal.SIGUSR1) == SignalState(
            caught=True, pending=False, blocked=False
        )
        assert signal_state(pid, tid, signal.SIGTERM) == SignalState(
            caught=False, pending=False, blocked=False
        )
        signal_thread(pid, tid, signal.SIGUSR1)
        assert said(process) == ["got", tid]
        signal_thread(pid, tid, signal.SIGUSR2)
        held = SignalState(caught=True, pending=True, blocked=True)
        until(lambda: signal_state(pid, tid, signal.SIGUSR2) == held)
        with pytest.raises(ProcessLookupError):
            signal_thread(os.getpid(), tid, signal.SIGUSR1)
    finally:
        end(process)
    with pytest.raises(OSError, match=r"."):
        signal_state(pid, tid, signal.SIGUSR1)
    with pytest.raises(ProcessLookupError):
        signal_thread(pid, tid, signal.SIGUSR1)
