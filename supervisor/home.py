"""The home folder: its access rights, the lock of its one supervisor, and that supervisor's socket.

The lock is on the folder itself (flock), which cannot be removed without the store. systemd-tmpfiles leaves a folder
alone that is locked so. The lock file says who holds the lock, and is locked as well.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import socket
import stat
import struct
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..actors.errors import HomeError, HomeInUse, InvalidOption, NotRunning
from ..storage.file.disk import make_folder, open_in_home, share, share_tree

#: Environment variable that names the home folder when the caller does not.
HOME_VARIABLE = "UNDERSTUDY_HOME"
#: Folder name used if that variable is not set either.
DEFAULT_HOME = ".understudy"

#: A folder that holds any of these files is a home already.
_OURS = {"supervisor.lock", "supervisor.sock", "store.mdb", "store.voucher"}
#: The folder in a home that holds outputs of containers.
BOXES: Final = "boxes"
#: The one that holds a folder for each task that has called `task_dir`.
FILES: Final = "files"
#: Longest socket path that the kernel accepts, in bytes; sun_path has one more for the NUL.
_SUN_PATH = 107
#: Connections that may wait for accept; the kernel caps this at net.core.somaxconn.
_BACKLOG = 4096
#: Tries to take the lock, and seconds between them: `served` holds it for some microseconds.
_LOCK_TRIES, _LOCK_PAUSE = 5, 0.01
#: Folders that are emptied at boot, at logout or of old files.
SWEPT: Final = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/var/run")  # noqa: S108 - to warn of them
#: socket.SO_PEERGROUPS, which Python does not name: the supplementary groups of the peer.
_PEER_GROUPS: Final = 59
#: The number that means no user and no group to the kernel; all others are below it.
_NO_ID: Final = 2**32 - 1


@dataclass(frozen=True)
class Server:
    """The supervisor that serves a home."""

    pid: int
    """Its pid in its PID namespace; 0 if it is not known."""
    visible: bool
    """Whether this process is in the same PID namespace, so that the pid means the same here."""
    text: str
    """What it wrote into the lock file; another supervisor writes another text."""

    def __str__(self) -> str:
        elsewhere = " in another PID namespace, as of a container" if self.pid and not self.visible else ""
        return f"pid {self.pid or 'unknown'}{elsewhere}"


class Home:
    """One home folder. Creating the object touches nothing on disk."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        chosen = path or os.environ.get(HOME_VARIABLE) or DEFAULT_HOME
        self.path: Path = Path(os.path.abspath(os.path.expanduser(chosen)))
        self._lock: HomeLock | None = None
        self._socket: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    @property
    def socket_path(self) -> Path:
        return self.path / "supervisor.sock"

    @property
    def lock_path(self) -> Path:
        return self.path / "supervisor.lock"

    def checked(self) -> Home:
        """This home. Raises HomeError if its path, or a part of it, is something other than a folder."""
        for path in (self.path, *self.path.parents):
            try:
                found = os.stat(path)
            except OSError:
                continue
            if not stat.S_ISDIR(found.st_mode):
                raise HomeError(
                    f"home {self.path} cannot be used: {path} is not a folder; choose another home",
                    str(self.path),
                )
            break
        return self

    def create(self, group: str | None = None) -> None:
        """Make the folder if it does not exist, and give only our user access to it (mode 0700).

        With a `group`, its members get access as well (mode 0770). Files that lie there follow.
        """
        self._check_name()
        self.checked()
        gid = group_id(group) if group else None
        try:
            make_folder(self.path, 0o700)
            found = os.stat(self.path)
        except FileNotFoundError as error:
            # The folder above is there: this file system does not let folders be made.
            raise HomeError(
                f"home {self.path} cannot be created: no folder can be made in {self.path.parent}; choose another home",
                str(self.path),
            ) from error
        except OSError as error:
            raise self._refused("cannot be created", error) from error
        if gid is not None:
            if found.st_gid != gid or found.st_mode & 0o077 != 0o070:
                self._set_access(found, 0o770, gid)
        elif found.st_mode & 0o077:
            self._set_access(found, 0o700)
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
            read_only = os.statvfs(self.path).f_flag & os.ST_RDONLY
            raise self._refused("cannot be written", OSError(errno.EROFS if read_only else errno.EACCES, ""))

    @property
    def swept(self) -> str | None:
        """The folder above the home that is emptied at boot or of old files, if there is one."""
        own = os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("TMPDIR")
        for folder in (*SWEPT, *filter(None, own)):
            if Path(os.path.realpath(folder)) in Path(os.path.realpath(self.path)).parents:
                return folder
        return None

    def _check_name(self) -> None:
        try:
            os.fspath(self.path).encode()
        except UnicodeEncodeError as error:
            # LMDB accepts only UTF-8 paths.
            shown = os.fsencode(self.path).decode(errors="backslashreplace")
            raise HomeError(
                f"the path of home {shown} is not UTF-8; choose another home", str(self.path)
            ) from error

    def _set_access(self, found: os.stat_result, mode: int, gid: int = -1) -> None:
        """Change who may use the folder, and the files in it."""
        there = f"mode {stat.S_IMODE(found.st_mode):04o}"
        if os.geteuid() not in (found.st_uid, 0):
            said = (
                f"is open to others ({there}) and belongs to uid {found.st_uid}, not to you: have its owner run "
                "`chmod 700` on it, name its group (`--group`), or choose another home"
                if gid < 0
                else f"is not shared with this group ({there}, gid {found.st_gid}) and belongs to uid {found.st_uid}, "
                "not to you: have its owner serve it with this group first, or choose another home"
            )
            raise HomeError(f"{self.path} {said}", str(self.path))
        names = set(os.listdir(self.path))
        if names and not names & _OURS:
            # It may be the user's project, /tmp or /: changing who may use these would do harm.
            why = "is open to others" if gid < 0 else "is to be shared with a group"
            raise HomeError(
                f"{self.path} {why} and holds files that Understudy did not make; choose a folder of its own as home",
                str(self.path),
            )
        try:
            if gid >= 0:
                os.chown(self.path, -1, gid)
            os.chmod(self.path, mode)
            for name in names:
                if name in _OURS:
                    share(self.path / name, self.path)
                elif name in (BOXES, FILES):
                    share_tree(self.path / name, self.path)
        except OSError as error:
            raise self._refused("is open to others and cannot be given other rights", error) from error

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
        with ExitStack() as undo:
            try:
                folder = self._open_folder()
                undo.callback(os.close, folder)
                if not _flock(folder):
                    raise self._in_use()
                file = self._lock_file()
                undo.callback(os.close, file)
                # A supervisor of an earlier release locks only this file.
                if not _flock(file):
                    raise self._in_use()
                lock = HomeLock(folder, file)
            except OSError as error:
                raise self._refused("cannot be locked", error) from error
            undo.pop_all()
        self._lock = lock
        return lock

    def _in_use(self) -> HomeInUse:
        server = self.server() or Server(0, True, "")
        return HomeInUse(
            f"home {self.path} is served by another supervisor ({server}); connect to that one, stop it, or choose "
            "another home",
            str(self.path),
            server.pid,
        )

    def _open_folder(self) -> int:
        return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _lock_file(self) -> int:
        return open_in_home(self.lock_path, os.O_RDWR)

    @property
    def has_lock_file(self) -> bool:
        """Whether the lock file that we have locked is still at its place."""
        return self._lock is None or self._lock.closed or _is_at(self.lock_path, self._lock.file)

    def restore_lock(self) -> None:
        """Make the lock file anew. Needs the lock. Raises HomeError."""
        assert self._lock is not None
        try:
            self._lock.replace_file(self._lock_file())
        except OSError as error:
            raise self._refused("cannot hold its lock file", error) from error

    @property
    def removed(self) -> bool:
        """Whether the folder that we have locked was removed."""
        return self._lock is not None and not self._lock.closed and os.fstat(self._lock.folder).st_nlink == 0

    def served(self) -> int | None:
        """Pid of the supervisor that serves this home now; None if none does, 0 if its pid is not known.

        See `Server` for what the pid means in a container.
        """
        server = self.server()
        return None if server is None else server.pid

    def server(self) -> Server | None:
        """The supervisor that serves this home now; None if none does."""
        with ExitStack() as opened:
            try:
                folder = self._open_folder()
                opened.callback(os.close, folder)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise self._refused("cannot be read", error) from error
            text, locked = "", False
            with suppress(FileNotFoundError):
                try:
                    file = os.open(self.lock_path, os.O_RDONLY | os.O_CLOEXEC)
                except PermissionError as error:
                    raise self._refused("cannot be read", error) from error
                opened.callback(os.close, file)
                text = os.pread(file, 200, 0).decode(errors="replace")
                locked = not _flock(file, fcntl.LOCK_SH, tries=1)
            # One try is enough; a longer one could disturb a starting supervisor.
            if not locked and _flock(folder, fcntl.LOCK_SH, tries=1):
                return None
        pid, _, namespace = (*text.split("\n"), "", "", "")[:3]
        return Server(int(pid) if pid.isdigit() else 0, namespace in ("", pid_namespace()), text)

    # -- The socket ------------------------------------------------------------------------------------------

    def listen(self) -> socket.socket:
        """A non-blocking listening socket, mode 0600, or 0660 if the home is shared.

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
            share(self.socket_path, self.path)
            self._socket = _identity(os.stat(self.socket_path))
            sock.listen(_BACKLOG)
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            raise self._refused("cannot hold the supervisor's socket", error) from error
        return sock

    @property
    def listens(self) -> bool:
        """Whether the socket that `listen` made last is still at its place."""
        try:
            return _identity(os.stat(self.socket_path)) == self._socket
        except FileNotFoundError:
            return False

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
            raise self._not_running() from error
        except OSError as error:
            raise self._refused("cannot be reached", error) from error

    def _not_running(self) -> NotRunning:
        server = self.server()
        if server is None:
            return NotRunning(f"no supervisor serves {self.path}; start one with `understudy serve APP`")
        return NotRunning(
            f"the supervisor of {self.path} ({server}) takes no calls now: it is starting or stopping, or makes its "
            "socket anew; try again in a moment"
        )

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

    def __init__(self, folder: int, file: int) -> None:
        self.folder = folder
        self.file = file
        self.write()
        # Last: who could not write it closes the descriptors.
        _held.add(self)

    @property
    def closed(self) -> bool:
        return self.folder < 0

    def write(self) -> None:
        """Write into the lock file who holds the lock: pid, time, PID namespace."""
        os.ftruncate(self.file, 0)
        os.pwrite(self.file, f"{os.getpid()}\n{time.time():.6f}\n{pid_namespace()}\n".encode(), 0)

    def replace_file(self, file: int) -> None:
        """Use this lock file from now on."""
        old, self.file = self.file, file
        os.close(old)
        _flock(file)
        self.write()

    def close(self) -> None:
        """Release the home. May be called twice."""
        if not self.closed:
            with suppress(OSError):  # The text is only for people; the lock ends with the descriptor.
                os.ftruncate(self.file, 0)
            self._drop()

    def _drop(self) -> None:
        for descriptor in (self.file, self.folder):
            os.close(descriptor)
        self.folder = self.file = -1

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


def task_folder(home: Path, task: str) -> Path:
    """The folder for a task's files, made if it is not there."""
    folder = home / FILES / task
    for path in (folder.parent, folder):
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
            share(path, home)
    return folder


