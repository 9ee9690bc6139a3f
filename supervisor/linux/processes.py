"""Linux processes: death with the parent, killing whole trees, exit status, and finding strays.

The processes that a task started are found in three ways, each for those that the one before misses:

1. The tree: a worker is a subreaper, so its daemonised grandchildren stay below it.
2. The supervisor is a subreaper too, so it becomes the parent of the processes that a dead worker left.
3. The cookie: an environment variable that every descendant inherits through fork and exec. The processes that a
   dead supervisor left are found by it in /proc.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

#: Name of the environment variable that marks the processes of one home.
COOKIE = "UNDERSTUDY_COOKIE"

#: Seconds that `kill_tree` waits for all processes to stop, counted from the last new process it found.
SETTLE = 0.05
#: Seconds after which it kills the processes found, stopped or not.
STOP_LIMIT = 2.0

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
#: Some kernels lack this file (CONFIG_PROC_CHILDREN, gVisor).
_HAS_CHILDREN_FILE = os.path.exists("/proc/thread-self/children")


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(argument), *(ctypes.c_ulong(0),) * 3):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def become_subreaper() -> None:
    """From now on, orphaned descendants of this process become its children instead of init's."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent_pid: int, signal_number: int = signal.SIGKILL) -> None:
    """Have the kernel send `signal_number` to this process when its parent, `parent_pid`, dies.

    If the parent is gone already, the signal is sent at once. The kernel watches the *thread* of the parent that
    forked (or adopted) us, so that thread must live as long as the parent. Children do not inherit the setting.
    """
    _prctl(_PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal_number)


def outlive_parent() -> None:
    """Undo `die_with_parent`."""
    _prctl(_PR_SET_PDEATHSIG, 0)


def set_name(name: str) -> None:
    """Show `name` in ps and top: 15 bytes of it as the command, as much as fits as the command line."""
    text = name.encode(errors="replace").replace(b"\0", b"")
    buffer = ctypes.create_string_buffer(text[:15])
    _prctl(_PR_SET_NAME, ctypes.addressof(buffer))
    # The kernel shows the memory that held argv; Python has a copy. The last byte must stay NUL, or the
    # kernel takes the environment after it for part of the command line.
    with suppress(OSError, ValueError, IndexError):
        fields = _stat(os.getpid())
        start, end = int(fields[45]), int(fields[46])
        if 0 < end - start < 1 << 20:
            ctypes.memmove(start, text[: end - start - 1].ljust(end - start, b"\0"), end - start)


# -- Open files -------------------------------------------------------------------------------------------------

#: This process's limits at its start.
_OPEN_FILES_AT_FIRST = resource.getrlimit(resource.RLIMIT_NOFILE)


def allow_open_files() -> int:
    """Raise this process's limit of open files to the hard limit; returns it.

    Each client and worker needs some.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def usual_open_files(pid: int) -> None:
    """Give a child this process's original limit: programs with `select` and old libraries rely on it."""
    if resource.getrlimit(resource.RLIMIT_NOFILE) != _OPEN_FILES_AT_FIRST:
        with suppress(OSError, ValueError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, _OPEN_FILES_AT_FIRST)


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/<pid>/stat from the state on (field 3 in proc(5))."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


# -- How a process ended ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended: an exit code or a signal; neither if another part of the program reaped it."""

    code: int | None = None
    signal: int | None = None

    @property
    def returncode(self) -> int:
        """Python's convention; 255 if the status is unknown."""
        if self.signal is not None:
            return -self.signal
        return 255 if self.code is None else self.code

    def __str__(self) -> str:
        """For people: "exit code 3", "SIGSEGV", "signal 40"."""
        if self.signal is not None:
            try:
                return signal.Signals(self.signal).name
            except ValueError:  # Real-time signals have no name.
                return f"signal {self.signal}"
        return "unknown exit status" if self.code is None else f"exit code {self.code}"


# -- Trees ------------------------------------------------------------------------------------------------------


def children_of(pid: int) -> list[int]:
    """Pids of the direct children, zombies included; empty if the process is gone.

    A process that forks meanwhile may have more children by now.
    """
    return [child for children in children_by_thread(pid).values() for child in children]


def children_by_thread(pid: int) -> dict[int, list[int]]:
    """As `children_of`, by the kernel's id of the thread that has each child; 0 if the kernel does not tell.

    That is the thread that made it. The children of a thread that has ended, and orphans that a subreaper inherits,
    go to the main thread, whose id is the pid.
    """
    if not _HAS_CHILDREN_FILE:
        # Imported here, because few kernels need it, and every process would take 10 ms longer to start.
        import psutil

        try:
            return {0: [child.pid for child in psutil.Process(pid).children()]}
        except psutil.Error:
            return {}
    found: dict[int, list[int]] = {}
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
            children = file.read().split()
            if children:
                found[int(thread)] = [*map(int, children)]
    return found


