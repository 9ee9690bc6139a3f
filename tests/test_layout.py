"""Three rooms, arrows one way, one copy of everything: what keeps the layout what CONTRIBUTING.md says."""

from __future__ import annotations

import functools
import importlib
import sys
import tomllib
from pathlib import Path

import pytest

from checkout import ROOMS, ROOT, dotted, imports, modules, packages

#: Test modules that mirror no module, and why. Scenarios (tests/scenarios) and torture (tests/torture) are free.
EXTRAS = {
    "supervisor/execution/test_second_channel.py": "supervisor/channel/interface.py: execution needs no more than it",
    "supervisor/execution/test_pools.py": "supervisor/execution/dispatcher.py, with pools",
    "supervisor/service/test_late_acknowledgement.py": "supervisor/service/requests.py: a flood of starts",
    "supervisor/cli/test_every_command.py": "supervisor/cli/commands: what all commands have in common",
    "test_benchmarks.py": "benchmarks/",
    "test_docs.py": "README.md, docs/",
    "test_examples.py": "examples/",
    "test_facade.py": "the root's __init__.py",
    "test_layout.py": "the repository itself",
    "test_typing.py": "the annotations of the public names",
    "test_package.py": "the wheel and the sdist",
    "test_support.py": "tests/support",
}

#: Modules without a test module of their own, and where they are tested.
UNTESTED = {
    "supervisor/tasks/unique_starts.py": "tests/supervisor/tasks/test_unique_tasks.py: every start there",
    "storage/waiting_reader.py": "tests/supervisor/client/test_pooling.py: the numbers there are counted by it",
    "supervisor/execution/pool_states.py": "tests/supervisor/client/test_pooling.py: every pool there has one",
    "storage/step_reader.py": "tests/scenarios/test_steps.py: what is shown there is read by it",
    "actors/task/step_info.py": "tests/scenarios/test_steps.py: the steps that are shown there",
    "storage/check_access.py": "tests/supervisor/client/test_access_calls.py: the check there",
    "supervisor/cli/display/token_table.py": "tests/supervisor/cli/commands/test_tokens.py",
    "storage/access_reader.py": "tests/supervisor/client/test_access_calls.py: every call there reads by it",
    "storage/tables/access_rows.py": "tests/supervisor/client/test_access_calls.py",
    "supervisor/client/granting.py": "tests/supervisor/client/test_access_calls.py: every call there is one of its",
    "supervisor/tasks/access.py": "tests/supervisor/client/test_access_calls.py: every change there is made by it",
    "supervisor/daemon/web_child.py": "tests/supervisor/web/test_process.py: the deaths and restarts there",
    "supervisor/linux/listeners.py": "tests/supervisor/web/test_process.py: addresses and sockets there",
    "supervisor/client/watch_source.py": "tests/supervisor/client/test_watch.py: every watch there reads one",
    "supervisor/web/live/batch.py": "tests/supervisor/web/live/test_reader.py: every reader there takes some",
    "supervisor/web/live/feed.py": "tests/supervisor/web/live/test_reader.py: every reader there has one",
    "supervisor/web/close_codes.py": "tests/supervisor/web/test_task_socket.py: every reason there has one",
    "supervisor/web/socket_connection.py": "tests/supervisor/web/test_task_socket.py: every connection there is one",
    "supervisor/web/stall_watch.py": "tests/supervisor/web/test_connection.py: the readers that stand still there",
    "supervisor/web/app.py": "tests/supervisor/web: every request there is answered by it",
    "supervisor/web/audit.py": "tests/supervisor/web/test_identity.py",
    "supervisor/web/context.py": "tests/supervisor/web: every request there has one",
    "storage/tables/removed_rows.py": "tests/supervisor/web/test_metrics.py: what is pruned there is in them",
    "supervisor/web/callers_trace.py": "tests/supervisor/web/api/test_task_actions.py: the contexts there",
    "supervisor/web/traffic.py": "tests/supervisor/web/test_metrics.py: the requests there are counted by it",
    "supervisor/web/api/call.py": "tests/supervisor/web/api: every request there is one",
    **{
        f"supervisor/web/api/{noun}.py": "tests/scenarios/test_api.py: every noun there"
        for noun in (
            "access",
            "actors",
            "bulk",
            "events",
            "health",
            "limits",
            "pools",
            "schedules",
            "stats",
            "streams",
            "system",
            "trees",
        )
    },
    "supervisor/web/api/models.py": "tests/supervisor/web/api/test_openapi.py: the document is made of them",
    "supervisor/client/retrying.py": "tests/supervisor/web/api/test_task_actions.py: the retries with a key there",
    "supervisor/web/server.py": "tests/supervisor/web: every request there comes to it",
    "supervisor/web/tokens.py": "tests/supervisor/web/test_identity.py: every identity there is found by it",
    "supervisor/web/failed_logins.py": "tests/supervisor/web/test_identity.py",
    "supervisor/web/login.py": "tests/supervisor/web/test_identity.py: the sessions there begin with it",
    "supervisor/client/declared.py": "tests/supervisor/web/dashboard/test_routes.py: the forms that start tasks there",
    **{
        f"supervisor/web/dashboard/{page}.py": "tests/supervisor/web/dashboard/test_routes.py: every page there"
        for page in (
            "audit",
            "bulk",
            "errors",
            "events",
            "follow",
            "limits",
            "overview",
            "page",
            "schedules",
            "stack",
            "start",
            "streams",
            "system",
            "task",
            "tasks",
            "trees",
        )
    },
    "actors/task/bulk_info.py": "tests/supervisor/service/test_bulk_jobs.py: every bulk there gives one",
    "supervisor/cli/bulk_of_query.py": "tests/supervisor/cli/commands/test_control.py: what --where does there",
    "supervisor/client/bulking.py": "tests/supervisor/service/test_bulk_jobs.py: every call there is one of its",
    "storage/bulk_reader.py": "tests/supervisor/service/test_bulk_jobs.py: every bulk there is read by it",
    "storage/tables/bulk_rows.py": "tests/supervisor/service/test_bulk_jobs.py: rows there, sound and damaged",
    "supervisor/tasks/starts.py": "tests/storage/tables/test_start_rows.py: supervisors there note theirs",
    "supervisor/execution/stacks.py": "tests/scenarios/test_stacks.py",
    "supervisor/worker/task_stacks.py": "tests/scenarios/test_stacks.py",
    "supervisor/client/stacking.py": "tests/scenarios/test_stacks.py",
    "supervisor/client/acting.py": "tests/supervisor/client/test_runtime.py, test_actor_calls.py: every call there",
    "supervisor/execution/deaths.py": "tests/supervisor/execution/test_attempts.py: the deaths of workers there",
    "supervisor/tasks/aftermath.py": "tests/supervisor/tasks/test_links.py, test_maps.py: what follows the ends there",
    "supervisor/tasks/group_times.py": "tests/supervisor/tasks/test_gate.py: the rates there",
    "supervisor/tasks/stored_windows.py": "tests/supervisor/tasks/test_gate.py: the windows over a crash there",
    "supervisor/execution/verdicts.py": "tests/supervisor/execution/test_attempts.py: the ends there",
    "supervisor/client/reading.py": "tests/supervisor/client/test_runtime.py: every call there",
    "supervisor/cli/display/stack_text.py": "tests/supervisor/cli/commands/test_stack.py",
    "supervisor/web_settings.py": "tests/supervisor/web/test_process.py, tests/supervisor/web/test_guard.py",
    "actors/refs/actor_options.py": "tests/actors/refs/test_actor.py: the options of classes there",
    "actors/refs/port.py": "tests/actors/refs: every reference there speaks to one",
    "actors/attempt/actor_rows.py": "tests/actors/attempt/test_turn_side.py: storage and reminders there",
    "actors/attempt/async_turn.py": "tests/actors/attempt: most tests of turns there are tried with both kinds",
    "actors/attempt/effects.py": "tests/actors/attempt/test_transactions.py: every commit there has some",
    "actors/attempt/resident.py": "tests/actors/attempt/test_turn.py: every turn there has one",
    "actors/refs/reminder.py": "tests/actors/attempt/test_turn_side.py: the reminders that are shown there",
    "actors/shape_compiler.py": "tests/actors/test_shapes.py: every shape there is made by it",
    "storage/file/new_store.py": "tests/storage/test_environment.py: it makes what that opens",
    "storage/memory_store.py": "tests/storage/test_store.py: the conformance suite of stores passes for it",
    "supervisor/cli/commands/actor_messages.py": "tests/supervisor/cli/commands/test_actor.py: the calls there",
    "supervisor/execution/actor_states.py": "tests/supervisor/execution/test_turns.py: every actor there has some",
    "supervisor/execution/turn_failures.py": "tests/supervisor/execution/test_turns.py: the deaths and timeouts there",
    "supervisor/worker/actor_host.py": "tests/supervisor/worker/test_worker.py: every worker there is one",
    "storage/query_fit.py": "tests/storage/test_search.py: every search there asks it",
    "actors/task/additions.py": "tests/actors/events/test_handler.py, tests/actors/schedules/test_declaration.py",
    "storage/snapshot_reader.py": "tests/storage: every reader there is one",
    "actors/attempt/message_span.py": "tests/scenarios/test_traces.py: the spans of actors there",
    "actors/tracing/tracer.py": "tests/actors/tracing/test_otel.py: whose spans come through it",
    "actors/trees/status.py": "tests/supervisor/execution/test_trees.py: every tree there is told as one",
    "supervisor/execution/forest.py": "tests/supervisor/execution/test_trees.py: every node there is one of it",
    "supervisor/service/tree_requests.py": "tests/supervisor/execution/test_trees.py: every request there is one",
    "supervisor/execution/tree_nodes.py": "tests/supervisor/execution/test_trees.py: every tree there has some",
    "supervisor/client/tree.py": "tests/supervisor/execution/test_trees.py: every call there goes through it",
    "supervisor/client/async_tree.py": "tests/scenarios/test_trees.py: an asyncio program there has one",
    "supervisor/client/tree_calls.py": "tests/supervisor/execution/test_trees.py: every call there is one of them",
    "supervisor/client/tree_views.py": "tests/supervisor/execution/test_trees.py: every state there is told by it",
    "supervisor/cli/display/supervision_tree.py": "tests/supervisor/cli/commands/test_trees.py",
    "storage/streams.py": "tests/supervisor/client/test_event_calls.py: every list of streams there comes from it",
    "supervisor/client/http_door.py": "tests/supervisor/web/test_triggers.py: every run there goes through it",
    "supervisor/client/emitting.py": "tests/supervisor/client/test_event_calls.py: its calls are made there",
    "supervisor/client/runtime_part.py": "tests/supervisor/client: every runtime there has such parts",
    "supervisor/client/pages.py": "tests/scenarios/test_searching.py, tests/supervisor/client/test_event_calls.py",
    "supervisor/client/searches.py": "tests/scenarios/test_searching.py: every search there is one of its pages",
    "actors/schedules/info.py": "tests/supervisor/tasks/test_schedules.py: every schedule there is told as one",
    "storage/schedule_reader.py": "tests/supervisor/tasks/test_schedules.py: lists, pages and histories there",
    "supervisor/cli/display/schedule_table.py": "tests/supervisor/cli/commands/test_schedules.py",
    "supervisor/client/schedule_calls.py": "tests/supervisor/tasks/test_schedules.py: every call there is one of them",
    "supervisor/client/scheduling.py": "tests/supervisor/tasks/test_schedules.py: every call there goes through it",
    "supervisor/tasks/schedule_runs.py": "tests/supervisor/tasks/test_schedules.py: overlaps, pauses and crashes there",
    "supervisor/tasks/schedule_store.py": "tests/supervisor/tasks/test_schedules.py: every row there is written by it",
    "storage/reindex.py": "tests/storage/test_upgrades.py: the step from 3 to 4 there is made by it",
    "supervisor/channel/interface.py": "tests/supervisor/execution: a second channel passes there",
    "actors/task/current_actor.py": "tests/actors/attempt: every attempt there is found by it",
    "supervisor/execution/letters.py": "tests/supervisor/execution/test_turns.py: every letter there goes through it",
    "supervisor/kit/testing.py": "tests/supervisor/kit: the tests there import from it",
    "supervisor/kit/crash_plan.py": "tests/supervisor/kit/test_inline_runtime.py: crashes at points",
    "supervisor/kit/inline_client.py": "tests/scenarios/test_conformance.py: every call there goes through it",
    "supervisor/kit/inline_slots.py": "tests/supervisor/kit/test_inline_runtime.py: one thing at a time",
    "supervisor/kit/inline_transport.py": "tests/scenarios/test_conformance.py: every byte there goes through it",
    "supervisor/kit/inline_worker.py": "tests/scenarios/test_conformance.py: every task there runs in one",
    "supervisor/kit/driver.py": "tests/supervisor/kit/test_virtual_clock.py: it lets the time pass there",
    "supervisor/kit/virtual_loop.py": "tests/supervisor/kit/test_virtual_clock.py: its timers",
    "supervisor/kit/world.py": "tests/supervisor/kit/test_inline_runtime.py: crashes",
    "supervisor/execution/worker_pool.py": "tests/supervisor/execution/test_pool.py: every pool there is one",
    "supervisor/execution/residency.py": "tests/supervisor/execution/test_turns.py: who is put to rest, and when",
    "supervisor/client/letter_wait.py": "tests/supervisor/client/test_actor_calls.py: each call waits so",
    "supervisor/service/actor_requests.py": "tests/supervisor/execution/test_turns.py: every letter there is a request",
    "supervisor/service/asks.py": "tests/supervisor/execution/test_turns.py: every answer there goes through it",
    "supervisor/tasks/live_actor.py": "tests/supervisor/execution/test_turns.py: its transitions are turns",
    "supervisor/daemon/core.py": "tests/supervisor: every test in a Room has one",
    "supervisor/tasks/attempt.py": "tests/supervisor/tasks/test_live_task.py",
    "supervisor/cli/__main__.py": "tests/supervisor/cli: `python -m`, the same as the command",
    "supervisor/cli/session.py": "tests/supervisor/cli: every command runs in one",
}

