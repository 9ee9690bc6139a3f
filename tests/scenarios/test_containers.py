"""Containers on a real engine: their fields, their rights and their ends."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engines import IMAGE, containers_of, engine, image, sh
from theatre import PATIENCE, kill, running, runtime
from understudy import (
    BoxConf,
    MailboxClosed,
    Retry,
    Runtime,
    State,
    TaskCancelled,
    TaskFailed,
    TaskTimedOut,
    UnknownTask,
    box,
)
from understudy.actors.task.handles import TaskInfo
from understudy.supervisor.boxes import spec
from understudy.supervisor.boxes.output import seconds
from waiting import until

#: The app of a task that runs a container and publishes.
COOK = """
from understudy import BoxConf, Retry, TaskFailed, box, publish, task

@task(name="cook:cooks", retry=Retry(100, 0), timeout=60)
def cooks(image, script, go):
    publish("begins", None)
    conf = BoxConf(image, script=script, size="xlarge", mounts={"/go": go})
    try:
        box.start(conf, key="the dish").result(50)
    except TaskFailed as failed:
        code = failed.error.details["exit_code"]
        publish("done", code)
        return code
"""


@pytest.fixture(scope="module")
def rt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """One home for all tests that need no home of their own; its worker has had a container."""
    engine()
    with runtime(tmp_path_factory.mktemp("b") / "home", slots=2) as made:
        box.run(sh("true"), runtime=made, timeout=PATIENCE)
        yield made


def lines(rt: Runtime, info: TaskInfo, level: str = "stdout") -> list[str]:
    return [line.text for line in rt.logs(info.id) if line.level == level]


def says(rt: Runtime, info: TaskInfo, text: str) -> None:
    """Wait until a container has printed this."""
    until(lambda: text in lines(rt, info), PATIENCE, lambda: f"{info.status()} {rt.logs(info.id)}")


def failure(info: TaskInfo) -> tuple[str, str, dict[str, Any]]:
    with pytest.raises(TaskFailed) as caught:
        info.result(PATIENCE)
    error = caught.value.error
    assert error is not None
    return error.type, error.message, error.details


def inspected(info: TaskInfo) -> dict[str, Any]:
    [row] = containers_of(info)
    return engine().inspect(row["Id"])


# --- what it gets ---


def test_every_size_is_what_the_engine_reports(rt: Runtime) -> None:
    script = "df -k /tmp | tail -n 1; echo up; sleep 100"
    infos = {size: box.start(sh(script, size=size), grace=0, runtime=rt) for size in box.sizes()}
    for size, limits in box.sizes().items():
        says(rt, infos[size], "up")
        seen = inspected(infos[size])
        host = seen["HostConfig"]
        assert host["Memory"] == host["MemorySwap"] == limits.memory * 1024 * 1024, size
        assert host["NanoCpus"] == limits.cpu * 10_000_000, size
        assert int(lines(rt, infos[size])[0].split()[1]) == limits.tmp * 1024, size
        [data] = [mount for mount in seen["Mounts"] if mount["Destination"] == "/data"]
        assert (data["Type"], data["RW"]) == ("volume", True)
    for info in infos.values():
        info.cancel()
    assert {info.wait(PATIENCE).state for info in infos.values()} == {State.CANCELLED}
    assert [containers_of(info) for info in infos.values()] == [[]] * len(infos)


INSIDE = r"""
grep -E '^(CapEff|CapBnd|NoNewPrivs):' /proc/self/status
echo "user: $(id -u):$(id -g)"
echo "init: $(cat /proc/1/comm)"
echo "net: $(ls /sys/class/net | tr '\n' ' ')"
echo "pids: $(cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null)"
for place in / /etc /tmp /data; do
  (echo x >"$place/x") 2>/dev/null && echo "writes: $place" || echo "refused: $place"