def is_zombie(pid: int) -> bool:
    """Whether the process has ended and its parent has not waited for it."""
    try:
        return _stat(pid)[0] == b"Z"
    except (OSError, IndexError):
        return False


def started_at(pid: int) -> float:
    """When the process began, in seconds since the epoch, to a hundredth of a second. OSError if it is gone."""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(_stat(pid)[19]) / _TICKS
    return time.time() - age


def has_ended(pid: int) -> bool:
    """True if the process is gone or a zombie that only has to be reaped."""
    return _is_in(pid, b"ZXx")


def _is_in(pid: int, states: bytes) -> bool:
    """Whether the process is in one of these states, or gone."""
    try:
        return _stat(pid)[0] in states
    except (OSError, IndexError):
        return True


def tree_of(pids: Iterable[int]) -> list[int]:
    """The pids and all their descendants, parents first."""
    found = dict.fromkeys(pids)
    queue = list(found)
    for pid in queue:
        for child in children_of(pid):
            if child not in found:
                found[child] = None
                queue.append(child)
    return queue


def rss_of_tree(pid: int) -> int:
    """Resident bytes of a process and its descendants. Shared pages count once for each process."""
    total = 0
    for member in tree_of([pid]):
        with suppress(OSError, IndexError), open(f"/proc/{member}/statm", "rb") as file:
            total += int(file.read().split()[1]) * _PAGE
    return total


def hold(pid: int) -> int:
    """A pidfd: while it is open, signals go to this process or to none. The caller knows that the pid is the right one.

    Raises OSError: ProcessLookupError if there is no such process, others if no descriptor is left.
    """
    return os.pidfd_open(pid)


def kill_tree(pid: int, pidfd: int | None = None) -> list[int]:
    """SIGKILL a process and all its descendants; returns the pids signalled, `pid` first.

    All processes are stopped before the first is killed: a child whose parent dies moves elsewhere in the tree,
    and a running process may fork. Returns when the signals are sent, in a few milliseconds (at most 2 s). The
    parents do the reaping. This process is never signalled; processes of other users that refuse signals are left.

    Without the `pidfd`, the process must not be reaped meanwhile: its pid could be another process's by then.
    """
    return kill_trees({pid: pidfd})


def kill_trees(pids: Mapping[int, int | None]) -> list[int]:
    """`kill_tree` for several processes, each with its pidfd; takes hardly longer than for one."""
    for pid in pids:
        if pid <= 1:
            raise ValueError(f"refusing to kill the tree of pid {pid}")
    return _stop_and_kill(lambda: pids, lambda _: True)


def _stop_and_kill(
    roots: Callable[[], Mapping[int, int | None]], is_root: Callable[[int], bool]
) -> list[int]:
    """Stop and kill the trees of these roots. `is_root` tells whether a root that was held is still the right one."""
    spared = {os.getpid(), 0, 1}
    held = _Held(is_root, os.getpid() in roots())
    begin = last_news = time.monotonic()
    try:
        while True:
            # A stop takes time: a thread on another core may be inside fork. So the last scan must come after all
            # were seen at rest. Some never rest (a parent in vfork whose child we stopped, a disk wait).
            settled = all(map(_rests, held.stopped)) or time.monotonic() - last_news > SETTLE
            # Stopped processes are roots too, so that they are found even if their parent has died meanwhile.
            found = roots()
            news = False
            for pid in tree_of([*found, *held.stopped]):
                if pid not in spared and pid not in held.pidfds:
                    news = held.stop(pid, found.get(pid), root=pid in found) or news
            if news:
                last_news = time.monotonic()
            elif settled:
                break
            else:
                time.sleep(0.001)
            if time.monotonic() - begin > STOP_LIMIT:
                break
        return held.kill()
    finally:
        held.close()