#: What a room must not know of, by the top-level names it may not import.
UNKNOWN_TO = {
    "actors": {"click", "lmdb", "multiprocessing", "psutil", "rich", "signal", "socket", "subprocess"},
    "storage": {"click", "multiprocessing", "psutil", "rich", "signal", "socket", "subprocess"},
    "supervisor/rules": {
        "asyncio",
        "multiprocessing",
        "os",
        "select",
        "signal",
        "socket",
        "subprocess",
        "threading",
        "time",
    },
}

#: Settings, the home, the app, the kinds of tasks, crash points: used in every process.
GROUND = {"supervisor", "supervisor/testing"}
ACTORS = {
    "actors", "actors/task", "actors/events", "actors/schedules", "actors/refs", "actors/attempt", "actors/inside",
    "actors/box", "actors/http", "actors/websocket", "actors/trees", "actors/tracing",
}  # fmt: skip
STORAGE = {"storage", "storage/tables", "storage/file"}

#: The arrows: what each room may import besides itself. A room is a folder with modules.
ARROWS: dict[str, set[str]] = {
    "actors": set(),
    "actors/task": {"actors"},
    "actors/tracing": {"actors"},
    "actors/events": {"actors", "actors/task"},
    "actors/schedules": {"actors", "actors/task"},
    "actors/http": {"actors", "actors/task"},
    "actors/refs": {"actors", "actors/task", "actors/tracing", "actors/events", "actors/schedules"},
    "actors/trees": {"actors", "actors/task", "actors/refs"},
    "actors/attempt": {"actors", "actors/task", "actors/tracing", "actors/events", "actors/refs"},
    "actors/inside": {"actors", "actors/task", "actors/events", "actors/schedules", "actors/refs", "actors/attempt"},
    "actors/box": {"actors", "actors/task", "actors/inside"},
    "actors/websocket": {"actors", "actors/task", "actors/attempt", "actors/inside"},
    "storage/tables": ACTORS,
    "storage/file": {*ACTORS, "storage/tables"},
    "storage": {*ACTORS, "storage/tables", "storage/file"},
    "supervisor": {*ACTORS, "storage/tables", "storage/file", "supervisor/linux"},
    "supervisor/testing": ACTORS,
    "supervisor/linux": ACTORS,
    "supervisor/rules": ACTORS,
    "supervisor/text": ACTORS,
    "supervisor/wire": {*ACTORS, *GROUND},
    "supervisor/channel": {*ACTORS, *GROUND, "storage/tables", "supervisor/linux", "supervisor/wire"},
    "supervisor/forking": {*ACTORS, *GROUND, "supervisor/linux", "supervisor/wire"},
    "supervisor/boxes": {*ACTORS, *STORAGE, *GROUND, "supervisor/linux", "supervisor/text"},
    "supervisor/client": {
        *ACTORS, *STORAGE, *GROUND, "supervisor/linux", "supervisor/rules", "supervisor/wire",
    },
    "supervisor/worker": {
        *ACTORS, *GROUND, "storage/tables", "supervisor/boxes", "supervisor/channel", "supervisor/client",
        "supervisor/linux", "supervisor/rules", "supervisor/wire",
    },
    "supervisor/tasks": {*ACTORS, *STORAGE, *GROUND, "supervisor/channel", "supervisor/rules"},
    "supervisor/execution": {
        *ACTORS, *STORAGE, *GROUND, "supervisor/channel", "supervisor/forking", "supervisor/linux",
        "supervisor/rules", "supervisor/tasks", "supervisor/wire",
    },
    "supervisor/service": {
        *ACTORS, *STORAGE, *GROUND, "supervisor/execution", "supervisor/tasks", "supervisor/wire",
    },
    "supervisor/daemon": {
        *ACTORS, *STORAGE, *GROUND, "supervisor/boxes", "supervisor/execution", "supervisor/linux",
        "supervisor/service", "supervisor/tasks", "supervisor/text", "supervisor/wire",
    },
    "supervisor/kit": {
        *ACTORS, *STORAGE, *GROUND, "supervisor/channel", "supervisor/client", "supervisor/daemon",
        "supervisor/execution", "supervisor/linux", "supervisor/rules", "supervisor/service", "supervisor/tasks",
        "supervisor/wire", "supervisor/worker",
    },
    "supervisor/web/live": {*ACTORS, *STORAGE, *GROUND, "supervisor/client", "supervisor/text"},
    "supervisor/web": {
        *ACTORS, *STORAGE, *GROUND, "supervisor/client", "supervisor/linux", "supervisor/text",
        "supervisor/web/live",
    },
    "supervisor/web/api": {
        *ACTORS, *STORAGE, *GROUND, "supervisor/client", "supervisor/text", "supervisor/web",
    },
    "supervisor/web/dashboard": {
        *ACTORS, *STORAGE, *GROUND, "supervisor/client", "supervisor/text", "supervisor/web",
    },
    "supervisor/cli/display": {*ACTORS, *STORAGE, "supervisor/text"},
    "supervisor/cli": {
        *ACTORS, *STORAGE, *GROUND, "supervisor/cli/display", "supervisor/client", "supervisor/linux",
        "supervisor/text", "supervisor/wire",
    },
    "supervisor/cli/commands": {
        *ACTORS, *STORAGE, *GROUND, "supervisor/cli", "supervisor/cli/display", "supervisor/client",
        "supervisor/daemon", "supervisor/linux", "supervisor/text", "supervisor/wire",
    },
}  # fmt: skip

