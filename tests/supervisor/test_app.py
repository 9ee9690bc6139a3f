"""What the app is, and loading it: each load in a process of its own, for it changes that process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import zipapp
from pathlib import Path
from typing import Any

import pytest

from puppets import end, program, said
from understudy.actors.errors import AppFailed
from understudy.supervisor.app import AppSpec
from understudy.supervisor.linux.python_command import absolute_entries

LOAD = """
import ast, sys
from understudy.actors.errors import AppFailed
from understudy.supervisor.app import AppSpec, declared_tasks, load_app, loading
try:
    load_app(AppSpec.unpack(ast.literal_eval(sys.argv[1])))
except AppFailed as error:
    result = {"failed": error.args[0], "traceback": error.remote_traceback}
else:
    result = {"tasks": sorted(declared_tasks())}
assert not loading()
"""


def load(spec: AppSpec, then: str = "") -> Any:
    """Load it elsewhere: {"tasks"} or {"failed", "traceback"}, plus what `then` puts into `result`."""
    source = LOAD + textwrap.dedent(then) + "\nprint(result, flush=True)"
    process = program(source, repr(spec.pack()), stderr=subprocess.PIPE)
    try:
        return said(process)
    finally:
        end(process)


def write(path: Path, source: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return path


def describe(*command: str, cwd: Path) -> AppSpec:
    """What AppSpec.of_main says in a program run by this command line; it has to print it."""
    found = [os.path.abspath(entry) for entry in sys.path]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(found)},
    )
    assert done.returncode == 0, done.stderr
    import ast

    return AppSpec.unpack(ast.literal_eval(done.stdout))


SCRIPT = """
from understudy import task
from understudy.supervisor.app import AppSpec

@task
def play(): pass

if __name__ == "__main__":
    print(AppSpec.of_main(["extra"]).pack())
