"""Tasks that do to their worker what a task should not do."""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import gc
import locale
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from understudy import checkpoint, receive, task


@task
def add(a: int, b: int) -> int:
    return a + b


@task
async def add_async(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@task
def echo() -> Any:
    """Return the first message, after a checkpoint and a log line."""
    message = receive()
    print("got", message)
    checkpoint(message)
    return message


@task
def rude(how: str) -> str:
    RUDE[how]()
    return how


@task
async def rude_async(how: str) -> str:
    RUDE[how]()
    return how


def closes_every_descriptor() -> None:
    os.closerange(3, 4096)


def closes_all_and_opens_its_own() -> None:
    """Our descriptor numbers belong to its files from now on, so our bytes must not stay in them for long."""
    os.closerange(3, 4096)
    for _ in range(64):
        os.open("/dev/null", os.O_RDWR)


def closes_the_standard_ones() -> None:
    for descriptor in range(3):
        with suppress(OSError):
            os.close(descriptor)


def closes_stdout() -> None:
    sys.stdout.close()
    sys.stderr.close()


def replaces_stdout() -> None:
    sys.stdout = sys.stderr = None  # type: ignore[assignment]


def shuts_its_socket_down() -> None:
    for descriptor in range(3, 64):
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as sock:
            sock.shutdown(socket.SHUT_RDWR)


def writes_into_its_socket() -> None:
    for descriptor in range(3, 64):
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as sock:
            sock.send(b"\xc1 not a frame")


def takes_all_descriptors() -> None:
    _kept.extend(_all_that_can_be_opened())


def _all_that_can_be_opened() -> list[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    opened = []
    with suppress(OSError):
        while True:
            opened.append(os.open("/dev/null", os.O_RDONLY))
    return opened


_kept: list[Any] = []


def stops_the_loop() -> None:
    """The event loop of all async tasks of its worker; a sync task has none."""
    with suppress(RuntimeError):
        asyncio.get_running_loop().stop()


def changes_its_folder() -> None:
    os.chdir("/")


def stands_in_a_folder_that_is_gone() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def changes_its_locale() -> None:
    locale.setlocale(locale.LC_ALL, "C.UTF-8")


def lets_nobody_read_its_files() -> None:
    os.umask(0o777)


def wipes_its_environment() -> None:
    os.environ.clear()


def handles_signals() -> None:
    """From C, as the main thread may; a task does not run on the main thread."""
    libc = ctypes.CDLL(None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
        libc.signal(int(number), 0 if number == signal.SIGPIPE else 1)


def blocks_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def leaves_threads() -> None:
    for _ in range(20):
        threading.Thread(target=time.sleep, args=(3600,)).start()


def leaves_a_thread_that_reports() -> None:
    def report() -> None:
        while True:
            with suppress(Exception):
                print("still here")
            time.sleep(0.02)

    threading.Thread(target=report, daemon=True).start()


def forks_and_goes_on() -> None:
    """The child returns from the task's code, as the task does."""
    os.fork()


def forks_many_that_stay() -> None:
    for _ in range(10):
        if os.fork() == 0:
            time.sleep(3600)


def ends_its_process() -> None:
    os._exit(0)


def exits() -> None:
    sys.exit(3)


def exits_from_a_thread() -> None:
    threading.Thread(target=os._exit, args=(4,)).start()
    time.sleep(3600)


def raises_what_is_no_exception() -> None:
    raise KeyboardInterrupt


def raises_a_generator_exit() -> None:
    raise GeneratorExit


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def raises_what_has_no_text() -> None:
    raise Unprintable


def raises_with_escapes() -> None:
    raise ValueError("\x1b[2J\x1b]0;owned\x07 \ud800 \0")


def recurses_for_ever() -> None:
    recurses_for_ever()


def turns_the_collector_off() -> None:
    gc.disable()
    gc.freeze()


def sets_limits() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def takes_all_memory_it_may() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    blocks = []
    while True:
        blocks.append(bytearray(64 << 20))


def leaves_the_session() -> None:
    with suppress(OSError):
        os.setsid()
        os.setpgid(0, 0)


def traces_everything() -> None:
    sys.settrace(lambda *_: None)
    threading.settrace(lambda *_: None)
    sys.setprofile(lambda *_: None)


def turns_logging_off() -> None:
    logging.disable(logging.CRITICAL)
    logging.getLogger().handlers.clear()
    logging.shutdown()


def asks_to_be_told_at_exit() -> None:
    atexit.register(time.sleep, 3600)


def switches_rarely() -> None:
    sys.setswitchinterval(10)


def stops_itself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    # The kernel gives the signal to another thread. This one runs on until it arrives there.
    threading.Event().wait()


def sets_an_alarm() -> None:
    signal.alarm(1)


RUDE: dict[str, Callable[[], None]] = {
    name: job
    for name, job in list(globals().items())
    if callable(job)
    and getattr(job, "__module__", None) == __name__
    and not name.startswith("_")
    and name not in {"add", "add_async", "echo", "rude", "rude_async", "Unprintable"}
}