def peer_uid_ok(sock: socket.socket, group: int | None = None) -> bool:
    """Whether the peer process runs as our user, as root, or as a member of this group."""
    credentials = struct.Struct("=iII")
    _pid, uid, gid = credentials.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    )
    return uid in (os.geteuid(), 0) or (group is not None and group in (gid, *_groups_of(sock, uid, gid)))


def _groups_of(sock: socket.socket, uid: int, gid: int) -> Sequence[int]:
    """The supplementary groups of the peer process, or those of its user if the kernel does not tell."""
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _PEER_GROUPS, 1024)
        return struct.unpack(f"={len(raw) // 4}I", raw)
    except OSError:
        pass  # an old kernel, or more than 256 groups
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return ()


def group_id(name: str) -> int:
    """The id of a group, given by its name or number. Raises InvalidOption."""
    with suppress(KeyError, ValueError):
        number = int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
        if number < _NO_ID:
            return number
    raise InvalidOption(f"group {name!r} does not exist on this machine")


def pid_namespace() -> str:
    """What identifies this process's PID namespace on this machine; "" if /proc does not tell."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return _identity(os.stat(path, follow_symlinks=False)) == _identity(os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _flock(fd: int, kind: int = fcntl.LOCK_EX, tries: int = _LOCK_TRIES) -> bool:
    for left in reversed(range(tries)):
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if left:
                time.sleep(_LOCK_PAUSE)
    return False
