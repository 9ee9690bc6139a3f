"""One attempt, against an engine that does as it is told; with a real one in the scenarios."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from understudy import BoxConf, BoxRefused, EngineError, ImageAbsent, Interrupted
from understudy.actors import values
from understudy.actors.clock import SYSTEM
from understudy.actors.ids import id_text, new_id
from understudy.supervisor.boxes import attempt
from understudy.supervisor.boxes import spec as spec_module
from understudy.supervisor.boxes.attempt import ContainerAttempt
from understudy.supervisor.boxes.docker_engine import Missing, Taken
from waiting import until

CREATED = "2030-01-01T00:00:00.0Z"
NEVER = "0001-01-01T00:00:00Z"


class Logs:
    def __init__(self, end: threading.Event) -> None:
        self._end = end
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        yield 1, CREATED.encode() + b" said\n"
        while not self._end.wait(0.002) and not self._closed.is_set():
            pass

    def close(self) -> None:
        self._closed.set()


class Engine:
    """Containers that end when they are killed, or at once; what was asked for is in `asked`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.images: dict[str, dict[str, Any]] = {"alpine": {"Config": {}}}
        self.rows: dict[str, dict[str, Any]] = {}
        self.specs: list[dict[str, Any]] = []
        self.end = threading.Event()
        self.end.set()
        self.code = 0
        self.deaf_to: set[str] = set()
        self.no_quota = False
        self.taken = False
        #: Steps at which a container that has never run is gone, once each, and what is left of it then.
        self.gone_at: list[str] = []
        self.socket: str | None = None

    def image(self, name: str) -> dict[str, Any] | None:
        return self.images.get(name)

    def pull(self, name: str) -> Iterator[dict[str, Any]]:
        self.asked.append(f"pull {name}")
        yield {"status": "Pull complete", "id": "a"}
        if "absent" not in name:
            self.images[name] = {"Config": {}}

    def create(self, name: str, spec: dict[str, Any]) -> str:
        self.asked.append(f"create {spec['Labels'][spec_module.ROLE_LABEL]}")
        self.specs.append(spec)
        if self.no_quota and "DriverConfig" in str(spec):
            raise EngineError(
                "the engine could not make the container: quota size requested but no quota support"
            )
        if self.taken and name not in self.rows:
            self.taken = False
            self._put(name, spec)
            raise Taken(name)
        self._put(name, spec)
        return name

    def _put(self, name: str, spec: dict[str, Any]) -> None:
        self.rows[name] = {"Id": name, "Labels": spec["Labels"], "Status": "created"}

    def find(self, labels: dict[str, str]) -> list[dict[str, Any]]:
        return [row for row in self.rows.values() if labels.items() <= row["Labels"].items()]

    def _goes(self, step: str) -> None:
        """What another attempt has asked for is given up."""
        if step in self.gone_at:
            self.gone_at.remove(step)
            self.rows.clear()

    def inspect(self, id: str) -> dict[str, Any]:
        self._goes("inspect")
        if id not in self.rows:
            raise Missing(id)
        state = {
            "Status": self.rows[id]["Status"],
            "StartedAt": CREATED if self.rows[id]["Status"] == "running" else NEVER,
            "FinishedAt": CREATED,
            "ExitCode": self.code,
            "OOMKilled": False,
        }
        mounts = [{"Name": "volume", "Destination": "/data"}]
        return {"Id": id, "Created": CREATED, "Image": "sha", "State": state, "Mounts": mounts}

    def unpack(self, id: str, path: str, _archive: bytes) -> None:
        self._goes("unpack")
        if id not in self.rows:
            raise Missing(id)
        self.asked.append(f"unpack {path}")

    def start(self, id: str) -> None:
        self._goes("start")
        if id not in self.rows:
            raise Missing(id)
        if self.rows[id]["Status"] in attempt.GOING:
            raise EngineError("the container is marked for removal")
        self.asked.append("start")
        self.rows[id]["Status"] = "running"

    def logs(self, _id: str) -> Logs:
        return Logs(self.end)

    def wait(self, _id: str, _seconds: float) -> bool:
        return self.end.is_set()

    def kill(self, _id: str, signal: str) -> None:
        self.asked.append(signal)
        if signal not in self.deaf_to:
            self.code = 143 if signal == "SIGTERM" else 137
            self.end.set()

    def remove(self, id: str) -> None:
        if id not in self.rows:
            return
        self.asked.append(f"remove {self.rows[id]['Labels'][spec_module.ROLE_LABEL]}")
        del self.rows[id]


