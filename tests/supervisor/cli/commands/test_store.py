from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.supervisor.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from conftest import Stage


def test_prune_and_compact_with_a_supervisor_and_without(stage: Stage):
    process, _ = stage.serve()
    stage("run", "app:add", f'"{"x" * 300_000}"', '""')
    waiting = stage.start("app:add", "1", "--delay", "1h")
    assert stage("prune").out == "removed 0 tasks\n"
    assert stage("prune", "--all", "--json").json == {"removed": 1}
    assert [task["id"] for task in stage("ps", "--json").json] == [waiting]
    sizes = stage("compact", "--json").json
    assert sizes["after"] < sizes["before"] - 300_000
    process.terminate()
    process.communicate(timeout=15)
    assert stage("compact").out.endswith("now\n")
    assert stage("check").out.startswith("sound: 1 task, ")


def test_a_backup_is_a_home(served: Stage):
    id = served.start("app:add", "1")
    served("result", id, "--wait")
    answer = served.shell("backup", "copy", "--json")
    assert answer.json["path"] == str(served.folder / "copy")
    assert answer.json["bytes"] > 4096
    assert served("show", id, "--home", "copy", "--json").json["state"] == "completed"
    again = served("backup", "copy")
    assert again.code == ExitCode.HOME_UNUSABLE
    assert "never overwrites" in again.err


def test_check_tells_by_its_exit_code(served: Stage, stage: Stage):
    report = served("check", "--json").json
    assert report["sound"] is True
    assert report["rows"]["tasks"] > 0 or report["rows"]["meta"] > 0
    served("backup", str(stage.home))
    store = stage.home / "store.mdb"
    data = bytearray(store.read_bytes())
    data[2 * 4096 :] = b"\xff" * (len(data) - 2 * 4096)
    store.write_bytes(data)
    answer = stage("check")
    assert answer.code == ExitCode.PROBLEMS_FOUND
    assert answer.out.replace("\n", "").isprintable()
    assert "restore a backup" in answer.err
    assert stage("check", "--json").json["sound"] is False
