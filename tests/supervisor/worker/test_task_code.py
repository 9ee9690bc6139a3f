"""Tasks found by name in modules that are imported late; over processes in test_worker.py and test_absent_code.py."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from understudy.actors.attempt.host import Undeclared
from understudy.actors.errors import AppFailed
from understudy.actors.task.declaration import registry
from understudy.supervisor.worker.task_code import TaskCode

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module that can be imported; it and its tasks are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before, declared = set(sys.modules), set(registry)

    def write(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")

    yield write
    for module in set(sys.modules) - before:
        del sys.modules[module]
    for name in set(registry) - declared:
        del registry[name]


def test_a_module_is_imported_when_one_of_its_tasks_is_asked_for(write: Write) -> None:
    write(
        "late_one",
        "from understudy import task\n@task\ndef f(): return 1\n@task(name='own')\ndef g(): return 2\n",
    )
    code = TaskCode([])
    code.add(["late_one"])
    assert "late_one" not in sys.modules
    found = code.of("late_one:f")
    assert found() == 1
    assert code.of("late_one:f") is found
    assert code.of("own")() == 2


def test_the_likeliest_module_is_tried_first_and_the_others_if_it_has_no_such_task(write: Write) -> None:
    write("late_first", "")
    write("late_second", "from understudy import task\n@task(name='late_first:f')\ndef f(): return 3\n")
    code = TaskCode(["late_second", "late_first"])
    assert code.of("late_first:f")() == 3


def test_no_module_has_it(write: Write) -> None:
    write("late_empty", "")
    with pytest.raises(Undeclared, match="declares no task late_empty:f"):
        TaskCode(["late_empty"]).of("late_empty:f")()


def test_a_module_that_cannot_be_imported_says_why_and_is_tried_again_when_declared(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(
        "late_broken", "with open('tries', 'a') as file: file.write('x')\nimport a_module_that_is_not_there\n"
    )
    code = TaskCode(["late_broken"])
    for _ in range(2):
        with pytest.raises(Undeclared) as caught:
            code.of("late_broken:f")()
        assert isinstance(caught.value.__cause__, AppFailed)
        assert "late_broken cannot be imported" in str(caught.value.__cause__)
        assert "a_module_that_is_not_there" in str(caught.value.__cause__)
    assert Path("tries").read_text() == "x", "tried again only when declared again"
    code.add(["late_broken"])
    write("a_module_that_is_not_there", "")
    write("late_broken", "from understudy import task\n@task\ndef f(): return 4\n")
    assert code.of("late_broken:f")() == 4


def test_an_own_kind_of_task() -> None:
    assert TaskCode([]).of("understudy.box").name == "understudy.box"
