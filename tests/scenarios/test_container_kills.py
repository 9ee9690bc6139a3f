"""SIGKILL at every step of a container task: the container continues, and its task ends as usual."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from engines import containers_of, engine, sh
from stage_boxes import NAMES
from theatre import PATIENCE, kill, ready, runtime
from understudy import State, box
from waiting import until

SCRIPT = """
for n in 1 2 3; do echo "out $n"; echo "err $n" >&2; done
while [ "$GATE" ] && [ ! -e /gate/open ]; do sleep 0.05; done
for n in 4 5 6; do echo "out $n"; echo "err $n" >&2; done
echo left >/data/left
exit 7
"""
SAID = [str(n) for n in range(1, 7)]

#: From here on a container has ended, so it cannot wait for the test.
ENDED = NAMES[NAMES.index("ended") :]


@pytest.mark.timeout(150)
def test_at_every_step(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps at once, each in its own task: first the worker dies, then the supervisor, at other steps."""
    engine()
    tmp_path.chmod(0o755)
    monkeypatch.setenv("STAGE_FOLDER", str(tmp_path))
    with runtime(home, app="stage_boxes", containers=32, restarts=100) as rt:
        infos = {}
        for first in NAMES:
            second = NAMES[(NAMES.index(first) + 7) % len(NAMES)]
            waits = first not in ENDED and second not in ENDED
            conf = sh(
                SCRIPT,
                env={"STAGES": f"{first},{second}", "GATE": "1" if waits else ""},
                mounts={"/gate": str(tmp_path)},
                outputs=["/data/left"],
            )
            infos[f"{first}, {second}"] = box.start(conf)

        def stopped(number: int) -> set[str]:
            """The tasks that have neither stopped at this point nor ended."""
            return {
                stages
                for stages, info in infos.items()
                if not (tmp_path / f"{info.id}.{number}").exists() and not info.status().ended
            }

        until(lambda: not stopped(0), 2 * PATIENCE, lambda: str(stopped(0)))
        kill(ready(rt, 1)[0])
        (tmp_path / "open").touch()
        until(lambda: not stopped(1), 2 * PATIENCE, lambda: str(stopped(1)))
        kill(rt.supervisor_pid)
        for stages, info in infos.items():
            record = info.wait(PATIENCE)
            assert (record.state, record.attempt) == (State.FAILED, 1), (stages, record.error)
            assert record.error is not None
            details = record.error.details
            assert (record.error.type, details["exit_code"]) == ("BoxFailed", 7), (stages, record.error)
            for level, word in (("stdout", "out"), ("stderr", "err")):
                logged = [line.text for line in rt.logs(info.id) if line.level == level]
                assert logged == [f"{word} {n}" for n in SAID], stages
                assert details[level] == "".join(f"{word} {n}\n" for n in SAID), stages
            assert Path(details["outputs"]["/data/left"]).read_text() == "left\n", stages
            assert containers_of(info) == [], stages
        made = Counter((tmp_path / "created").read_text().split())
        once = Counter(name for name in made if not name.endswith("-seed"))
        assert len(once) == len(infos)
        assert {made[name] for name in once} == {1}
        # Nearly all tasks have died twice: some points are not passed a second time.
        assert sum(info.status().interruptions for info in infos.values()) > 1.5 * len(infos)