#: Imports against the arrows, and why each may stay.
EXCEPTIONS = {
    ("actors/inside/aio.py", "actors/box"): "`aio.box` is an attribute, loaded when it is first used",
    ("actors/inside/aio.py", "actors/websocket"): "`aio.ws` is an attribute, loaded when it is first used",
    (
        "supervisor/web/app.py",
        "supervisor/web/api",
    ): "it joins the parts, and loads them if a listener has them",
    ("supervisor/web/app.py", "supervisor/web/dashboard"): "as the API",
}


def in_rooms() -> list[Path]:
    return [module for module in modules() if module.parts[0] in ROOMS]


def test_the_package_list_is_the_folders():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert sorted(pyproject["tool"]["setuptools"]["packages"]) == sorted(packages())


def test_every_folder_with_modules_is_a_package():
    folders = {module.parent for module in in_rooms()}
    assert [str(folder) for folder in folders if not (ROOT / folder / "__init__.py").exists()] == []


def test_the_root_holds_no_other_module():
    assert [file.name for file in ROOT.glob("*.py*") if file.suffix in {".py", ".pyi"}] == ["__init__.py"]


@functools.cache
def homes() -> dict[str, str]:
    """Dotted name of each module and package -> the room it is in."""
    return {dotted(module): str(module.parent) for module in in_rooms()}