done
cp /bin/busybox /tmp/true && /tmp/true 2>/dev/null || echo "no program runs in /tmp"
mount -t tmpfs none /data 2>/dev/null && echo "mounts" || echo "no mounts"
mknod /data/null c 1 3 2>/dev/null && echo "devices" || echo "no devices"
chown 1:1 /data/x 2>/dev/null && echo "chowns" || echo "no chown"
i=0; while [ $i -lt 700 ]; do sleep 20 & i=$((i + 1)); done 2>/dev/null
"""


def test_what_it_may_seen_from_inside(rt: Runtime) -> None:
    strict, lenient = (
        box.start(BoxConf(IMAGE, cmd=["sh", "-c", INSIDE], size="xlarge", **given), runtime=rt, grace=0)
        for given in ({}, {"writable": True, "network": "internet"})
    )

    def seen(info: TaskInfo) -> list[str]:
        type, _, details = failure(info)
        assert type == "BoxFailed", "700 processes were too few to reach the limit"
        return details["stdout"].replace("\t", " ").splitlines()  # type: ignore[no-any-return]

    nothing = seen(strict)
    assert {"CapEff: 0000000000000000", "CapBnd: 0000000000000000", "NoNewPrivs: 1"} <= set(nothing)
    assert {"user: 65534:65534", "net: lo ", "pids: 100"} <= set(nothing)
    assert {"refused: /", "refused: /etc", "writes: /tmp", "writes: /data"} <= set(nothing)
    assert {"no program runs in /tmp", "no mounts", "no devices", "no chown"} <= set(nothing)
    assert any(line in nothing for line in ("init: docker-init", "init: tini"))
    some = seen(lenient)
    assert {"CapEff: 00000000000000db", "CapBnd: 00000000000000db", "NoNewPrivs: 1"} <= set(some)
    assert {"user: 0:0", "net: eth0 lo ", "pids: 512"} <= set(some)
    assert {"writes: /", "writes: /etc", "writes: /tmp", "writes: /data"} <= set(some)
    assert {"no program runs in /tmp", "no mounts", "no devices", "chowns"} <= set(some)


def test_more_memory_than_its_size_kills_it(rt: Runtime) -> None:
    conf = sh("exec tail -c 60m /dev/zero", memory=16)
    type, message, details = failure(box.start(conf, runtime=rt))
    assert type == "BoxFailed"
    # Not `oom_killed`: an engine may miss why a container died that lived for milliseconds.
    assert "more memory" in message
    assert (details["exit_code"], details["signal"]) == (137, "SIGKILL")


# --- what is seen of it ---


def test_it_is_watched_from_any_cursor_over_the_death_of_its_worker(home: Path, tmp_path: Path) -> None:
    """Its lines and its end are entries of its stream, beside what the task publishes that runs it."""
    engine()
    tmp_path.chmod(0o755)
    app = tmp_path / "cook.py"
    app.write_text(COOK, encoding="utf-8")
    script = "for n in 1 2 3 4; do echo line $n; while [ ! -e /go/$n ]; do sleep 0.02; done; done; echo why >&2; exit 3"
    with runtime(home, app=str(app), durability="os", max_crashes=100) as rt:
        go = tmp_path / "go"
        go.mkdir(mode=0o755)
        cook = rt.start("cook:cooks", IMAGE, script, str(go))
        entries: list[Any] = []
        cursor = None
        for number in (1, 2, 3, 4):
            with rt.watch(stream=cook.stream_id, after=cursor) as watch:
                while (entry := watch.next(timeout=PATIENCE)) is not None:
                    if entry.kind != "snapshot":
                        entries.append(entry)
                        cursor = entry.cursor
                    if entry.text == f"line {number}":
                        break
            if number == 2:
                kill(rt.tree()["workers"][0]["pid"])
            (go / str(number)).touch()
        assert cook.result(PATIENCE) == 3
        with rt.watch(stream=cook.stream_id, after=cursor) as watch:
            while sum(entry.kind == "end" for entry in entries) < 2:
                entry = watch.next(timeout=PATIENCE)
                assert entry is not None
                if entry.kind != "snapshot":
                    entries.append(entry)
        (dish,) = [record for record in rt.list() if record.task == "understudy.box"]
        texts = [entry.text for entry in entries if entry.kind == "log" and entry.task_id == dish.id]
        assert [text for text in texts if text and not text.startswith("---")] == [
            *(f"line {number}" for number in (1, 2, 3, 4)), "why",
        ]  # fmt: skip
        ends = [(entry.task_id, entry.name) for entry in entries if entry.kind == "end"]
        assert ends == [(dish.id, "failed"), (cook.id, "completed")]
        assert [entry.name for entry in entries if entry.kind == "item"][-1] == "done"
        with rt.watch(stream=cook.stream_id) as watch:
            assert [watch.next(timeout=PATIENCE) for _ in range(1 + len(entries))][1:] == entries


# --- how it ends ---


def test_the_map(rt: Runtime, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)  # the container's user is nobody
    (tmp_path / "in").write_text("given")
    conf = sh(
        "cat /in/in; echo $KEY; echo beside >&2; echo '{}' >/data/out.json; mkdir /data/more; echo 1 >/data/more/1",
        env={"KEY": "s p a c e"},
        mounts={"/in": str(tmp_path)},
        outputs=["/data/out.json", "/data/more"],
    )
    info = box.start(conf, runtime=rt)
    result = info.result(PATIENCE)
    assert (result["exit_code"], result["signal"], result["oom_killed"]) == (0, None, False)
    assert (result["stdout"], result["stderr"]) == ("givens p a c e\n", "beside\n")
    assert (result["image"], result["size"]) == (IMAGE, "xlarge")
    assert len(result["container_id"]) == 64
    assert (
        result["duration_ms"] == result["image_pull_ms"] + result["runtime_start_ms"] + result["execution_ms"]
    )
    assert 0 < result["runtime_start_ms"] < PATIENCE * 1000
    files = {path: Path(copy) for path, copy in result["outputs"].items()}
    assert json.loads(files["/data/out.json"].read_text()) == {}
    assert (files["/data/more"] / "1").read_text() == "1\n"
    assert files["/data/more"].parent == Path(rt.home, "boxes", info.id)
    assert (info.status().attempt, info.status().task) == (1, "understudy.box")
    # The engine does not promise the order of two streams.
    said = sorted((line.level, line.text) for line in rt.logs(info.id))
    assert said == [("stderr", "beside"), ("stdout", "givens p a c e")]
    assert containers_of(info) == []


def test_another_exit_code_fails_with_the_same_map(rt: Runtime) -> None:
    info = box.start(sh("echo out; echo why >&2; exit 7; echo not"), runtime=rt)
    type, message, details = failure(info)
    assert (type, message) == ("BoxFailed", "the container ended with exit code 7: why")
    assert (details["exit_code"], details["stdout"], details["stderr"]) == (7, "out\n", "why\n")
    # `sh -e` ends at the first command that fails, and does not print the commands.
    assert failure(box.start(sh("SECRET=1; false; echo on"), runtime=rt))[2]["stdout"] == ""


def test_a_retry_is_the_next_attempt_of_the_same_task(rt: Runtime, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    script = "echo x >>/count/n; wc -l </count/n; [ $(wc -l </count/n) -ge 3 ]"
    conf = sh(script, mounts={"/count": f"{tmp_path}:rw"})
    info = box.start(conf, retry=Retry(5, delay=0.01), key="three times", runtime=rt)
    again = box.start(conf, key="three times", runtime=rt)
    assert again.id == info.id
    assert info.result(PATIENCE)["stdout"] == "3\n"
    assert info.status().attempt == 3
    assert lines(rt, info) == ["1", "2", "3"]


def test_cancel_and_timeout(rt: Runtime) -> None:
    hears = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done"
    deaf = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    polite, forced = (
        box.start(sh(script), grace=grace, runtime=rt) for script, grace in ((hears, 10), (deaf, 0.3))
    )
    late, too_late = (box.start(sh(s, timeout=1), grace=g, runtime=rt) for s, g in ((hears, 10), (deaf, 0.3)))
    for info in (polite, forced):
        says(rt, info, "up")
        assert info.cancel()
    ends = []
    for info in (polite, forced):
        with pytest.raises(TaskCancelled) as cancelled:
            info.result(PATIENCE)
        ends.append((cancelled.value.value["exit_code"], cancelled.value.value["stdout"], lines(rt, info)))
    assert ends == [(5, "up\nbye\n", ["up", "bye"]), (137, "up\n", ["up"])]
    ends = []
    for info in (late, too_late):
        with pytest.raises(TaskTimedOut) as timed_out:
            info.result(PATIENCE)
        error = timed_out.value.error
        assert error is not None
        assert (error.type, error.message) == (
            "Timeout",
            "the container ran longer than 1 s and was stopped",
        )
        ends.append((error.details["exit_code"], error.details["stdout"], lines(rt, info)))
    assert ends == [(5, "up\nbye\n", ["up", "bye"]), (137, "up\n", ["up"])]
    assert [containers_of(info) for info in (polite, forced, late, too_late)] == [[]] * 4


def test_a_death_while_it_is_being_stopped(home: Path) -> None:
    """A cancel stands although its grace is cut short; a timeout continues."""
    engine()
    deaf = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    with runtime(home) as rt:
        cancelled = box.start(sh(deaf), grace=100, runtime=rt)
        late = box.start(sh(deaf, timeout=1), grace=4, runtime=rt)
        for info in (cancelled, late):
            says(rt, info, "up")
        assert cancelled.cancel()
        [row] = containers_of(late)
        until(lambda: past(row, 1.2), PATIENCE)
        kill(running([late], rt)[0]["pid"])
        assert cancelled.wait(PATIENCE).state is State.CANCELLED
        assert late.wait(PATIENCE).state is State.TIMED_OUT
        until(lambda: not containers_of(cancelled), PATIENCE)
        assert [lines(rt, info) for info in (cancelled, late)] == [["up"]] * 2
        error = late.status().error
        assert error is not None
        assert (error.details["exit_code"], late.status().attempt) == (137, 1)
        assert containers_of(late) == []


def past(row: dict[str, Any], age: float) -> bool:
    """Whether a container has run for this many seconds."""
    begun = seconds(engine().inspect(row["Id"])["State"]["StartedAt"])
    return time.time() - begun >= age


def test_messages_come_as_lines_of_json(rt: Runtime) -> None:
    reads = box.start(sh("head -n 3; echo done", stdin=True), runtime=rt)
    deaf = box.start(sh("sleep 100"), grace=0, runtime=rt)
    reads.send({"n": 1, "text": "line\nbreak"})
    reads.send([1, 2])
    with pytest.raises(MailboxClosed, match="stdin=True"):
        deaf.send(1)
    reads.send(None)
    assert reads.result(PATIENCE)["stdout"] == '{"n": 1, "text": "line\\nbreak"}\n[1, 2]\nnull\ndone\n'
    assert deaf.cancel()
    with pytest.raises(TaskCancelled):
        deaf.result(PATIENCE)


def test_it_can_be_seen_while_it_runs_and_holds_no_slot(rt: Runtime) -> None:
    infos = [box.start(sh("echo up; sleep 100"), grace=0, runtime=rt, priority=5) for _ in range(3)]
    for info in infos:
        says(rt, info, "up")
    # There are more containers than slots, and an ordinary task still runs beside them.
    assert rt.run("stage_tasks:add", 1, 2, timeout=PATIENCE) == 3
    rows = running(infos, rt)
    assert all(row["parked"] and row["task"] == "understudy.box" for row in rows)
    assert {record.id for record in rt.list(task="understudy.box", state="running")} >= {
        info.id for info in infos
    }
    for info in infos:
        info.cancel()
        info.wait(PATIENCE)
    with pytest.raises(UnknownTask, match="It knows"):
        rt.start("understudy.other")


# --- what goes wrong ---


def test_what_goes_wrong_says_so(rt: Runtime, tmp_path: Path) -> None:
    with image(f"understudy-tests/innocent:{os.getpid()}", Env=["DIND_COMMIT=1"]) as innocent:
        # Its name does not show this.
        refused = box.start(BoxConf(innocent), retry=3, runtime=rt)
        assert failure(refused)[0] == "BoxRefused"
        assert refused.status().attempt == 1
    never, pulled, program, mount, output, link = [
        box.start(conf, runtime=rt)
        for conf in (
            BoxConf("understudy-tests/absent", pull="never"),
            BoxConf("127.0.0.1:1/understudy-tests/absent"),
            BoxConf(IMAGE, cmd=["/bin/nothing"]),
            sh("true", mounts={"/in": str(tmp_path / "nowhere")}),
            sh("true", outputs=["/data/nothing"]),
            sh("ln -s /etc/passwd /data/link", outputs=["/data/link"]),
        )
    ]
    lost = box.start(sh("echo up; sleep 100"), runtime=rt)
    says(rt, lost, "up")
    engine().remove(containers_of(lost)[0]["Id"])
    # It is killed, then removed. The reported error depends on the timing.
    type, message, _ = failure(lost)
    assert type == "EngineError" or (type == "BoxFailed" and "(SIGKILL): somebody killed it" in message)
    assert failure(never)[:2] == (
        "ImageAbsent",
        "the image understudy-tests/absent is not on this machine, and pull='never' forbids pulling it",
    )
    type, message, _ = failure(pulled)
    assert type == "ImageAbsent"
    assert message.startswith("the image 127.0.0.1:1/understudy-tests/absent cannot be pulled: ")
    type, message, details = failure(program)
    assert (type, details["exit_code"]) == ("BoxFailed", 127)
    assert "/bin/nothing" in message
    type, message, _ = failure(mount)
    assert type == "EngineError"
    assert str(tmp_path / "nowhere") in message
    assert failure(output)[1].endswith("without its output /data/nothing")
    assert failure(link)[0] == "EngineError"
    assert [containers_of(info) for info in (never, pulled, program, mount, output, link)] == [[]] * 6


def test_no_engine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{home}/nothing")
    with runtime(home) as rt:
        type, message, _ = failure(box.start(sh("true"), runtime=rt))
    assert type == "EngineAbsent"
    assert message.startswith(
        f"no container engine answers at unix://{home}/nothing: start one there, or set DOCKER_HOST"
    )


# --- many, and what is left ---


def test_more_than_there_are_places_for_stay_queued(home: Path) -> None:
    engine()
    with runtime(home, workers=2, containers=2) as rt:
        blocks = [box.start(sh("echo up; sleep 100"), grace=0, runtime=rt) for _ in range(2)]
        for info in blocks:
            says(rt, info, "up")
        late = box.start(sh("echo late"), runtime=rt)
        first = box.start(sh("echo first"), runtime=rt, priority=1)
        delayed = box.start(sh("echo delayed"), runtime=rt, delay=0.1)
        assert rt.run("stage_tasks:add", 1, 2, timeout=PATIENCE) == 3
        assert {info.status().state for info in (late, first, delayed)} == {State.QUEUED}
        queued = {record.id for record in rt.list(state="queued")}
        assert queued == {info.id for info in (late, first, delayed)}
        blocks[0].cancel()
        ends = [info.result(PATIENCE) and info.status() for info in (first, late, delayed)]
        # One place, so they run one after the other: by priority, then by age.
        assert ends[0].ended <= ends[1].started
        assert ends[0].created > ends[1].created
        blocks[1].cancel()
        blocks[1].wait(PATIENCE)


def test_what_has_nobody_is_removed_and_what_is_of_others_is_not(home: Path) -> None:
    """A container continues while its home is not served; one whose task has ended is removed."""
    own = engine()
    with runtime(home) as rt:
        goes_on = box.start(
            sh("echo up; while [ ! -e /data/go ]; do sleep 0.05; done; echo down"), runtime=rt
        )
        says(rt, goes_on, "up")
        [row] = containers_of(goes_on)
    assert own.inspect(row["Id"])["State"]["Running"]
    labels = row["Labels"]

    def stray(name: str, **changed: str) -> str:
        spec = {"Image": IMAGE, "Cmd": ["true"], "Labels": {**labels, **changed}}
        return own.create(f"understudy-tests-{name}-{os.getpid()}", spec)

    theirs = stray("theirs", **{spec.HOME_LABEL: "another-1-2"})
    lost = stray("lost", **{spec.TASK_LABEL: "01a20447-4ec7-724a-a230-67894b1a232a"})
    old = stray("old", **{spec.ATTEMPT_LABEL: "0"})
    try:
        with runtime(home) as rt:
            gone = {lost, old}
            ours = {spec.HOME_LABEL: labels[spec.HOME_LABEL]}
            until(lambda: not gone & {found["Id"] for found in own.find(ours)}, PATIENCE)
            assert own.inspect(theirs)["State"]["Status"] == "created"
            own.unpack(row["Id"], "/data", tar_with("go"))
            assert rt.result(goes_on.id, PATIENCE)["container_id"] == row["Id"]
            assert lines(rt, goes_on) == ["up", "down"]
            record = rt.status(goes_on.id)
            assert (record.attempt, record.interruptions) == (1, 1)
            folder = Path(home, "boxes", goes_on.id)
            folder.mkdir()
            rt.prune(all=True)
    finally:
        own.remove(theirs)
    with runtime(home):
        until(lambda: not folder.exists())


def tar_with(name: str) -> bytes:
    import io
    import tarfile

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return file.getvalue()