"""


class TestSpec:
    def test_survives_packing(self):
        spec = AppSpec(["a"], "/m.py", ["/p"], "/c", ["x"])
        assert AppSpec.unpack(spec.pack()) == spec
        assert AppSpec.unpack({**spec.pack(), "of_a_later_release": 1}) == spec

    @pytest.mark.parametrize("text", ["tasks", "pkg.tasks"])
    def test_a_module_by_name(self, text: str, tmp_path: Path):
        spec = AppSpec.parse(text, tmp_path)
        assert spec == AppSpec([text], None, [str(tmp_path)], str(tmp_path))

    @pytest.mark.parametrize("text", ["sub/tasks.py", "./sub/tasks.py", "{}/sub/tasks.py"])
    def test_a_file(self, text: str, tmp_path: Path):
        write(tmp_path / "sub/tasks.py", "")
        spec = AppSpec.parse(text.format(tmp_path), tmp_path)
        assert spec == AppSpec(["tasks"], None, [str(tmp_path / "sub")], str(tmp_path))

    @pytest.mark.parametrize("text", ["tasks:app", "pkg.tasks:app", "tasks.py:app", "sub/tasks.py:app"])
    def test_a_name_in_a_module(self, text: str, tmp_path: Path):
        for name in ("tasks.py", "sub/tasks.py"):
            write(tmp_path / name, "")
        spec = AppSpec.parse(text, tmp_path)
        assert spec.objects == [f"{spec.modules[0]}:app"]
        whole = AppSpec.parse(text.partition(":")[0], tmp_path)
        assert (spec.modules, spec.sys_path) == (whole.modules, whole.sys_path)

    @pytest.mark.parametrize("text", ["tasks:", "tasks:a.b", "tasks:1"])
    def test_what_is_no_name_in_a_module(self, text: str, tmp_path: Path):
        with pytest.raises(AppFailed, match=f"'{text}' names no app; write 'tasks'"):
            AppSpec.parse(text, tmp_path)

    def test_several(self, tmp_path: Path):
        for name in ("jobs.py", "sub/other.py"):
            write(tmp_path / name, "")
        spec = AppSpec.parse_all(["jobs.py", "billing:app", "sub/other.py"], tmp_path)
        assert spec == AppSpec(
            ["jobs", "billing", "other"],
            None,
            [str(tmp_path), str(tmp_path / "sub")],
            str(tmp_path),
            objects=["billing:app"],
        )

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            (["jobs", "jobs"], "'jobs' and 'jobs' are both the module jobs"),
            (["jobs.py", "sub/jobs.py"], "'jobs.py' and 'sub/jobs.py' are both the module jobs"),
            (["jobs", "sub/other.py"], "has a module other, too.* 'sub/other.py'; rename"),
        ],
    )
    def test_two_of_one_name(self, texts: list[str], message: str, tmp_path: Path):
        for name in ("jobs.py", "other.py", "sub/jobs.py", "sub/other.py"):
            write(tmp_path / name, "")
        with pytest.raises(AppFailed, match=message):
            AppSpec.parse_all(texts, tmp_path)

    @pytest.mark.parametrize(
        ("text", "module"),
        [
            ("shop/jobs/tasks.py", "shop.jobs.tasks"),
            ("shop/jobs/__init__.py", "shop.jobs"),
            ("shop/queue.py", "shop.queue"),
            ("my-shop/tasks.py", "tasks"),
        ],
    )
    def test_a_file_of_a_package_is_imported_by_its_whole_name(self, text: str, module: str, tmp_path: Path):
        for name in ("shop/__init__.py", "shop/jobs/__init__.py", "my-shop/__init__.py", text):
            write(tmp_path / name, "")
        spec = AppSpec.parse(text, tmp_path)
        root = tmp_path / "my-shop" if module == "tasks" else tmp_path
        assert spec == AppSpec([module], None, [str(root)], str(tmp_path))

    def test_a_package_with_the_name_of_another_module(self, tmp_path: Path):
        for name in ("json/__init__.py", "json/tasks.py"):
            write(tmp_path / name, "")
        with pytest.raises(AppFailed, match=r"name of the module json.* rename the folder json"):
            AppSpec.parse("json/tasks.py", tmp_path)

    def test_a_path_with_a_colon_in_it_is_a_file(self, tmp_path: Path):
        write(tmp_path / "a:b/tasks.py", "")
        assert AppSpec.parse("a:b/tasks.py", tmp_path).sys_path == [str(tmp_path / "a:b")]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("missing.py", "no file"),
            ("json.py", "name of the module"),
            ("understudy.py", "name of the module"),
            ("a.b.py", "rename"),
            ("sub/", "no file"),
            ("not a name", "names no app"),
            ("pkg..tasks", "names no app"),
            ("", "names no app"),
        ],
    )
    def test_what_is_no_app(self, text: str, message: str, tmp_path: Path):
        for name in ("json.py", "understudy.py", "a.b.py"):
            write(tmp_path / name, "")
        with pytest.raises(AppFailed, match=message):
            AppSpec.parse(text, tmp_path)

    def test_entries_for_another_process(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "sub").mkdir()
        assert absolute_entries(["", "sub", "/x", "__hook__"]) == [
            str(tmp_path),
            str(tmp_path / "sub"),
            "/x",
            "__hook__",
        ]


class TestOfMain:
    def test_a_script(self, tmp_path: Path):
        script = write(tmp_path / "play.py", SCRIPT)
        spec = describe("play.py", "--loud", cwd=tmp_path)
        assert spec.main_path == str(script)
        assert spec.modules == ["extra"]
        assert spec.cwd == str(tmp_path)
        assert spec.argv == ["play.py", "--loud"]
        assert str(tmp_path) in spec.sys_path

    def test_a_module(self, tmp_path: Path):
        write(tmp_path / "pkg/__init__.py", "")
        write(tmp_path / "pkg/play.py", SCRIPT)
        spec = describe("-m", "pkg.play", cwd=tmp_path)
        assert (spec.main_path, spec.modules) == (None, ["pkg.play", "extra"])

    def test_a_package_that_declares_tasks_in_its_main(self, tmp_path: Path):
        write(tmp_path / "pkg/__init__.py", "")
        write(tmp_path / "pkg/__main__.py", SCRIPT)
        spec = describe("-m", "pkg", cwd=tmp_path)
        assert (spec.main_path, spec.modules) == (None, ["pkg.__main__", "extra"])

    def test_a_package_that_only_launches(self, tmp_path: Path):
        write(tmp_path / "pkg/__init__.py", "")
        write(tmp_path / "pkg/__main__.py", SCRIPT.replace("@task", ""))
        spec = describe("-m", "pkg", cwd=tmp_path)
        assert (spec.main_path, spec.modules) == (None, ["extra"])

    def test_a_folder(self, tmp_path: Path):
        main = write(tmp_path / "folder/__main__.py", SCRIPT)
        spec = describe("folder", cwd=tmp_path)
        assert (spec.main_path, spec.modules) == (str(main), ["extra"])

    @pytest.mark.parametrize("declares", [True, False])
    def test_an_installed_command(self, declares: bool, tmp_path: Path):
        command = write(tmp_path / "play", SCRIPT if declares else SCRIPT.replace("@task", ""))
        spec = describe("play", cwd=tmp_path)
        assert spec.main_path == (str(command) if declares else None)

    def test_no_file_at_all(self, tmp_path: Path):
        spec = describe("-c", SCRIPT, cwd=tmp_path)
        assert (spec.main_path, spec.modules) == (None, ["extra"])


PROGRAM = """
import sys
from understudy import Runtime, task

