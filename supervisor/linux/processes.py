"""Linux processes: who dies with whom, whole trees at once, and how one ended.

Three nets catch what a task may have started, each for what slips through the one before:

1. the tree: a worker is a subreaper, so that even its daemonised grandchildren stay below it;
2. the supervisor is a subreaper too, and inherits what a dead worker left behind;
3. the cookie: an environment variable that every descendant inherits through fork and exec, so that what is
   left of a dead supervisor's home can be found by reading /proc.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psutil

#: Name of the environment variable by which the processes of one home are known.
COOKIE = "UNDERSTUDY_COOKIE"

#: Seconds that `kill_tree` waits, after it last found a new process, for all of them to have stopped.
SETTLE = 0.05
#: Seconds after which it kills what it has found, stopped or not.
STOP_LIMIT = 2.0

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Not every kernel has it (CONFIG_PROC_CHILDREN, gVisor).
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

    A parent that is gone already counts: the signal is then sent at once. The kernel means the parent's
    *thread* that forked (or adopted) us, so that thread must live as long as the parent does. Not inherited
    by children.
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
    # The kernel shows the memory that held argv; Python has long copied it. The last byte must stay NUL,
    # or the kernel takes the environment behind it as part of the command line.
    with suppress(OSError, ValueError, IndexError):
        fields = _stat(os.getpid())
        start, end = int(fields[45]), int(fields[46])
        if 0 < end - start < 1 << 20:
            ctypes.memmove(start, text[: end - start - 1].ljust(end - start, b"\0"), end - start)


# -- Open files -------------------------------------------------------------------------------------------------

#: The limits that this process was started with.
_OPEN_FILES_AT_FIRST = resource.getrlimit(resource.RLIMIT_NOFILE)


def allow_open_files() -> int:
    """Raise this process's limit of open files as far as it may; returns it. Each client and worker takes some."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def usual_open_files(pid: int) -> None:
    """Give a child the limit that this process had at first: programs with `select` or old libraries count on it."""
    if resource.getrlimit(resource.RLIMIT_NOFILE) != _OPEN_FILES_AT_FIRST:
        with suppress(OSError, ValueError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, _OPEN_FILES_AT_FIRST)


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/<pid>/stat from the state on, which proc(5) counts as field 3."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


# -- How a process ended ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended: an exit code, or a signal; neither if somebody else reaped it."""

    code: int | None = None
    signal: int | None = None

    @classmethod
    def of_returncode(cls, returncode: int) -> ExitStatus:
        """From Python's convention, -N for death by signal N."""
        return cls(signal=-returncode) if returncode < 0 else cls(code=returncode)

    @property
    def returncode(self) -> int:
        """Python's convention; an unknown end counts as 255."""
        if self.signal is not None:
            return -self.signal
        return 255 if self.code is None else self.code

    @property
    def ok(self) -> bool:
        return self.code == 0

    def __str__(self) -> str:
        return describe_exit(self)


def describe_exit(status: ExitStatus | int) -> str:
    """For people: "exit code 3", "SIGSEGV", "signal 40". An int is a return code as subprocess gives it."""
    if isinstance(status, int):
        status = ExitStatus.of_returncode(status)
    if status.signal is not None:
        try:
            return signal.Signals(status.signal).name
        except ValueError:  # Real-time signals have no name.
            return f"signal {status.signal}"
    return "unknown exit status" if status.code is None else f"exit code {status.code}"


# -- Trees ------------------------------------------------------------------------------------------------------


def children_of(pid: int) -> list[int]:
    """Pids of the direct children, zombies included; empty if the process is gone.

    A process that forks meanwhile may have more than this by now.
    """
    if not _HAS_CHILDREN_FILE:
        try:
            return [child.pid for child in psutil.Process(pid).children()]
        except psutil.Error:
            return []
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
            found += map(int, file.read().split())
    return found


def has_ended(pid: int) -> bool:
    """True if the process is gone, or a zombie: its parent need only reap it."""
    try:
        return _stat(pid)[0] in b"ZXx"
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
    """Resident bytes of a process and its descendants. Pages that they share count once for each."""
    total = 0
    for member in tree_of([pid]):
        with suppress(OSError), open(f"/proc/{member}/statm", "rb") as file:
            total += int(file.read().split()[1]) * _PAGE
    return total