def room_imported(name: str, rooms: dict[str, str]) -> str:
    """The room of an imported name, which may be a module or something in one."""
    while name not in rooms:
        name = name.rpartition(".")[0]
    return rooms[name]


@pytest.mark.parametrize("module", in_rooms(), ids=str)
def test_imports_follow_the_arrows(module: Path):
    room, rooms = str(module.parent), homes()
    unknown = {name for place, names in UNKNOWN_TO.items() if room.startswith(place) for name in names}
    wrong = []
    for line, name, relative in imports(module):
        if name == "understudy.__version__":
            continue
        if name.startswith("understudy."):
            target = room_imported(name, rooms)
            if not relative:
                wrong.append(f"line {line}: {name}: write it relatively")
            if target != room and target not in ARROWS[room] and (str(module), target) not in EXCEPTIONS:
                wrong.append(f"line {line}: {name}: {room} may not import {target}")
        elif name.split(".")[0] in unknown:
            wrong.append(f"line {line}: {name}: {room} knows nothing of that")
    assert wrong == []


def test_the_arrows_have_no_circle():
    left = dict(ARROWS)
    while left:
        free = [room for room, allowed in left.items() if not allowed & set(left)]
        assert free, f"a circle among {sorted(left)}"
        for room in free:
            del left[room]


