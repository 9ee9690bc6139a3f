"""Every kind of task: what sets it apart, and that its module declares it."""

from __future__ import annotations

from importlib import import_module

import pytest

from understudy.actors import values
from understudy.actors.task.declaration import registry
from understudy.actors.task.limit import Limit
from understudy.storage.tables.schema import Lane
from understudy.supervisor.settings import Settings
from understudy.supervisor.task_kinds import CODE, CONTAINER, OWN_KINDS, kind_of


def test_a_task_of_the_app_is_code():
    assert kind_of("app:etl") is CODE
    assert CODE.takes_messages(None)
    assert (CODE.lane, CODE.limit, CODE.module) == (None, None, None)


@pytest.mark.parametrize("name", OWN_KINDS)
def test_the_module_of_a_kind_declares_it(name: str):
    import_module(f"understudy.supervisor.{OWN_KINDS[name].module}")
    assert registry[name].name == name


def test_containers_wait_at_a_limit_of_their_own():
    assert CONTAINER.lane is Lane.SYNC
    assert CONTAINER.limit is not None
    assert CONTAINER.limit(Settings(containers=3)) == Limit("understudy.containers", concurrency=3)


@pytest.mark.parametrize("stdin", [True, False])
def test_a_container_takes_messages_only_on_its_standard_input(stdin: bool):
    args = values.pack(([{"image": "x", "stdin": stdin}, 10.0], {}))
    assert CONTAINER.takes_messages(args) is stdin
    assert not CONTAINER.takes_messages(None)
