"""The documentation is tested: what it says of names, defaults and limits is the code's, and its programs run.

A block of Python whose first line is `# file: name.py` is a whole program: it is run, and must print what the block
marked `output` right below it says. Every other block of Python must at least compile.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import understudy
from checkout import ROOMS, ROOT, modules
from limits import LIMITS
from understudy import BoxConf, Retry, Task, ws
from understudy.actors import errors
from understudy.actors.box.sizes import SIZES
from understudy.actors.errors import InvalidOption
from understudy.actors.inside import aio
from understudy.actors.refs.actor_options import OWN, ActorOptions
from understudy.actors.state import diagram
from understudy.actors.task.handles import TaskInfo
from understudy.actors.task.options import Options
from understudy.actors.websocket.connect_options import FINAL, Backoff, ConnectOptions
from understudy.supervisor.cli.main import COMMANDS
from understudy.supervisor.settings import Settings

DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("**/*.md")])
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
EVERYTHING = "\n".join(TEXTS.values())

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$\n?", re.MULTILINE | re.DOTALL)
UNITS = {"ms": 1e-3, "s": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "": 1}


class Block(NamedTuple):
    """A fenced block."""

    page: str
    line: int
    language: str
    text: str
    output: str | None
    """The block marked `output` right below it."""

    @property
    def file(self) -> str | None:
        first = self.text.partition("\n")[0]
        return first.removeprefix("# file: ") if first.startswith("# file: ") else None


def blocks() -> Iterator[Block]:
    for page, text in TEXTS.items():
        found = list(FENCE.finditer(text))
        for n, match in enumerate(found):
            follower = found[n + 1] if n + 1 < len(found) else None
            output = None
            if follower and follower[1] == "output" and not text[match.end() : follower.start()].strip():
                output = follower[2]
            line = text.count("\n", 0, match.start()) + 1
            yield Block(str(page.relative_to(ROOT)), line, match[1], match[2], output)


BLOCKS = list(blocks())
PROGRAMS = [block for block in BLOCKS if block.language == "python" and block.file]


def name_of(block: Block) -> str:
    return f"{block.page}:{block.file or block.line}"


def table(page: str, heading: str) -> dict[str, list[str]]:
    """The rows of the first table below a heading, by their first cell without its backticks."""
    text = TEXTS[ROOT / page]
    below = text[re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE).end() :]  # type: ignore[union-attr]
    lines = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)[0].splitlines()[2:]  # type: ignore[index]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0].strip("| `"): row for row in rows}


def number(text: str) -> float:
    """`1,800 s`, `64 MiB` and the like, as seconds or bytes."""
    match = re.match(r"(-?[\d,.]+) ?(ms|s|KiB|MiB|GiB|)\b", text)
    assert match, f"no number: {text}"
    return float(match[1].replace(",", "")) * UNITS[match[2]]


def says(cell: str, value: object) -> bool:
    """Whether a cell of a table gives this value."""
    if value is None:
        return cell.startswith("none")
    if isinstance(value, bool):
        return cell == ("yes" if value else "no")
    if isinstance(value, int | float):
        return number(cell) == value
    if isinstance(value, Retry):
        return cell == "`Retry()`" and value == Retry()
    if isinstance(value, tuple):
        return cell == (", ".join(f"`{kind.__name__}`" for kind in value) or "none")
    return cell.strip('`"') == str(value)


def default(field: Any) -> object:
    assert field.default is not MISSING
    return field.default


# --- programs ---


def run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    (folder / str(block.file)).write_text(block.text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(block.file)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.timeout(120)  # some twenty programs, on a busy machine
def test_every_program_prints_what_the_page_says(tmp_path: Path) -> None:
    # Beside each other, since they mostly wait; and in one test, since the check for processes that are left
    # behind would take those of one test for another's.
    folders = [tmp_path / str(number) for number in range(len(PROGRAMS))]
    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(run, PROGRAMS, folders))
    wrong = [
        f"{name_of(block)}: exit code {ended.returncode}\n{ended.stdout}{ended.stderr}instead of\n{block.output}"
        for block, ended in zip(PROGRAMS, ends, strict=True)
        if ended.returncode or ended.stdout != block.output
    ]
    assert not wrong, "\n".join(wrong)


def test_there_are_programs_on_the_pages_that_teach() -> None:
    teaching = {
        "README.md",
        *(f"docs/{page}.md" for page in ("tasks", "messages", "actors", "client", "websockets")),
    }
    assert teaching <= {b.page for b in PROGRAMS}
    assert [name_of(block) for block in PROGRAMS if block.output is None] == []


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=name_of)
def test_python_compiles(block: Block) -> None:
    compile(block.text, name_of(block), "exec")


# --- what the tables say ---


def test_task_options() -> None:
    rows = table("docs/tasks.md", "Options")
    assert list(rows) == [field.name for field in fields(Options)]
    assert [f.name for f in fields(Options) if not says(rows[f.name][1], default(f))] == []


def test_options_of_actor_classes() -> None:
    rows = table("docs/actors.md", "Options")
    known = {field.name: field for field in fields(ActorOptions)}
    assert list(rows) == ["timeout", *OWN]
    assert [name for name in rows if not says(rows[name][1], default(known[name]))] == []


def test_options_of_one_start() -> None:
    own = set(inspect.signature(Task.options).parameters) - {"self", "changes"}
    assert set(table("docs/tasks.md", "Options of one start")) == own


def test_options_of_a_connection() -> None:
    rows = table("docs/websockets.md", "Options of connect")
    options = [field for field in fields(ConnectOptions) if field.name != "url"]
    assert list(rows) == [field.name for field in options]
    assert [f.name for f in options if not says(rows[f.name][1], default(f))] == []


def test_backoff_of_a_connection() -> None:
    rows = table("docs/websockets.md", "Reconnecting")
    assert set(rows) == {field.name for field in fields(Backoff)}
    assert [
        f.name for f in fields(Backoff) if f.name != "final" and not says(rows[f.name][1], default(f))
    ] == []
    assert (1000, 1002, 1003, *range(1007, 1011)) == FINAL


def test_retry_policy() -> None:
    rows = table("docs/tasks.md", "Retries")
    assert list(rows) == [field.name for field in fields(Retry)]
    assert [f.name for f in fields(Retry) if not says(rows[f.name][1], default(f))] == []


def test_fields_of_a_container() -> None:
    rows = table("docs/containers.md", "The fields of a BoxConf")
    assert list(rows) == [
        *("image", "size", "cmd", "script", "entrypoint", "env", "timeout", "network", "writable", "memory"),
        *("tmp_size", "disk_size", "mounts", "stdin", "pull", "outputs"),
    ]
    assert set(rows) == {field.name for field in fields(BoxConf)}
    conf = BoxConf("alpine")
    for name, row in rows.items():
        value = getattr(conf, name)
        if name != "image" and value:
            assert row[1].strip("`") == value


def test_sizes_of_containers() -> None:
    rows = table("docs/containers.md", "Sizes")
    assert list(rows) == list(SIZES)
    for name, row in rows.items():
        assert [float(cell.split()[0].replace(",", "")) for cell in row[1:]] == list(SIZES[name]), name


@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
def test_setting(field: Any) -> None:
    row = table("docs/settings.md", "Settings")[field.name]
    if field.name in ("pools", "pool_slots", "pool_env"):
        assert row[1] == "none"
        assert field.default_factory() == {}
        return  # their keys are names of pools
    assert says(row[1], default(field))
    if field.name in ("durability", "group"):
        return  # their values are words
    bounds = row[2].removeprefix("more than ")
    above = bounds != row[2]
    least, _, most = bounds.partition(" to ")
    whole = isinstance(default(field), int)

    def value(number: float) -> float:
        return int(number) if whole else number

    accepted = [value(number(least)) + above, *([value(number(most))] if most else [])]
    refused = [value(number(least)) - (not above), *([value(number(most)) + 1] if most else [])]
    for bound in accepted:
        Settings.of({field.name: bound})
    for beyond in refused:
        with pytest.raises(InvalidOption, match=field.name):
            Settings.of({field.name: beyond})


def test_settings_that_only_programs_can_set() -> None:
    from understudy.supervisor.cli.commands.serve import serve

    options = {option.name for option in serve.params}
    assert {field.name for field in fields(Settings)} - options == {"restarts", "restarts_within", "map_size"}


NUMBERS = {
    row[0].strip("| "): row
    for row in [
        *table("docs/settings.md", "Fixed limits").values(),
        *table("docs/inside.md", "Figures").values(),
    ]
}


def test_every_number_has_its_constant() -> None:
    assert sorted(NUMBERS) == sorted(LIMITS)


@pytest.mark.parametrize("label", LIMITS)
def test_fixed_limit(label: str) -> None:
    module, _, constant = LIMITS[label].rpartition(".")
    assert number(NUMBERS[label][1]) == getattr(import_module(f"understudy.{module}"), constant)


def test_the_drawing_of_the_states_is_the_table() -> None:
    drawings = [
        block.text for block in BLOCKS if block.language == "mermaid" and "stateDiagram" in block.text
    ]
    assert drawings == [diagram() + "\n"]


def test_the_tree_of_errors_is_the_codes() -> None:
    doc = inspect.getdoc(errors) or ""
    tree = textwrap.dedent(doc[doc.index("    UnderstudyError\n") : doc.index("Each of them")]).rstrip()
    assert [block.text.rstrip() for block in BLOCKS if "├── InvalidTask" in block.text] == [tree]


def test_the_tables_on_disk_are_the_schemas() -> None:
    from understudy.storage.tables.schema import Table

    text = TEXTS[DOCS / "inside.md"]
    section = text[text.index("## On disk") : text.index("## Recovery")]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [str(name) for name in Table]


# --- what must be mentioned ---


def mentioned(name: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(name)}\b", EVERYTHING) is not None


def public_methods(kind: type) -> list[str]:
    return [name for name, _ in inspect.getmembers(kind) if not name.startswith("_")]


def nothing_unmentioned(names: Any, form: Callable[[str], bool]) -> None:
    assert [name for name in names if not form(name)] == [], "write about them in docs/"


def test_every_public_name() -> None:
    nothing_unmentioned([name for name in understudy.__all__ if name != "__version__"], mentioned)


def test_every_exception() -> None:
    kinds = [
        n for n, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, BaseException)
    ]
    nothing_unmentioned(kinds, mentioned)


def test_every_method_of_the_client() -> None:
    shown = [name for name, field in vars(TaskInfo).items() if isinstance(field, property)]
    calls = [*public_methods(understudy.Runtime), *shown]
    client = TEXTS[DOCS / "client.md"]
    # It says the same as something shorter.
    calls = [name for name in calls if name != "close_mailbox"]
    nothing_unmentioned(calls, lambda name: re.search(rf"[`.]{name}\b", client) is not None)


def test_every_method_of_references_and_futures() -> None:
    page = TEXTS[DOCS / "actors.md"]
    kinds = (understudy.ActorRef, understudy.ActorFuture, understudy.ActorRegistry, understudy.Actor)
    names = [name for kind in kinds for name in public_methods(kind)]
    # A reference's id as bytes, and the options as an object, are for the package itself.
    names = [name for name in names if name not in {"id_bytes", "actor_options"}]
    nothing_unmentioned(names, lambda name: re.search(rf"[`.]{name}\b", page) is not None)


def test_every_awaitable_twin() -> None:
    tasks = TEXTS[DOCS / "tasks.md"]
    nothing_unmentioned(aio.__all__, lambda name: f"`{name}`" in tasks)


def test_everything_about_connections() -> None:
    page = TEXTS[DOCS / "websockets.md"]
    names = [name for name in [*ws.__all__, *public_methods(ws.Connection)] if name != "Connection"]
    nothing_unmentioned(names, lambda name: re.search(rf"[`.]{name}\b", page) is not None)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command(name: str) -> None:
    assert re.search(rf"understudy {name}\b", EVERYTHING)


# --- links and files ---


def links() -> Iterator[tuple[Path, str]]:
    for page, text in TEXTS.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)):
            if not re.match(r"\w+:", target):
                yield page, target


def anchors(page: Path) -> set[str]:
    """GitHub's: lower case, punctuation dropped, blanks to dashes."""
    headings = re.findall(
        r"^#+ (.+)$", FENCE.sub("", TEXTS.get(page) or page.read_text("utf-8")), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for source, target in links():
        if source != page:
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {
        (ROOT / target.partition("#")[0]).resolve() for page, target in links() if page.name == "README.md"
    }
    assert {page for page in DOCS.glob("*.md") if page.resolve() not in linked} == set()


def test_named_files_exist() -> None:
    named = set(
        re.findall(r"`((?:tests|examples|benchmarks|actors|storage|supervisor)/[\w/.]+\w)`", EVERYTHING)
    )
    assert named
    assert sorted(path for path in named if not (ROOT / path).exists()) == []
    modules = {file.name for room in ROOMS for file in (ROOT / room).rglob("*.py")}
    assert set(re.findall(r"`(\w+\.py)`", TEXTS[DOCS / "inside.md"])) <= modules


def test_every_promise_names_the_tests_that_prove_it() -> None:
    rows = table("README.md", "Promises")
    assert list(rows) == [str(number) for number in range(1, 15)]
    assert [number for number, row in rows.items() if "](tests/" not in row[2]] == []


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", DOCS / "inside.md"], ids=lambda page: page.name)
def test_the_plan_lists_every_module(page: Path) -> None:
    (plan,) = (
        block
        for block in re.findall(r"```text\n(.*?)```", TEXTS[page], re.DOTALL)
        if "EVERY PROCESS" in block
    )
    # A folder or nothing, then names, then perhaps a remark three spaces further on.
    names = re.findall(r"^ +(?:[\w/]+/)? +([\w ]+?)(?:,.*|   .*)?$", plan, re.MULTILINE)
    assert {name for line in names for name in line.split()} == {
        file.stem for file in modules() if file.parts[0] in ROOMS and not file.stem.startswith("__init__")
    }
