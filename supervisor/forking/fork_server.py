"""The fork server: a process that loads the app once and forks workers, each in some milliseconds.

The spawner runs it as `python -P ...` with one end of a packet socket. Messages from the supervisor:

    {"supervisor": pid, "app": AppSpec, "entry": "module:function", "name": text}     first, once
    {"spawn": n, "config": map} with 1 to 6 descriptors                              fork a worker
    {"declare": n, "modules": [name]}                                                import more modules

Messages to the supervisor:

    {"loaded": {task: options}, "declare": n or None, "trees": [tree], "code": digest, "protocol": version}
    {"failed": message, "traceback": text, "declare": n or None}
    {"spawned": n, "pid": pid}
    {"spawn_failed": n, "error": text}

A worker is a child of the supervisor, not of this process: this process forks a middleman, which forks the worker
and ends. The kernel then gives the orphan to the nearest subreaper, the supervisor. So the death of this process does
not affect workers, and the kernel tells the supervisor of a worker's death. When the supervisor closes the socket or
dies, this process kills the remaining processes of the home and ends.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from ...actors.attempt import output_capture
from ...actors.errors import AppFailed
from ..app import AppSpec, code_digest, declared_tasks, declared_trees, load_app, load_modules, user_traceback
from ..linux import exit_functions
from ..linux.processes import (
    COOKIE,
    become_subreaper,
    die_with_parent,
    flush_output,
    kill_strays,
    leave_signals_to_supervisor,
    outlive_parent,
    set_name,
    wait_for_end,
)
from ..linux.standard_streams import open_missing_streams
from ..testing.crash_points import Process, arm
from ..wire import packets
from ..wire.codec import VERSION

#: A worker's main function: takes the config and the descriptors, returns the exit code (None is 0).
Entry = Callable[[dict[str, Any], list[int]], int | None]

#: Exit codes (sysexits.h): the app cannot be loaded; an error of the runtime ended a worker.
EX_APP, EX_SOFTWARE = 65, 70
#: Seconds that the middleman may take to end.
HANDOVER = 10.0


def main(fd: int) -> NoReturn:
    """Serve until the other end of `fd` closes."""
    open_missing_streams()
    leave_signals_to_supervisor()
    os.set_inheritable(fd, False)
    arm(Process.FORK_SERVER)
    # Before the import of the app, which may keep the streams.
    output_capture.stand_in()
    for name in ("stdout", "stderr"):
        setattr(sys, f"__{name}__", getattr(sys, name))
    with socket.socket(fileno=fd) as sock:
        code = ForkServer(sock).run()
    if code == 0:
        exit_functions.run(exit_functions.FORK_SERVER_LIMIT, code)
    flush_output()
    # Not sys.exit: threads of the app must not delay the end.
    os._exit(code)


class ForkServer:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._supervisor = 0
        self._entry: Entry = _no_entry
        self._app = AppSpec()
        self._name = "understudy"

    def run(self) -> int:
        """Load the app and serve requests until the socket closes; returns the exit code."""
        inlet = packets.Inlet(self._sock)
        first = inlet.receive()
        if first is None:
            return 0
        hello, _ = first
        self._supervisor = hello["supervisor"]
        self._name = hello["name"]
        # An import may hang, and would not notice the death of the supervisor.
        die_with_parent(self._supervisor)
        set_name(f"{self._name}: fork server")
        if not self._import(lambda: self._load(hello), None):
            return EX_APP
        outlive_parent()
        while (request := inlet.receive()) is not None:
            self._answer(*request)
        kill_strays(os.environ[COOKIE])
        return 0

    # -- Loading ---------------------------------------------------------------------------------------------

    def _load(self, hello: dict[str, Any]) -> None:
        module, _, attribute = hello["entry"].partition(":")
        self._entry = getattr(importlib.import_module(module), attribute)
        self._app = AppSpec.unpack(hello["app"])
        load_app(self._app)

    def _import(self, load: Callable[[], None], request: int | None) -> bool:
        """Import modules and report the new tasks, or why it failed."""
        before = set(declared_tasks())
        try:
            load()
            news = {name: options for name, options in declared_tasks().items() if name not in before}
            trees = declared_trees(self._app) if request is None else []
            code = code_digest() if request is None else ""
        except Exception as error:  # noqa: BLE001 - every error is reported to the supervisor
            if isinstance(error, AppFailed):
                message, trace = str(error.args[0]), error.remote_traceback
            else:
                message, trace = f"the fork server failed: {error!r}", user_traceback(error)
            self._send({"failed": message, "traceback": trace, "declare": request})
            return False
        self._send({"loaded": news, "declare": request, "trees": trees, "code": code, "protocol": VERSION})
        _settle()
        return True

    def _send(self, message: dict[str, Any]) -> None:
        # If the supervisor is gone, the next receive returns None.
        with suppress(BrokenPipeError, ConnectionResetError):
            packets.send(self._sock, message)

    # -- Forking ---------------------------------------------------------------------------------------------

    def _answer(self, request: dict[str, Any], fds: list[int]) -> None:
        if "spawn" in request:
            self._spawn(request["spawn"], request["config"], fds)
        elif "declare" in request:
            self._import(lambda: load_modules(request["modules"]), request["declare"])
        for fd in fds:
            os.close(fd)

    def _spawn(self, request: int, config: dict[str, Any], fds: list[int]) -> None:
        flush_output()  # Otherwise every worker would print the buffered text again.
        ends: tuple[int, ...] = ()
        try:
            reader, writer = ends = os.pipe()
            middleman = _fork()
        except OSError as error:
            for end in ends:
                os.close(end)
            self._send({"spawn_failed": request, "error": f"fork: {error.strerror}"})
            return
        if middleman == 0:
            self._be_middleman(writer, (reader, writer, self._sock.detach()), config, fds)
        os.close(writer)
        said = os.read(reader, 1024)
        os.close(reader)
        with suppress(ChildProcessError):  # The app ignores SIGCHLD, so the kernel has reaped it.
            os.waitpid(middleman, 0)
        if said.isdigit():
            self._send({"spawned": request, "pid": int(said)})
        else:
            error_text = said.decode(errors="replace") or "the middleman between fork server and worker died"
            self._send({"spawn_failed": request, "error": error_text})

    def _be_middleman(
        self, writer: int, ours: Sequence[int], config: dict[str, Any], fds: list[int]
    ) -> NoReturn:
        try:
            me = os.getpid()
            worker = _fork()
            if worker == 0:
                # Close only our own descriptors. The app still writes to files that it opened during the
                # import (a log, say); if closed, it would write into the next file with that number.
                for fd in ours:
                    os.close(fd)
                self._be_worker(me, config, fds)
            os.write(writer, b"%d" % worker)
        except OSError as error:
            os.write(writer, f"fork: {error.strerror}".encode())
        finally:
            os._exit(0)

    def _be_worker(self, middleman: int, config: dict[str, Any], fds: list[int]) -> NoReturn:
        code = EX_SOFTWARE
        try:
            _await_adoption(middleman, self._supervisor)
            die_with_parent(self._supervisor)
            os.setsid()  # A task that signals its process group must not hit other workers.
            become_subreaper()
            set_name(f"{self._name}: worker")
            _reset_signals()
            _reseed()
            exit_functions.disown()
            # What is read at the import of the app has been read. What a library reads when it is first used is not.
            os.environ.update(config.get("env", {}))
            code = self._entry(config, fds) or 0
            if code == 0:
                exit_functions.run(exit_functions.WORKER_LIMIT, code)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:  # noqa: BLE001 - the outermost frame of the process
            traceback.print_exc()
        finally:
            flush_output()
            os._exit(code)


def _no_entry(_config: dict[str, Any], _fds: list[int]) -> int:
    raise RuntimeError("no entry point was loaded")


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 also warns of native threads (OpenBLAS has some); we warn of Python's threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _settle() -> None:
    _warn_of_threads()
    # Keeps each worker's garbage collector from touching, and thereby copying, the shared pages.
    gc.collect()
    gc.freeze()


def _warn_of_threads() -> None:
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if names:
        print(
            f"understudy: warning: the app left threads running when it was imported ({', '.join(names)}); workers are "
            "forked without them, and a lock that one holds at that moment stays locked. Start them inside tasks.",
            file=sys.stderr,
            flush=True,
        )


def _await_adoption(middleman: int, supervisor: int) -> None:
    """Wait until the middleman ends; exit if the supervisor is not our parent then."""
    if os.getppid() == middleman:
        wait_for_end(middleman, HANDOVER)
    if os.getppid() != supervisor:
        os._exit(EX_SOFTWARE)


def _reset_signals() -> None:
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _reseed() -> None:
    # Python's `random` reseeds itself after a fork; numpy's global generator does not.
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
