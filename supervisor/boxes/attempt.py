"""`ContainerAttempt`, one attempt at a container task. It runs in a worker.

The attempt finds or makes the container, follows it to its end and returns its result. A SIGKILL between any
two of these steps does no harm:

1. Look for a container with this task's labels and this attempt's number. If there is one, continue with it.
2. Fetch the image and make the container. The engine gives a name only once, so there are never two
   containers. A container may disappear before it has run. It then belongs to a request of an attempt that
   died, and the engine has given that request up. In this case, look again.
3. Checkpoint the container's id and start it. Starting it a second time changes nothing.
4. Follow its output from the beginning. Lines that are already in the task's log are left out (see
   output.py).
5. When it has ended, copy its outputs, checkpoint how it ended, and only then remove it. An attempt that
   resumes after the checkpoint has the result; one that resumes before it has the container.

The attempt runs on a thread of its worker. It holds no slot, because it only waits.
"""

from __future__ import annotations

import io
import logging
import math
import os
import signal
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

from ...actors.attempt.actor import CLOSED, NOTHING, TaskActor, actor_here
from ...actors.box.conf import BOX, BoxConf
from ...actors.box.policy import check_content, check_lent
from ...actors.errors import BoxFailed, BoxTimedOut, EngineError, ImageAbsent, Interrupted, UnderstudyError
from ...actors.ids import id_text
from ...actors.task import current_runtime
from ...actors.task.declaration import task
from ..linux.processes import COOKIE
from . import spec
from .docker_engine import DockerEngine, Missing, Taken
from .follower import Follower
from .image_pulls import Progress, Pulls
from .output import Line, seconds
from .outputs import collect, folder_of, mark

log = logging.getLogger("understudy")

#: Characters that an error keeps of the end of each stream. The log has the whole stream.
ERROR_TAIL: Final = 32_768
#: Seconds that a write to a full standard input may block before signals are checked again.
INPUT_LOOK: Final = 0.2
#: Seconds after which the engine has given up requests of an attempt that died; seconds between two checks.
GIVEN_UP: Final = 60.0
LOOK_AGAIN: Final = 0.05
#: Seconds that the engine has to end the container after SIGKILL.
KILLED: Final = 15.0

#: The engine's states of a container that it is removing, or has failed to remove.
GOING: Final = frozenset({"removing", "dead"})

_pulls: Final = Pulls()
#: Addresses of engines whose storage cannot limit the size of /data.
_no_quota: Final[set[str]] = set()


class _Stop(Exception):
    """The task was asked to stop, or the container has reached its timeout."""


@task(name=BOX)
def perform(packed: dict[str, Any], grace: float) -> dict[str, Any]:
    """The body of every container task."""
    return ContainerAttempt(actor_here(BOX), BoxConf.unpack(packed), grace).run()