@task
def double(number: int) -> int:
    return 2 * number

if __name__ == "__main__":
    with Runtime(sys.argv[1], workers=1) as rt:
        print("result", rt.run(double, 21, timeout=30))
"""


def output(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, timeout=50)


class TestPrograms:
    """Whole programs, in the shapes in which users run them."""

    @pytest.mark.parametrize(
        "command",
        [
            "-m cProfile -o figures play.py",
            "-m profile -o figures play.py",
            "-m cProfile -o figures -m play",
            "app.pyz",
        ],
    )
    def test_with_something_in_front(self, command: str, tmp_path: Path, home: Path):
        write(tmp_path / "play.py", PROGRAM)
        write(tmp_path / "packed/__main__.py", PROGRAM)
        zipapp.create_archive(tmp_path / "packed", tmp_path / "app.pyz")
        done = output(*command.split(), str(home), cwd=tmp_path)
        assert "result 42" in done.stdout.splitlines(), done.stderr

    def test_a_tracer(self, tmp_path: Path, home: Path):
        write(tmp_path / "play.py", PROGRAM)
        done = output("-m", "trace", "--count", "--coverdir", "counts", "play.py", str(home), cwd=tmp_path)
        assert "result 42" in done.stdout.splitlines(), done.stderr

    def test_a_web_application_in_one_file(self, tmp_path: Path, home: Path):
        write(
            tmp_path / "shop.py",
            f"""
            from understudy import Runtime, current, task
            rt = Runtime({str(home)!r}, workers=1)

            @task
            def double(number: int) -> int:
                return 2 * number

            @task
            def twice(number: int) -> int:
                return rt.run(double, rt.start(double, number).result())

            def app(environ, start_response):
                return [str(rt.run(twice, 10, timeout=30)).encode()]
            """,
        )
        done = output("-c", "from shop import app; print(app({}, None))", cwd=tmp_path)
        assert done.stdout == "[b'40']\n", done.stderr

    def test_a_script_without_a_guard_says_so_once(self, tmp_path: Path, home: Path):
        write(tmp_path / "play.py", PROGRAM.replace('if __name__ == "__main__":', "if True:"))
        done = output("play.py", str(home), cwd=tmp_path)
        assert done.returncode == 1
        said = done.stderr
        assert said.splitlines()[-1].startswith("understudy.actors.errors.AppFailed: the app")
        assert said.count("Traceback") == said.count("AppFailed") == 1
        assert (
            f'under `if __name__ == "__main__":`, or into a function that the import does not call ({tmp_path}'
            in said
        )


class TestLoad:
    def test_a_module_with_its_neighbours(self, tmp_path: Path):
        write(tmp_path / "props.py", "NAME = 'skull'")
        write(
            tmp_path / "drama.py",
            """
            import os, props
            from understudy import task
            from understudy.supervisor.app import loading
            assert loading() and os.getcwd() == os.path.dirname(__file__)
            @task
            def play(): pass
            """,
        )
        assert load(AppSpec.parse("drama", tmp_path)) == {"tasks": ["drama:play"]}

    def test_a_script_keeps_its_guard_shut_and_its_names(self, tmp_path: Path):
        script = write(
            tmp_path / "play.py",
            """
            import sys
            from understudy import task
            assert __name__ == "__mp_main__" and sys.argv == ["play.py", "--loud"]
            acts = 0
            @task
            def play():
                global acts
                acts += 1
            if __name__ == "__main__":
                raise AssertionError
            """,
        )
        spec = AppSpec(main_path=str(script), argv=["play.py", "--loud"])
        then = """
            import __main__, __mp_main__
            from understudy.actors.task.declaration import registry
            assert __main__ is __mp_main__
            registry["__main__:play"]()
            result["acts"] = __main__.acts
            """
        assert load(spec, then) == {"tasks": ["__main__:play"], "acts": 1}

    def test_a_script_and_a_module_together(self, tmp_path: Path):
        declare = "from understudy import task\n@task\ndef {}(): pass\n"
        script = write(tmp_path / "main.py", declare.format("one"))
        write(tmp_path / "more.py", declare.format("two"))
        spec = AppSpec(["more"], str(script), [str(tmp_path)])
        assert load(spec) == {"tasks": ["__main__:one", "more:two"]}

    def test_a_failure_shows_the_users_frames_only(self, tmp_path: Path):
        write(tmp_path / "props.py", "def fetch():\n    raise KeyError('skull')\n")
        write(tmp_path / "drama.py", "import props\nprops.fetch()\n")
        found = load(AppSpec.parse("drama", tmp_path))
        assert found["failed"] == "the app drama cannot be imported: KeyError: 'skull'"
        lines = found["traceback"].splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert lines[1] == f'  File "{tmp_path}/drama.py", line 2, in <module>'
        assert lines[-1] == "KeyError: 'skull'"
        assert "supervisor/app.py" not in found["traceback"]
        assert "importlib" not in found["traceback"]

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("raise SystemExit(3)", r'SystemExit: 3.*if __name__ == "__main__"'),
            ("import sys; sys.exit()", r'if __name__ == "__main__"'),
            ("def broken(:", "SyntaxError"),
            ("import no_such_thing", "No module named 'no_such_thing'"),
            ("class Odd(BaseException): pass\nraise Odd('x')", "Odd: x"),
            ("raise ValueError('two\\nlines')", "ValueError: two"),
        ],
    )
    @pytest.mark.parametrize("how", ["module", "script"])
    def test_whatever_it_raises(self, source: str, message: str, how: str, tmp_path: Path):
        path = write(tmp_path / "drama.py", source)
        spec = AppSpec.parse("drama", tmp_path) if how == "module" else AppSpec(main_path=str(path))
        found = load(spec)
        with pytest.raises(AppFailed, match=message):
            raise AppFailed(found["failed"])
        assert "drama.py" in found["traceback"]
        assert "app.py" not in found["traceback"]

    def test_no_such_module(self, tmp_path: Path):
        assert "no module drama" in load(AppSpec.parse("drama", tmp_path))["failed"]
        assert "no module drama" in load(AppSpec.parse("drama.acts", tmp_path))["failed"]

    def test_a_name_that_the_module_lacks(self, tmp_path: Path):
        write(tmp_path / "jobs.py", "from understudy import task\n@task\ndef right(): pass\napp = 1\n")
        assert load(AppSpec.parse("jobs:app", tmp_path)) == {"tasks": ["jobs:right"]}
        assert load(AppSpec.parse("jobs:rigth", tmp_path))["failed"] == (
            "the module jobs has no 'rigth'. Did you mean 'right'? Its tasks are right; to serve them all, write jobs"
        )

    def test_no_such_folder(self, tmp_path: Path):
        found = load(AppSpec(cwd=str(tmp_path / "gone")))
        assert "cannot be entered" in found["failed"]

    def test_no_such_script(self, tmp_path: Path):
        found = load(AppSpec(main_path=str(tmp_path / "gone.py")))
        assert "FileNotFoundError" in found["failed"]
