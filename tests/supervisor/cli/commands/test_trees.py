"""`understudy tree`, and the trees of an app that `serve` starts, changes and stops."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import tree_tasks
from understudy.supervisor.cli.exit_codes import ExitCode
from waiting import until

if TYPE_CHECKING:
    import subprocess

    from conftest import Stage

SUPPORT = str(Path(tree_tasks.__file__).parent)

APP = """
import sys
sys.path.append({support!r})
from understudy import Supervisor, child
import tree_tasks as app

FILE = {file!r}

def serving(id, name=None):
    return child(id, app.service, name or id, FILE, kwargs={{"says_ready": True}}, ready=True)

{tree}
"""


def deploy(stage: Stage, file: Path, tree: str, *options: str) -> subprocess.Popen[str]:
    stage.write(APP.format(support=SUPPORT, file=str(file), tree=tree))
    return stage.serve(*options)[0]


def events(file: Path) -> list[str]:
    return [line.split()[1] for line in file.read_text().splitlines()] if file.exists() else []


def children(stage: Stage) -> list[tuple[str, str]]:
    (shop,) = stage("tree", "--json").json["trees"]
    return [(each["id"], each["state"]) for each in shop["children"]]


def end(process: subprocess.Popen[str]) -> int:
    process.terminate()
    process.communicate(timeout=15)
    return process.returncode


def test_a_deploy_changes_what_has_changed(stage: Stage, tmp_path: Path):
    file = tmp_path / "events"
    process = deploy(
        stage, file, "shop = Supervisor('shop', children=[serving('a'), serving('b'), serving('c')])"
    )
    until(lambda: events(file) == ["+a", "+b", "+c"])
    end(process)
    process = deploy(
        stage, file, "shop = Supervisor('shop', children=[serving('a'), serving('c', 'c2'), serving('n')])"
    )
    until(lambda: children(stage) == [("a", "running"), ("c", "running"), ("n", "running")])
    later = events(file)[3:]
    assert {"+c2", "+n"} <= set(later)
    assert not {"+b", "+c"} & set(later), "what has changed or is gone does not begin again"
    end(process)
    process = deploy(stage, file, "")
    until(lambda: stage("tree", "--json").json["trees"] == [])
    listed = stage("ps", "--json").json
    assert {each["state"] for each in listed} == {"cancelled"}
    end(process)


def test_trees_are_shown_restarted_and_stopped(stage: Stage, tmp_path: Path):
    file = tmp_path / "events"
    deploy(
        stage,
        file,
        "shop = Supervisor('shop', children=[serving('a'), Supervisor('w', children=[serving('b')])])",
    )
    until(lambda: events(file) == ["+a", "+b"])
    text = stage("tree").out
    assert "shop  tree  running" in text
    assert "a  trees:service  running" in text
    alone = stage("tree", "shop")
    assert alone.out.startswith("shop  tree  running\n")
    assert "supervisor" not in alone.out
    shown = stage("tree", "shop/w", "--json").json
    assert (shown["path"], [each["id"] for each in shown["children"]]) == ("shop/w", ["b"])
    assert stage("tree", "--json", "shop/w").json == shown
    assert stage("tree", "show", "shop/w/b").out.startswith("b  trees:service  running")
    unknown = stage("tree", "shpo")
    assert (unknown.code, unknown.out) == (ExitCode.NOT_FOUND, "")
    assert "`understudy tree` shows" in unknown.err
    typed = stage("tree", "restrat", "shop")
    assert (typed.code, "Did you mean 'restart'?" in typed.err) == (ExitCode.USAGE, True)
    answer: Any = stage("tree", "stop", "shop/w/b", "--json").json
    assert (answer["path"], answer["restarts"]) == ("shop/w/b", 0)
    until(lambda: events(file)[-1] == "-b")
    assert stage("tree", "restart", "shop/w/b").code == ExitCode.OK
    until(lambda: events(file)[-1] == "+b")
    assert stage("tree", "restart", "shop").code == ExitCode.OK
    until(lambda: events(file)[-4:] == ["-b", "-a", "+a", "+b"])
    assert stage("tree", "stop", "shop").code == ExitCode.OK
    until(lambda: "shop  tree  stopped" in stage("tree").out)
    assert stage("tree", "stop", "shop/x").code == ExitCode.NOT_FOUND
    assert stage("tree", "restart", "other").code == ExitCode.NOT_FOUND


def test_the_supervisor_may_end_with_its_trees(stage: Stage, tmp_path: Path):
    file = tmp_path / "events"
    tree = "shop = Supervisor('shop', intensity=0, children=[serving('a')])"
    process = deploy(stage, file, tree, "--exit-with-trees")
    until(lambda: events(file) == ["+a"])
    (id,) = [each["id"] for each in stage("ps", "--json").json]
    assert stage("send", id, '"raise"').code == ExitCode.OK
    process.communicate(timeout=15)
    assert process.returncode == ExitCode.TREE_FAILED


def test_trees_that_cannot_be_started_are_refused_at_the_start(stage: Stage, tmp_path: Path):
    for tree, said in (
        ("a = Supervisor('shop', children=[]); b = Supervisor('shop', children=[])", "two supervision trees"),
        ("a = Supervisor('shop', children=[child('x', app.service, object())])", "cannot be started"),
        (
            "a = Supervisor('shop', children=[child('x', app.service, 1), child('x', app.service, 1)])",
            "two children",
        ),
    ):
        stage.write(APP.format(support=SUPPORT, file="", tree=tree))
        answer = stage.shell("serve", "app")
        assert answer.code == ExitCode.APP_FAILED
        assert said in answer.err
