"""One attempt at a container task: find the container or make it, follow it to its end, and say how that was.

The steps, and why a SIGKILL between any two of them does no harm:

1. Look for a container with this task's labels and this attempt's number. If there is one, go on with it.
2. Fetch the image, make the container. Its name can be given once only, so there are never two. One that is there,
   has never run and is gone again belongs to a request of an attempt that died, and that the engine has given up:
   then look once more.
3. Checkpoint its id, start it. A start that has been made already changes nothing.
4. Follow its output from the beginning. What is in the task's log already is left out (see box_output.py).
5. When it has ended: copy its outputs, checkpoint how it ended, and only then remove it. Whoever comes after the
   checkpoint has the result, whoever comes before it has the container.

The attempt runs on a thread of its worker and holds no slot: all it does is to wait.
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

#: Characters of each stream that an error keeps: its end. The log has all of it.
ERROR_TAIL: Final = 32_768
#: Seconds that standard input may be full before signals are looked at again.
INPUT_LOOK: Final = 0.2
#: Seconds in which the engine has given up what was asked of it by an attempt that died, and between two looks.
GIVEN_UP: Final = 60.0
LOOK_AGAIN: Final = 0.05
#: Seconds after SIGKILL until the engine has to have ended the container.
KILLED: Final = 15.0

#: What the engine calls a container that it removes, or has failed to.
GOING: Final = frozenset({"removing", "dead"})

_pulls: Final = Pulls()
#: Engines, by their address, whose disks are known to keep no limit of /data.
_no_quota: Final[set[str]] = set()


class _Stop(Exception):
    """The task was asked to stop, or the container's time is over."""


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
        #: When the container's time is over, on the monotonic clock.
        self._deadline = math.inf
        self._engine: DockerEngine = None  # type: ignore[assignment]  # set by `run`, once it is known to be needed

    def run(self) -> dict[str, Any]:
        """The map of a container that ended with 0, or that was cancelled; BoxError, Interrupted."""
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
        """It does nothing but wait: no slot is held, and every signal rings the bell."""
        self._actor.host.parked(self._actor)
        self._actor.inbox.listen(self._bell.set)
        try:
            yield
        finally:
            self._actor.inbox.unlisten(self._bell.set)
            self._actor.host.resumed(self._actor)

    def _restored(self) -> dict[str, Any]:
        """The checkpoint, if it is of this attempt: a retry begins with a container of its own."""
        state = self._actor.restore()
        mine = isinstance(state, dict) and (state.get("task"), state.get("attempt")) == (
            self._id,
            self._attempt,
        )
        return state if mine else {}

    def _checkpoint(self, **more: Any) -> None:
        state = {"task": self._id, "attempt": self._attempt, "container": self._container}
        self._actor.checkpoint({**state, "image_pull_ms": self._pulled_ms, **more})

    # --- the container ---

    def _played(self, state: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Have the container run to its end; (how that came about, its map)."""
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
            self._raise_error(follower)
            result = self._result(follower)
        finally:
            if follower is not None:
                follower.close()
        self._checkpoint(done=[how, result])
        return how, result

    def _brought_up(self) -> dict[str, float]:
        """Find the container or make it, and see to it that it runs, or has run; see `_started`."""
        until = time.monotonic() + GIVEN_UP
        while True:
            try:
                return self._started(self._found() or self._made())
            except (Missing, Taken) as error:
                # It has not run: nothing is lost with it.
                if time.monotonic() >= until:
                    raise EngineError(f"the engine does not come to an end with it: {error}") from error
            self._check()
            time.sleep(LOOK_AGAIN)

    def _found(self) -> dict[str, Any] | None:
        """This attempt's container if there is one; whatever earlier attempts have left is removed."""
        found = None
        for row in self._engine.find({spec.HOME_LABEL: self._home, spec.TASK_LABEL: self._id}):
            labels = row["Labels"]
            if (
                labels.get(spec.ATTEMPT_LABEL) == str(self._attempt)
                and labels.get(spec.ROLE_LABEL) == spec.WORKS
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
            # By an attempt whose request was still on its way when its worker died.
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
            raise EngineError(f"the container was removed by somebody else: {error}") from error

    def _fetch_image(self) -> None:
        image, policy = self._conf.image, self._conf.pull
        found = None if policy == "always" else self._engine.image(image)
        if found is None:
            if policy == "never":
                raise ImageAbsent(
                    f"the image {image} is not on this machine, and pull='never' keeps it from coming"
                )
            self._pull(image)
            found = self._engine.image(image)
            if found is None:
                raise ImageAbsent(f"the image {image} was pulled, and is gone again")
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
        """See to it that it runs, or has run; the times of those of its lines that are in the log.

        Missing, Taken while it has not run.
        """
        self._container = created["Id"]
        _check_stays(created["State"])
        if created["State"]["Status"] != "created":
            # An attempt before this one has started it. What it had logged is on disk once this is.
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
        """By the engine's clock, so that the time of an earlier attempt's counts: it is the container's."""
        begun = seconds(self._inspect()["State"]["StartedAt"])
        ran = min(max(0.0, time.time() - begun), self._conf.limits.timeout)
        self._deadline = time.monotonic() + self._conf.limits.timeout - ran

    def _open_data(self, created: Mapping[str, Any]) -> None:
        """Let everybody in the container write to /data, which belongs to root: a volume has no option for that."""
        volumes = [mount["Name"] for mount in created["Mounts"] if mount["Destination"] == spec.DATA]
        labels = spec.labels_of(self._home, self._id, self._attempt, spec.SEEDS)
        name = spec.name_of(self._home, self._id, self._attempt, spec.SEEDS)
        for volume in volumes:
            seeder = self._engine.create(name, spec.seeder(created["Image"], labels, volume))
            try:
                self._engine.unpack(seeder, "/", _open_folder(spec.DATA.lstrip("/")))
            finally:
                self._engine.remove(seeder)

    def _logged(self, since: float) -> dict[str, float]:
        """The times of the last lines of each stream that are on disk, of this container."""
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
        """Wait for its end, and pass messages on meanwhile. _Stop, Interrupted."""
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
        """Write the messages that are there to standard input, then acknowledge them; whether there were any."""
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
                # It has closed its standard input, or ended.
                break
        self._checkpoint()
        return True

    def _wait(self, seconds: float | None) -> None:
        """Wait for the bell. It may have rung before: that is looked at first."""
        self._bell.wait(None if seconds is None or seconds == math.inf else max(0.0, seconds))
        self._bell.clear()

    def _check(self) -> None:
        """Interrupted or _Stop, if it is time for that."""
        if self._actor.interrupted:
            raise Interrupted
        if self._actor.signal is not None or time.monotonic() >= self._deadline:
            raise _Stop

    def _stop(self, follower: Follower) -> None:
        """SIGTERM, and after the grace SIGKILL."""
        for name, patience in (("SIGTERM", self._grace), ("SIGKILL", KILLED)):
            if follower.done:
                return
            self._engine.kill(self._container, name)
            until = time.monotonic() + patience
            while not follower.done and (left := until - time.monotonic()) > 0:
                self._bell.wait(left)
                self._bell.clear()
        if not follower.done:
            raise EngineError(f"the engine did not end the container within {KILLED:g} s after SIGKILL")

    # --- the end ---

    def _raise_error(self, follower: Follower | None) -> None:
        if follower is not None and follower.error is not None:
            raise follower.error

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
        """Milliseconds from the making of the container to its start, and from there to its end."""
        if not self._container:
            return 0, 0
        with suppress(UnderstudyError, Missing):
            known = self._engine.inspect(self._container)
            made, state = seconds(known["Created"]), known["State"]
            begun, ended = seconds(state["StartedAt"]), seconds(state["FinishedAt"])
            # Years before 1970 stand for "not yet".
            if begun > 0:
                return round((begun - made) * 1000), max(0, round((ended - begun) * 1000)) if ended > 0 else 0
        return 0, 0

    def _clear(self) -> None:
        """Remove every container of this task."""
        for row in self._engine.find({spec.HOME_LABEL: self._home, spec.TASK_LABEL: self._id}):
            self._engine.remove(row["Id"])

    def _told(self, how: str, result: dict[str, Any]) -> dict[str, Any]:
        """The map, or the error that says the same."""
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
                f"the container ended with exit code 0, and without its output {missing[0]}", details
            )
        return result


def _check_stays(state: Mapping[str, Any]) -> None:
    """Missing for a container that the engine is removing, and that has never run. Years before 1970 are "never"."""
    if state["Status"] in GOING and seconds(state["StartedAt"]) <= 0:
        raise Missing(f"a container that is {state['Status']}")


def _why(result: Mapping[str, Any]) -> str:
    if result["oom_killed"]:
        return f"the container took more memory than its size ({result['size']}) allows and was killed"
    ended = f"the container ended with exit code {result['exit_code']}"
    if result["signal"]:
        ended += f" ({result['signal']})"
    last = result["stderr"].rstrip().rpartition("\n")[2].strip()
    return f"{ended}: {last[:500]}" if last else ended


def _signal_of(code: object) -> str | None:
    """The signal that an exit code stands for, as shells have it: 128 and its number."""
    if isinstance(code, int) and code > 128:
        with suppress(ValueError):
            return signal.Signals(code - 128).name
    return None


def _tail(text: str) -> str:
    return text if len(text) <= ERROR_TAIL else f"…{text[-ERROR_TAIL:]}"


def _open_folder(name: str) -> bytes:
    """A tar archive that gives everybody the right to write to a folder, each to his own files."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(entry)
    return file.getvalue()
