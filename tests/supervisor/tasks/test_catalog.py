"""What the app declares, and what of that holds for a record."""

from __future__ import annotations

import pytest

from room import declared as fields_of
from understudy.actors.box.conf import BOX
from understudy.actors.task.options import Options
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane, ready_sort
from understudy.supervisor.tasks.catalog import TaskCatalog

ID = bytes(16)


def record(name: str, **fields: object) -> Record:
    made = Record(ID, name, 1.0, ID)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


@pytest.fixture
def app() -> TaskCatalog:
    made = TaskCatalog()
    made.add(
        {
            "plain": fields_of(priority=3),
            "async": fields_of(is_async=True),
            "isolated": fields_of(isolate=True),
            "isolated async": fields_of(isolate=True, is_async=True),
        }
    )
    return made


def test_what_tasks_take_is_kept_where_it_is_known(app: TaskCatalog) -> None:
    assert app.parameters == {}
    app.add(
        {
            "plain": {**fields_of(), "parameters": [["a", 1, False]]},
            "async": {**fields_of(), "parameters": None},
        }
    )
    assert app.parameters == {"plain": [["a", 1, False]]}


def test_containers_are_known_from_the_start_and_are_no_task_of_the_app(app: TaskCatalog) -> None:
    assert list(TaskCatalog().tasks) == [BOX]
    assert TaskCatalog().names() == []
    assert app.names() == ["async", "isolated", "isolated async", "plain"]


@pytest.mark.parametrize(
    ("name", "lane"),
    [
        ("plain", Lane.SYNC),
        ("async", Lane.ASYNC),
        ("isolated", Lane.ALONE),
        ("isolated async", Lane.ALONE),
        (BOX, Lane.SYNC),
        ("of a later release", Lane.SYNC),
    ],
)
def test_where_each_kind_runs(app: TaskCatalog, name: str, lane: Lane) -> None:
    assert app.options_of(record(name))[1] is lane
    assert app.options_of(record(name, alone=True))[1] is Lane.ALONE
    if name in app.tasks:
        options, usual, place = app.usual[name]
        assert (options, usual) == app.options_of(record(name))
        assert place == (None if name == BOX else (lane, ready_sort(options.priority)))


def test_what_the_caller_changed_holds(app: TaskCatalog) -> None:
    options, lane = app.options_of(record("plain", options={"timeout": 7.0, "isolate": True}))
    assert (options.timeout, options.priority, lane) == (7.0, 3, Lane.ALONE)


def test_options_that_are_none_any_more_count_for_nothing(app: TaskCatalog) -> None:
    assert app.options_of(record("plain", options={"of_a_later_release": 1}))[0] == app.tasks["plain"][0]
    assert app.options_of(record("gone"))[0] == Options()


def test_a_later_declaration_holds(app: TaskCatalog) -> None:
    app.add({"plain": fields_of(is_async=True)})
    options, lane = app.options_of(record("plain"))
    assert (options.priority, lane) == (0, Lane.ASYNC)