def test_every_room_has_its_arrows():
    assert set(ARROWS) == set(homes().values())


def test_every_room_says_what_it_is():
    for folder in ARROWS:
        assert (ROOT / folder / "__init__.py").read_text(encoding="utf-8").startswith('"""'), folder


def test_every_test_module_mirrors_a_module():
    lonely = []
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        path = file.relative_to(ROOT / "tests")
        if path.parts[0] in {"scenarios", "torture"} or str(path) in EXTRAS:
            continue
        if not (ROOT / path.with_name(path.name.removeprefix("test_"))).exists():
            lonely.append(str(path))
    assert lonely == [], "rename them after the module they test, or declare them in EXTRAS"


def test_every_module_has_a_test_module():
    untested = [
        str(module)
        for module in in_rooms()
        if module.name != "__init__.py"
        and str(module) not in UNTESTED
        and not (ROOT / "tests" / module.with_name(f"test_{module.name}")).exists()
    ]
    assert untested == [], "write their tests, or declare in UNTESTED where they are tested"


def test_every_declared_exception_is_one():
    for name in UNTESTED:
        module = Path(name)
        assert (ROOT / module).exists(), name
        assert not (ROOT / "tests" / module.with_name(f"test_{module.name}")).exists(), name


def test_every_declared_extra_exists():
    assert [name for name in EXTRAS if not (ROOT / "tests" / name).exists()] == []


def test_tests_are_no_package():
    # With an __init__.py they would be imported as a part of the root, under the checkout's folder name.
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_every_module_can_be_imported_and_exists_once():
    for module in modules():
        if module.name != "__main__.py":
            importlib.import_module(dotted(module))
    rooms = [ROOT / room for room in ROOMS]
    copies = [
        name
        for name, module in list(sys.modules.items())
        if any(
            Path(getattr(module, "__file__", None) or "/").resolve().is_relative_to(room) for room in rooms
        )
        and not name.startswith("understudy.")
    ]
    assert copies == []