class ContainerAttempt:
    """One attempt; used once."""

    def __init__(self, actor: TaskActor, conf: BoxConf, grace: float) -> None:
        self._actor = actor
        self._conf = conf
        self._grace = grace
        self._id = id_text(actor.id)
        self._attempt = actor.assignment.attempt
        self._home = os.environ.get(COOKIE, "nobody")
        self._bell = threading.Event()
        self._pulled_ms = 0
        self._container = ""
        #: When the container reaches its timeout, on the monotonic clock.
        self._deadline = math.inf
        self._engine: DockerEngine = None  # type: ignore[assignment]  # set by `run`

    def run(self) -> dict[str, Any]:
        """Return the result map of a container that exited with 0 or was cancelled. BoxError, Interrupted."""
        with self._waiting():
            state = self._restored()
            if "done" not in state:
                mark(self._actor.host.home)
            self._engine = DockerEngine.shared()
            try:
                done = state.get("done") or self._played(state)
            except Interrupted:
                raise
            except BaseException:
                with suppress(UnderstudyError):
                    self._clear()
                raise
            self._clear()
            return self._told(*done)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Hold no slot meanwhile, because the attempt only waits; wake it up at every signal and message."""
        self._actor.host.parked(self._actor)
        self._actor.inbox.listen(self._bell.set)
        try:
            yield
        finally:
            self._actor.inbox.unlisten(self._bell.set)
            self._actor.host.resumed(self._actor)

    def _restored(self) -> dict[str, Any]:
        """The checkpoint if this attempt wrote it, else {}: a retry begins with a new container."""
        state = self._actor.restore()
        mine = isinstance(state, dict) and (state.get("task"), state.get("attempt")) == (
            self._id,
            self._attempt,
        )
        return state if mine else {}

    def _checkpoint(self, **more: Any) -> None:
        state = {"task": self._id, "attempt": self._attempt, "container": self._container}
        self._actor.checkpoint({**state, "image_pull_ms": self._pulled_ms, **more}, shield=True)

    # --- the container ---

    def _played(self, state: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Run the container to its end. Returns (reason of the end, result map)."""
        self._pulled_ms = state.get("image_pull_ms", 0)
        follower: Follower | None = None
        try:
            try:
                seen = self._brought_up()
                follower = Follower(self._engine, self._container, seen, self._log, self._bell.set)
                self._attend(follower)
                how = "exit"
            except _Stop:
                how = self._actor.signal or "timeout"
                if follower is not None:
                    self._stop(follower)
            if follower is not None and follower.error is not None:
                raise follower.error
            result = self._result(follower)
        finally:
            if follower is not None:
                follower.close()
        self._checkpoint(done=[how, result])
        return how, result

    def _brought_up(self) -> dict[str, float]:
        """Find or make the container and make sure that it runs or has run; see `_started`."""
        until = time.monotonic() + GIVEN_UP
        while True:
            try:
                return self._started(self._found() or self._made())
            except (Missing, Taken) as error:
                # The container has not run, so nothing is lost.
                if time.monotonic() >= until:
                    raise EngineError(f"the engine did not finish this in time: {error}") from error
            self._check()
            time.sleep(LOOK_AGAIN)

    def _found(self) -> dict[str, Any] | None:
        """This attempt's container, or None. Containers of earlier attempts are removed."""
        found = None
        for row in self._engine.find({spec.HOME_LABEL: self._home, spec.TASK_LABEL: self._id}):
            labels = row["Labels"]
            if (
                labels.get(spec.ATTEMPT_LABEL) == str(self._attempt)
                and labels.get(spec.ROLE_LABEL) == spec.MAIN
            ):
                found = row["Id"]
            else:
                self._engine.remove(row["Id"])
        if found is None:
            return None
        self._container = found
        return self._engine.inspect(found)

    def _made(self) -> dict[str, Any]:
        socket = self._engine.socket
        if socket is not None:
            sources = (source.rpartition(":")[0] for source in self._conf.mounts.values())
            check_lent(map(os.path.realpath, sources), socket)
        self._fetch_image()
        self._check()
        name = spec.name_of(self._home, self._id, self._attempt)
        try:
            self._container = self._create(name)
        except Taken:
            # Made by a request that was still under way when the attempt's worker died.
            self._container = name
        return self._engine.inspect(self._container)

    def _create(self, name: str) -> str:
        labels = spec.labels_of(self._home, self._id, self._attempt)
        where = os.environ.get("DOCKER_HOST", "")
        if where not in _no_quota:
            try:
                return self._engine.create(name, spec.container(self._conf, labels, quota=True))
            except EngineError as error:
                if "quota" not in str(error):
                    raise
                _no_quota.add(where)
        return self._engine.create(name, spec.container(self._conf, labels, quota=False))

    def _inspect(self) -> dict[str, Any]:
        try:
            return self._engine.inspect(self._container)
        except Missing as error:
            raise EngineError(f"the container was removed from outside: {error}") from error

    def _fetch_image(self) -> None:
        image, policy = self._conf.image, self._conf.pull
        found = None if policy == "always" else self._engine.image(image)
        if found is None:
            if policy == "never":
                raise ImageAbsent(
                    f"the image {image} is not on this machine, and pull='never' forbids pulling it"
                )
            self._pull(image)
            found = self._engine.image(image)
            if found is None:
                raise ImageAbsent(f"the image {image} was pulled, but is absent again")
        check_content(image, found.get("Config") or {})

    def _pull(self, image: str) -> None:
        begun = time.monotonic()
        tell = self._tell_progress
        future = _pulls.join(image, self._engine.pull, tell)
        future.add_done_callback(lambda _: self._bell.set())
        try:
            while not future.done():
                self._wait(None)
                self._check()
        finally:
            _pulls.leave(image, tell)
        future.result()
        self._pulled_ms = round((time.monotonic() - begun) * 1000)

    def _tell_progress(self, progress: Progress) -> None:
        self._actor.host.progress(self._actor, *progress)

    def _started(self, created: Mapping[str, Any]) -> dict[str, float]:
        """Make sure that the container runs or has run. Returns the times of its last lines in the log.

        Missing or Taken if it has not run.
        """
        self._container = created["Id"]
        _check_stays(created["State"])
        if created["State"]["Status"] != "created":
            # An earlier worker started it. Its logged lines are on disk once this checkpoint is.
            self._checkpoint()
            self._set_deadline()
            return self._logged(seconds(created["Created"]))
        self._open_data(created)
        self._checkpoint()
        self._check()
        try:
            self._engine.start(self._container)
        except EngineError as error:
            state = self._engine.inspect(self._container)["State"]
            _check_stays(state)
            raise BoxFailed(str(error), self._map(state, None)) from error
        self._set_deadline()
        return {}

    def _set_deadline(self) -> None:
        """Use the engine's start time: time that the container ran under an earlier worker counts, too."""
        begun = seconds(self._inspect()["State"]["StartedAt"])
        ran = min(max(0.0, time.time() - begun), self._conf.limits.timeout)
        self._deadline = time.monotonic() + self._conf.limits.timeout - ran

    def _open_data(self, created: Mapping[str, Any]) -> None:
        """Let every user in the container write to /data.

        /data belongs to root, and volumes have no option to change that.
        """
        volumes = [mount["Name"] for mount in created["Mounts"] if mount["Destination"] == spec.DATA]
        labels = spec.labels_of(self._home, self._id, self._attempt, spec.OPENER)
        name = spec.name_of(self._home, self._id, self._attempt, spec.OPENER)
        for volume in volumes:
            opener = self._engine.create(name, spec.volume_opener(created["Image"], labels, volume))
            try:
                self._engine.unpack(opener, "/", _open_folder(spec.DATA.lstrip("/")))
            finally:
                self._engine.remove(opener)

    def _logged(self, since: float) -> dict[str, float]:
        """By stream, the time of this container's last line that is on disk."""
        lines = cast("Any", current_runtime.runtime()).logs(self._id)
        found: dict[str, float] = {}
        for line in lines:
            if line.level in {"stdout", "stderr"} and line.time >= since:
                found[line.level] = max(line.time, found.get(line.level, 0.0))
        return found

    def _log(self, line: Line) -> None:
        self._actor.host.log(self._actor, line.level, line.text, line.at)

    # --- while it runs ---

    def _attend(self, follower: Follower) -> None:
        """Wait for the container's end and pass messages to it meanwhile. _Stop, Interrupted."""
        pipe = self._engine.stdin(self._container) if self._conf.stdin else None
        try:
            while not follower.done:
                self._check()
                if pipe is None or not self._pass_on(pipe, follower):
                    self._wait(self._deadline - time.monotonic())
        finally:
            if pipe is not None:
                pipe.close()

    def _pass_on(self, pipe: Any, follower: Follower) -> bool:
        """Write waiting messages to standard input, then acknowledge them. Returns whether there were any."""
        from ..text.value_json import dumps

        data = b""
        while (message := self._actor.take()) is not NOTHING and message is not CLOSED:
            data += dumps(message).encode() + b"\n"
        if not data:
            return False
        pipe.settimeout(INPUT_LOOK)
        while data and not follower.done:
            self._check()
            try:
                data = data[pipe.send(data) :]
            except TimeoutError:
                continue
            except OSError:
                # The container has closed its standard input, or has ended.
                break
        self._checkpoint()
        return True

    def _wait(self, seconds: float | None) -> None:
        """Wait for a wakeup. A wakeup that came before this call counts."""
        self._bell.wait(None if seconds is None or seconds == math.inf else max(0.0, seconds))
        self._bell.clear()

    def _check(self) -> None:
        """Raise Interrupted or _Stop if the attempt has to end."""
        if self._actor.interrupted:
            raise Interrupted
        if self._actor.signal is not None or time.monotonic() >= self._deadline:
            raise _Stop

    def _stop(self, follower: Follower) -> None:
        """Send SIGTERM, and SIGKILL after the grace."""
        for name, patience in (("SIGTERM", self._grace), ("SIGKILL", KILLED)):
            if follower.done:
                return
            self._engine.kill(self._container, name)
            until = time.monotonic() + patience
            while not follower.done and (left := until - time.monotonic()) > 0:
                self._wait(left)
        if not follower.done:
            raise EngineError(f"the engine did not end the container within {KILLED:g} s after SIGKILL")

    # --- the end ---

    def _result(self, follower: Follower | None) -> dict[str, Any]:
        if follower is None or follower.state is None:
            return self._map({}, None)
        result = self._map(follower.state, follower)
        folder = folder_of(self._actor.host.home, self._id)
        result["outputs"] = collect(self._engine, self._container, self._conf.outputs, folder)
        return result

    def _map(self, state: Mapping[str, Any], follower: Follower | None) -> dict[str, Any]:
        code = state.get("ExitCode")
        starting, running = self._times()
        return {
            "exit_code": code,
            "stdout": "" if follower is None else follower.output.text("stdout"),
            "stderr": "" if follower is None else follower.output.text("stderr"),
            "oom_killed": bool(state.get("OOMKilled")),
            "signal": _signal_of(code),
            "duration_ms": self._pulled_ms + starting + running,
            "image_pull_ms": self._pulled_ms,
            "runtime_start_ms": starting,
            "execution_ms": running,
            "container_id": self._container,
            "image": self._conf.image,
            "size": self._conf.size,
            "outputs": {},
        }

    def _times(self) -> tuple[int, int]:
        """Milliseconds from the container's creation to its start, and from its start to its end."""
        if not self._container:
            return 0, 0
        with suppress(UnderstudyError, Missing):
            known = self._engine.inspect(self._container)
            made, state = seconds(known["Created"]), known["State"]
            begun, ended = seconds(state["StartedAt"]), seconds(state["FinishedAt"])
            # The engine writes a year before 1970 for "not yet".
            if begun > 0:
                return round((begun - made) * 1000), max(0, round((ended - begun) * 1000)) if ended > 0 else 0
        return 0, 0

    def _clear(self) -> None:
        """Remove every container of this task."""
        for row in self._engine.find({spec.HOME_LABEL: self._home, spec.TASK_LABEL: self._id}):
            self._engine.remove(row["Id"])

    def _told(self, how: str, result: dict[str, Any]) -> dict[str, Any]:
        """Return the result map, or raise the error that stands for it."""
        details = {**result, "stdout": _tail(result["stdout"]), "stderr": _tail(result["stderr"])}
        if how == "timeout":
            limit = self._conf.limits.timeout
            raise BoxTimedOut(f"the container ran longer than {limit:g} s and was stopped", details)
        if how == "cancel":
            return result
        if result["exit_code"] != 0:
            raise BoxFailed(_why(result), details)
        missing = [path for path in self._conf.outputs if path not in result["outputs"]]
        if missing:
            raise BoxFailed(
                f"the container ended with exit code 0 but without its output {missing[0]}", details
            )
        return result