class Actor:
    """What a performance needs of its actor, and that actor of its host."""

    def __init__(self, home: str) -> None:
        self.id = new_id()
        self.host = self
        self.clock = SYSTEM
        self.home = home
        self.assignment = self
        self.attempt = 1
        self.signal: str | None = None
        self.interrupted = False
        self.state: Any = None
        self.states: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.inbox = self
        self.rings: list[Any] = []
        self.waiting = 0

    def parked(self, _actor: Any) -> None:
        self.waiting += 1

    def resumed(self, _actor: Any) -> None:
        self.waiting -= 1

    def listen(self, ring: Any) -> None:
        self.rings.append(ring)

    def unlisten(self, ring: Any) -> None:
        self.rings.remove(ring)

    def restore(self) -> Any:
        return self.state

    def checkpoint(self, state: dict[str, Any], shield: bool = False) -> None:
        assert self.waiting == 1
        self.state = values.unpack(values.pack(state, "state", 1 << 20))
        self.states.append(state)
        if self.interrupted:
            raise Interrupted

    def progress(self, *_said: Any) -> None:
        return

    def log(self, _actor: Any, _level: str, text: str, _at: float) -> None:
        self.lines.append(text)

    def ring(self) -> None:
        for ring in self.rings:
            ring()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    monkeypatch.setattr(attempt.DockerEngine, "shared", lambda: made)
    monkeypatch.setattr(attempt, "_no_quota", set())
    monkeypatch.setenv("UNDERSTUDY_COOKIE", "ab-1-2")
    return made


@pytest.fixture
def actor(tmp_path: Any) -> Actor:
    return Actor(str(tmp_path))


def perform(actor: Any, grace: float = 0.01, **conf: Any) -> dict[str, Any]:
    return ContainerAttempt(actor, BoxConf(**{"image": "alpine", **conf}), grace).run()


@contextmanager
def once_it_runs(actor: Any, **changes: Any) -> Iterator[None]:
    """Tell the actor something as soon as its container runs and has said its line."""

    def tell() -> None:
        until(lambda: actor.lines)
        vars(actor).update(changes)
        actor.ring()

    thread = threading.Thread(target=tell)
    thread.start()
    yield
    thread.join()


def test_the_order_of_things(engine: Engine, actor: Actor):
    assert perform(actor)["exit_code"] == 0
    assert engine.asked == [
        "create box",
        "create seed",
        "unpack /",
        "remove seed",
        "start",
        "remove box",
    ]
    assert [sorted(state) for state in actor.states] == [
        ["attempt", "container", "image_pull_ms", "task"],
        ["attempt", "container", "done", "image_pull_ms", "task"],
    ]
    assert actor.lines == ["said"]
    assert (actor.waiting, actor.rings) == (0, [])


def test_a_result_that_is_checkpointed_is_not_made_again(engine: Engine, actor: Actor):
    first = perform(actor)
    engine.asked.clear()
    assert perform(actor) == first
    assert engine.asked == []
    # The checkpoint of another attempt, or of the task that this one tries again, is not its own.
    for changes in ({"attempt": 7}, {"task": id_text(new_id())}):
        actor.state = {**actor.states[-1], **changes}
        perform(actor)
        assert engine.asked.pop() == "remove box"


def test_without_quota_it_is_asked_for_once(engine: Engine, actor: Actor):
    engine.no_quota = True
    perform(actor)
    actor.state = None
    perform(actor)
    asked = [
        "DriverConfig" in str(spec)
        for spec in engine.specs
        if spec["Labels"][spec_module.ROLE_LABEL] == "box"
    ]
    assert asked == [True, False, False]


def test_a_container_that_an_attempt_has_made_unseen_is_taken_over(engine: Engine, actor: Actor):
    engine.taken = True
    assert perform(actor)["exit_code"] == 0
    assert engine.asked.count("create box") == 1


@pytest.mark.parametrize("step", ["inspect", "unpack", "start"])
def test_one_that_was_given_up_before_it_ran_is_made_anew(engine: Engine, actor: Actor, step: str):
    """Its request was still on its way when its worker died, and the engine takes back what it has made of it."""
    labels = spec_module.labels_of("ab-1-2", id_text(actor.id), 1)
    engine._put("theirs", {"Labels": labels})
    engine.gone_at = [step]
    assert perform(actor)["exit_code"] == 0
    assert engine.gone_at == []
    assert engine.asked.count("create box") == engine.asked.count("start") == 1
    assert engine.rows == {}


def test_one_that_is_being_removed_is_waited_for(
    engine: Engine, actor: Actor, monkeypatch: pytest.MonkeyPatch
):
    labels = spec_module.labels_of("ab-1-2", id_text(actor.id), 1)
    engine._put("theirs", {"Labels": labels})
    engine.rows["theirs"]["Status"] = "removing"
    looks = []

    def look(_seconds: float) -> None:
        looks.append(len(actor.states))
        if len(looks) == 3:
            del engine.rows["theirs"]

    monkeypatch.setattr(attempt.time, "sleep", look)
    assert perform(actor)["exit_code"] == 0
    assert looks == [0, 0, 0]
    assert engine.asked.count("start") == 1