def kill_tree(pid: int) -> list[int]:
    """SIGKILL a process and all its descendants; returns the pids it sent that to, `pid` first.

    Everything is stopped before anything is killed, since a child whose parent dies first moves elsewhere in the
    tree, and a process that still runs may fork. Returns when the signals are sent, in a few milliseconds
    (2 s at the utmost); reaping is the parents' work. Never signals this process itself. What belongs to
    another user and may not be signalled is left.
    """
    return kill_trees([pid])


def kill_trees(pids: Collection[int]) -> list[int]:
    """As `kill_tree`, for several at once, which takes hardly longer than for one."""
    for pid in pids:
        if pid <= 1:
            raise ValueError(f"refusing to kill the tree of pid {pid}")
    return _stop_and_kill(lambda: list(pids), spare=())


def _stop_and_kill(roots: Callable[[], list[int]], spare: Collection[int]) -> list[int]:
    spared = {*spare, os.getpid(), 0, 1}
    stopped: dict[int, None] = {}
    begin = last_news = time.monotonic()
    while True:
        # A stop is not instantaneous, a thread on another core may be inside fork: so the last look is one taken
        # after all were seen at rest. Some never rest (a parent in vfork whose child we stopped, a disk wait).
        settled = all(map(_rests, stopped)) or time.monotonic() - last_news > SETTLE
        # Those stopped are roots too: they stay known when their parent has died meanwhile.
        news = [pid for pid in tree_of([*roots(), *stopped]) if pid not in stopped and pid not in spared]
        for pid in news:
            if _signal(pid, signal.SIGSTOP):
                stopped[pid] = None
            else:
                spared.add(pid)
        if news:
            last_news = time.monotonic()
        elif settled:
            break
        else:
            time.sleep(0.001)
        if time.monotonic() - begin > STOP_LIMIT:
            break
    return [pid for pid in stopped if _signal(pid, signal.SIGKILL)]


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _rests(pid: int) -> bool:
    """True if the process cannot fork now: stopped, traced, dead or gone."""
    try:
        return _stat(pid)[0] in b"TtZXx"
    except (OSError, IndexError):
        return True


# -- Strays -----------------------------------------------------------------------------------------------------


def strays(cookie: str, exclude: Collection[int] = ()) -> list[int]:
    """Pids of living processes that carry this cookie in their environment, without `exclude` and ourselves.

    Sees what this user may read. A process in the middle of exec has no environment for a moment: to be sure,
    look twice. One that was started with a wiped environment (`env -i`) is not seen.
    """
    skip = {*exclude, os.getpid()}
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return [pid for pid in pids if pid not in skip and carries(pid, cookie)]


def carries(pid: int, cookie: str) -> bool:
    """Whether a process has this cookie in its environment, as far as we may see."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{COOKIE}={cookie}".encode() in file.read().split(b"\0")
    except OSError:
        return False


def kill_strays(cookie: str, exclude: Collection[int] = (), timeout: float = 5.0) -> list[int]:
    """SIGKILL every stray and its descendants, and wait until they are gone; returns the pids killed.

    Gives up after `timeout` seconds on what cannot die (a process in a disk wait): `strays` then still lists it.
    """
    deadline = time.monotonic() + timeout
    killed: dict[int, None] = {}
    clean = 0
    while clean < 2 and time.monotonic() < deadline:
        if not strays(cookie, exclude):
            clean += 1
            continue
        clean = 0
        found = _stop_and_kill(lambda: strays(cookie, exclude), exclude)
        killed.update(dict.fromkeys(found))
        for pid in found:
            _await_end(pid, deadline)
    return list(killed)


def _await_end(pid: int, deadline: float) -> None:
    try:
        fd = os.pidfd_open(pid)
    except OSError:  # Gone. Or out of descriptors: then the next scan is the wait.
        return
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
    finally:
        os.close(fd)


#: Objects made and not let go of after which cycles are looked for.
GARBAGE: Final = 500_000


def tune_garbage_collection() -> None:
    """For a process that holds many long-lived objects and makes few cycles: collect rarely.

    With Python's defaults a supervisor under load spends a tenth of its time looking for cycles that are not there.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 1000)