class _Held:
    """Processes that are about to be killed. Each is held by a pidfd, so that no other process gets its signals."""

    def __init__(self, is_root: Callable[[int], bool], with_own: bool) -> None:
        """`with_own`: whether children of this process belong to the tree."""
        self._is_root = is_root
        self._with_own = with_own
        #: pidfds by pid; None where no descriptor was left, for a process that is stopped and so does not end.
        self.pidfds: dict[int, int | None] = {}
        self.stopped: list[int] = []
        self._own: list[int] = []

    def stop(self, pid: int, pidfd: int | None, *, root: bool) -> bool:
        """Stop a process that was found in the tree; whether it still belongs to it, and was stopped."""
        if pidfd is None:
            try:
                pidfd = hold(pid)
            except ProcessLookupError:
                return False
            except OSError:
                pass  # no descriptor is left
            # The pid may have been another process's before it was held.
            if not (self._is_root(pid) if root else self._is_child(pid)):
                if pidfd is not None:
                    os.close(pidfd)
                return False
            if pidfd is not None:
                self._own.append(pidfd)
        elif not _signal(pid, pidfd, 0):
            return False
        self.pidfds[pid] = pidfd
        if _signal(pid, pidfd, signal.SIGSTOP):
            self.stopped.append(pid)
            return True
        return False

    def _is_child(self, pid: int) -> bool:
        """Whether its parent is a process that is held, and has not been reaped, or this one if it is a root."""
        try:
            parent = int(_stat(pid)[1])
        except (OSError, IndexError):
            return False
        if parent == os.getpid():
            return self._with_own
        return parent in self.pidfds and _exists(self.pidfds[parent])

    def kill(self) -> list[int]:
        """Kill the stopped processes; returns those that were there."""
        return [pid for pid in self.stopped if _signal(pid, self.pidfds[pid], signal.SIGKILL)]

    def close(self) -> None:
        for pidfd in self._own:
            os.close(pidfd)


def _signal(pid: int, pidfd: int | None, number: int) -> bool:
    try:
        if pidfd is None:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(pidfd, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _exists(pidfd: int | None) -> bool:
    try:
        if pidfd is not None:
            signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _rests(pid: int) -> bool:
    """True if the process cannot fork now: stopped, traced, dead or gone."""
    return _is_in(pid, b"TtZXx")


# -- Strays -----------------------------------------------------------------------------------------------------


def strays(cookie: str) -> list[int]:
    """Pids of living processes with this cookie in their environment, except this process.

    Finds only processes whose environment this user may read. A process in the middle of exec briefly has no
    environment, so scan twice to be sure. A process with a cleared environment (`env -i`) is not found.
    """
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return [pid for pid in pids if pid != os.getpid() and carries(pid, cookie)]


def carries(pid: int, cookie: str) -> bool:
    """Whether a process has this cookie in its environment; False if we may not read it."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{COOKIE}={cookie}".encode() in file.read().split(b"\0")
    except OSError:
        return False


def kill_strays(cookie: str, timeout: float = 5.0) -> list[int]:
    """SIGKILL every stray and its descendants, and wait until they are gone; returns the pids killed.

    Gives up after `timeout` seconds on a process that cannot die (one in a disk wait): `strays` still lists it.
    """
    deadline = time.monotonic() + timeout
    killed: dict[int, None] = {}
    clean = 0
    while clean < 2 and time.monotonic() < deadline:
        if not strays(cookie):
            clean += 1
            continue
        clean = 0
        found = _stop_and_kill(lambda: dict.fromkeys(strays(cookie)), lambda pid: carries(pid, cookie))
        killed.update(dict.fromkeys(found))
        for pid in found:
            # If no descriptor is left, the next scan takes the place of the wait.
            with suppress(OSError):
                wait_for_end(pid, max(0.0, deadline - time.monotonic()))
    return list(killed)


def wait_for_end(pid: int, timeout: float | None) -> bool:
    """Wait for the end of a process; False after `timeout` seconds. OSError if no descriptor is left."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return ends_within(fd, timeout)
    finally:
        os.close(fd)


def ends_within(pidfd: int, timeout: float | None) -> bool:
    """As `wait_for_end`, for the process of this pidfd."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


#: Signals sent to a whole process group (Ctrl-C, systemd's stop); the supervisor decides when its processes end.
LEFT_TO_SUPERVISOR: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def leave_signals_to_supervisor() -> None:
    """Let this process not react to them. They are not ignored: programs that a task starts would inherit that."""
    for number in LEFT_TO_SUPERVISOR:
        signal.signal(number, lambda _number, _frame: None)


def flush_output() -> None:
    """Flush stdout and stderr, as far as they are open."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()


#: New objects, less those freed, after which the garbage collector runs.
GARBAGE: Final = 500_000


def tune_garbage_collection() -> None:
    """Collect rarely, for a process with many long-lived objects and few cycles.

    With Python's defaults a supervisor under load spends a tenth of its time in searches that find no cycle.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 1000)