def _check_stays(state: Mapping[str, Any]) -> None:
    """Raise Missing if the engine is removing the container and it has never run.

    A start time before 1970 means that it has never run.
    """
    if state["Status"] in GOING and seconds(state["StartedAt"]) <= 0:
        raise Missing(f"a container that is {state['Status']}")


def _why(result: Mapping[str, Any]) -> str:
    if result["oom_killed"]:
        return f"the container took more memory than its size ({result['size']}) allows and was killed"
    ended = f"the container ended with exit code {result['exit_code']}"
    if result["signal"] == "SIGKILL":
        # An engine may miss why a container died that lived for milliseconds.
        ended += (
            f" (SIGKILL): somebody killed it, or it took more memory than its size ({result['size']}) allows"
        )
    elif result["signal"]:
        ended += f" ({result['signal']})"
    last = result["stderr"].rstrip().rpartition("\n")[2].strip()
    return f"{ended}: {last[:500]}" if last else ended


def _signal_of(code: object) -> str | None:
    """The signal that an exit code stands for: as in shells, 128 plus the signal's number."""
    if isinstance(code, int) and code > 128:
        with suppress(ValueError):
            return signal.Signals(code - 128).name
    return None


def _tail(text: str) -> str:
    return text if len(text) <= ERROR_TAIL else f"…{text[-ERROR_TAIL:]}"


def _open_folder(name: str) -> bytes:
    """A tar archive of a folder with mode 1777: every user may write, each only to its own files."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(entry)
    return file.getvalue()