def test_a_seed_of_somebody_else_is_removed_and_made_anew(
    engine: Engine, actor: Actor, monkeypatch: pytest.MonkeyPatch
):
    create, refused = engine.create, []

    def taken_once(name: str, spec: dict[str, Any]) -> str:
        if spec["Labels"][spec_module.ROLE_LABEL] == spec_module.OPENER and not refused:
            refused.append(name)
            engine._put(name, spec)
            raise Taken(name)
        return create(name, spec)

    monkeypatch.setattr(engine, "create", taken_once)
    assert perform(actor)["exit_code"] == 0
    assert engine.asked[:2] == ["create box", "remove seed"]
    assert engine.rows == {}


def test_an_engine_that_never_comes_to_an_end_with_it(
    engine: Engine, actor: Actor, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(attempt, "GIVEN_UP", 0.02)
    monkeypatch.setattr(attempt, "LOOK_AGAIN", 0.001)
    labels = spec_module.labels_of("ab-1-2", id_text(actor.id), 1)
    engine._put("theirs", {"Labels": labels})
    engine.rows["theirs"]["Status"] = "dead"
    with pytest.raises(EngineError, match="did not finish this in time"):
        perform(actor)


def test_what_earlier_attempts_have_left_is_removed(engine: Engine, actor: Actor):
    actor.attempt = 2
    labels = spec_module.labels_of("ab-1-2", id_text(actor.id), 1)
    engine._put("old", {"Labels": labels})
    engine._put("theirs", {"Labels": {**labels, spec_module.HOME_LABEL: "cd-1-2"}})
    perform(actor)
    assert engine.asked[0] == "remove box"
    assert list(engine.rows) == ["theirs"]


def test_images(engine: Engine, actor: Actor):
    perform(actor, image="other")
    assert engine.asked[0] == "pull other"
    engine.asked.clear()
    actor.state = None
    perform(actor, image="other", pull="always")
    assert engine.asked[0] == "pull other"
    actor.state = None
    with pytest.raises(ImageAbsent, match="never"):
        perform(actor, image="third", pull="never")
    with pytest.raises(ImageAbsent, match="absent again"):
        perform(actor, image="absent")
    engine.images["sly"] = {"Config": {"Env": ["DIND_COMMIT=1"]}}
    with pytest.raises(BoxRefused):
        perform(actor, image="sly")


def test_the_socket_of_the_engine_is_not_lent(engine: Engine, actor: Actor, tmp_path: Path):
    engine.socket = str(tmp_path.resolve() / "sock")
    (tmp_path / "beside").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    for source in (tmp_path, tmp_path / "sock", tmp_path / "link"):
        with pytest.raises(BoxRefused, match="the engine's socket"):
            perform(actor, mounts={"/in": f"{source}:ro"})
    assert engine.asked == []
    assert perform(actor, mounts={"/in": str(tmp_path / "beside")})["exit_code"] == 0


def test_stopped_before_there_is_a_container(engine: Engine, actor: Actor):
    actor.signal = "cancel"
    result = perform(actor)
    assert (result["exit_code"], result["stdout"], result["container_id"]) == (None, "", "")
    assert engine.asked == []


@pytest.mark.parametrize(("deaf_to", "code"), [((), 143), (("SIGTERM",), 137)])
def test_cancelled_while_it_runs(engine: Engine, actor: Actor, deaf_to: tuple[str, ...], code: int):
    engine.end.clear()
    engine.deaf_to = set(deaf_to)

    with once_it_runs(actor, signal="cancel"):
        result = perform(actor)
    assert (result["exit_code"], result["stdout"]) == (code, "said\n")
    assert engine.rows == {}


def test_an_engine_that_cannot_kill(engine: Engine, actor: Actor, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attempt, "KILLED", 0.02)
    engine.end.clear()
    engine.deaf_to = {"SIGTERM", "SIGKILL"}
    with once_it_runs(actor, signal="cancel"), pytest.raises(EngineError, match="did not end the container"):
        perform(actor)
    assert engine.asked[-3:] == ["SIGTERM", "SIGKILL", "remove box"]


def test_interrupted_it_leaves_the_container_to_the_next(engine: Engine, actor: Actor):
    engine.end.clear()
    with once_it_runs(actor, interrupted=True), pytest.raises(Interrupted):
        perform(actor)
    assert [row["Status"] for row in engine.rows.values()] == ["running"]
    assert (actor.waiting, actor.rings) == (0, [])


def test_the_form_of_an_exit_code():
    assert [attempt._signal_of(code) for code in (0, 1, 128, 130, 137, 143, 255, None)] == [
        *(None, None, None),
        *("SIGINT", "SIGKILL", "SIGTERM"),
        *(None, None),
    ]
    tail = attempt._tail("x" * attempt.ERROR_TAIL + "end")
    assert tail.startswith("…")
    assert tail.endswith("end")
