"""The home folder: its access rights, the lock of its one supervisor, and that supervisor's socket."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..actors.errors import HomeError, HomeInUse, NotRunning
from ..storage.file.disk import make_folder

#: Environment variable that names the home folder when the caller does not.
HOME_VARIABLE = "UNDERSTUDY_HOME"
#: Folder name used if that variable is not set either.
DEFAULT_HOME = ".understudy"

#: A folder that holds any of these files is a home already.
_OURS = {"supervisor.lock", "supervisor.sock", "store.mdb"}
#: Longest socket path that the kernel accepts, in bytes; sun_path has one more for the NUL.
_SUN_PATH = 107
#: Connections that may wait for accept; the kernel caps this at net.core.somaxconn.
_BACKLOG = 4096
#: Tries to take the lock, and seconds between them: `served` holds it for some microseconds.
_LOCK_TRIES, _LOCK_PAUSE = 5, 0.01


class Home:
    """One home folder. Creating the object touches nothing on disk."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        chosen = path or os.environ.get(HOME_VARIABLE) or DEFAULT_HOME
        self.path: Path = Path(os.path.abspath(os.path.expanduser(chosen)))
        self._lock: HomeLock | None = None

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    @property
    def socket_path(self) -> Path:
        return self.path / "supervisor.sock"

    @property
    def lock_path(self) -> Path:
        return self.path / "supervisor.lock"

    def create(self) -> None:
        """Make the folder if it does not exist, and give only our user access to it (mode 0700)."""
        self._check_name()
        try:
            make_folder(self.path, 0o700)
            found = os.stat(self.path)
        except OSError as error:
            raise self._refused("cannot be created", error) from error
        if not stat.S_ISDIR(found.st_mode):
            raise HomeError(f"{self.path} is not a folder; remove it or choose another home", str(self.path))
        if found.st_mode & 0o077:
            self._tighten(found)
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
            read_only = os.statvfs(self.path).f_flag & os.ST_RDONLY
            raise self._refused("cannot be written", OSError(errno.EROFS if read_only else errno.EACCES, ""))

    def _check_name(self) -> None:
        try:
            os.fspath(self.path).encode()
        except UnicodeEncodeError as error:
            # LMDB accepts only UTF-8 paths.
            shown = os.fsencode(self.path).decode(errors="backslashreplace")
            raise HomeError(
                f"the path of home {shown} is not UTF-8; choose another home", str(self.path)
            ) from error

    def _tighten(self, found: os.stat_result) -> None:
        if found.st_uid != os.geteuid():
            raise HomeError(
                f"{self.path} is open to others (mode {stat.S_IMODE(found.st_mode):04o}) and belongs to uid "
                f"{found.st_uid}, not to you: have its owner run `chmod 700` on it, or choose another home",
                str(self.path),
            )
        names = set(os.listdir(self.path))
        if names and not names & _OURS:
            # It may be the user's project, /tmp or /: making these private would do harm.
            raise HomeError(
                f"{self.path} is open to others and holds files that Understudy did not make; "
                "choose a folder of its own as home",
                str(self.path),
            )
        try:
            os.chmod(self.path, 0o700)
        except OSError as error:
            raise self._refused("is open to others and cannot be made private", error) from error

    def _refused(self, what: str, error: OSError) -> HomeError:
        why = {
            errno.EROFS: "its file system is read-only; choose another home",
            errno.EACCES: "you have no permission there; change its owner or choose another home",
            errno.EPERM: "you have no permission there; change its owner or choose another home",
            errno.ENOTDIR: "a part of its path is not a folder; choose another home",
            errno.EEXIST: "a part of its path is not a folder; choose another home",
            errno.ENOSPC: "no space is left on its disk; free some",
            errno.ENOENT: "it does not exist; start a supervisor there first",
        }.get(error.errno or 0, error.strerror or str(error))
        return HomeError(f"home {self.path} {what}: {why}", str(self.path))

    # -- The lock: at most one supervisor --------------------------------------------------------------------

    def lock(self) -> HomeLock:
        """Lock the home for this process. Raises HomeInUse if another supervisor has it.

        The kernel releases the lock when this process dies.
        """
        try:
            fd = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self._refused("cannot be locked", error) from error
        try:
            if not _flock(fd):
                pid = _pid_in(fd)
                raise HomeInUse(
                    f"home {self.path} is served by another supervisor (pid {pid or 'unknown'}); connect to that one, "
                    "stop it, or choose another home",
                    str(self.path),
                    pid,
                )
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n{time.time():.3f}\n".encode(), 0)
        except HomeInUse:
            os.close(fd)
            raise
        except OSError as error:
            os.close(fd)
            raise self._refused("cannot be locked", error) from error
        self._lock = HomeLock(fd)
        return self._lock

    def served(self) -> int | None:
        """Pid of the supervisor that serves this home now; None if none does, 0 if its pid is not known."""
        try:
            fd = os.open(self.lock_path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refused("cannot be read", error) from error
        try:
            # One try is enough; a longer one could disturb a starting supervisor.
            return None if _flock(fd, fcntl.LOCK_SH, tries=1) else _pid_in(fd)
        finally:
            os.close(fd)

    # -- The socket ------------------------------------------------------------------------------------------

    def listen(self) -> socket.socket:
        """A non-blocking listening socket, mode 0600.

        Needs the lock: only its holder may replace a stale socket.
        """
        if self._lock is None or self._lock.closed:
            raise HomeError(f"take the lock of {self.path} before listening in it", str(self.path))
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with suppress(FileNotFoundError):
                os.unlink(self.socket_path)
            # On Linux, bind takes the file's mode from the socket, so the file is never open to others.
            os.fchmod(sock.fileno(), 0o600)
            with self._address() as address:
                sock.bind(address)
            sock.listen(_BACKLOG)
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            raise self._refused("cannot hold the supervisor's socket", error) from error
        return sock

    def stop_listening(self) -> None:
        """Remove the socket's file if we hold the lock. Closing the socket does not remove it."""
        if self._lock is not None and not self._lock.closed:
            with suppress(OSError):  # The home is gone or read-only; a stale socket does no harm.
                os.unlink(self.socket_path)

    def connect(self, timeout: float = 5.0) -> socket.socket:
        """A blocking connection to the supervisor. Raises NotRunning if no process listens.

        Raises TimeoutError if its accept queue stays full for `timeout` seconds: it runs but does not answer.
        """
        deadline = time.monotonic() + timeout
        try:
            with ExitStack() as opened, self._address() as address:
                sock = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                sock.setblocking(False)
                while True:
                    try:
                        sock.connect(address)
                        break
                    except BlockingIOError:
                        # The backlog is full. No event tells when it empties, so poll.
                        if time.monotonic() > deadline:
                            raise TimeoutError(
                                f"the supervisor of {self.path} accepts no connection"
                            ) from None
                        time.sleep(0.01)
                sock.setblocking(True)
                opened.pop_all()
                return sock
        except TimeoutError:
            raise
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            raise NotRunning(
                f"no supervisor serves {self.path}; start one with `understudy serve APP`"
            ) from error
        except OSError as error:
            raise self._refused("cannot be reached", error) from error

    @contextmanager
    def _address(self) -> Iterator[bytes]:
        """The socket's path, shortened through /proc if it is too long for the kernel."""
        address = os.fsencode(self.socket_path)
        if len(address) <= _SUN_PATH:
            yield address
            return
        folder = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield b"/proc/self/fd/%d/%s" % (folder, os.fsencode(self.socket_path.name))
        finally:
            os.close(folder)


class HomeLock:
    """The lock of a home. This process holds it until `close` or its death; forked children do not."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        _held.add(self)

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def close(self) -> None:
        """Release the home. May be called twice."""
        if self._fd >= 0:
            with suppress(OSError):  # The text is only for people; the lock ends with the descriptor.
                os.ftruncate(self._fd, 0)
            self._drop()

    def _drop(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)

    def __enter__(self) -> HomeLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_held: weakref.WeakSet[HomeLock] = weakref.WeakSet()


def _drop_in_child() -> None:
    # A forked child shares the lock's open file; if it kept it, the home would stay locked after our death.
    for lock in list(_held):
        if not lock.closed:
            lock._drop()


os.register_at_fork(after_in_child=_drop_in_child)


def peer_uid_ok(sock: socket.socket) -> bool:
    """Whether the peer process runs as our user or as root."""
    credentials = struct.Struct("=iII")
    _pid, uid, _gid = credentials.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    )
    return uid in (os.geteuid(), 0)


def _flock(fd: int, kind: int = fcntl.LOCK_EX, tries: int = _LOCK_TRIES) -> bool:
    for left in reversed(range(tries)):
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if left:
                time.sleep(_LOCK_PAUSE)
    return False


def _pid_in(fd: int) -> int:
    """The pid that the lock's holder wrote; 0 if there is none."""
    try:
        return int(os.pread(fd, 64, 0).split()[0])
    except (ValueError, IndexError):
        return 0
