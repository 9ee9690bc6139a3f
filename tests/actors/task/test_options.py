from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors import values
from understudy.actors.checks import check_names
from understudy.actors.errors import InvalidOption
from understudy.actors.task.options import (
    GRACE_LIMIT,
    MEMORY_LIMIT_MIN,
    NAMES,
    PRIORITY_LIMIT,
    TIMEOUT_LIMIT,
    Options,
)
from understudy.actors.task.retry import Retry

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", None),
        ("timeout", 1e-9),
        ("timeout", 3600),
        ("timeout", TIMEOUT_LIMIT),
        ("grace", 0),
        ("grace", GRACE_LIMIT),
        ("keep", None),
        ("keep", 0),
        ("keep", 1e12),
        ("priority", -PRIORITY_LIMIT),
        ("priority", PRIORITY_LIMIT),
        ("isolate", True),
        ("capture_output", True),
        ("memory_limit", None),
        ("memory_limit", MEMORY_LIMIT_MIN),
        ("ack", None),
        ("ack", "receive"),
        ("ack", "checkpoint"),
        ("retry", Retry(3)),
    ],
)
def test_up_to_the_edge(name: str, value: Any) -> None:
    assert getattr(Options(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", 0),
        ("timeout", 0.0),
        ("timeout", -1),
        ("timeout", TIMEOUT_LIMIT + 0.001),
        ("timeout", INF),
        ("timeout", NAN),
        ("timeout", True),
        ("timeout", "60"),
        ("grace", -0.001),
        ("grace", GRACE_LIMIT + 0.001),
        ("grace", None),
        ("grace", NAN),
        ("keep", -1),
        ("keep", INF),
        ("keep", NAN),
        ("keep", 10**400),
        ("keep", "7"),
        ("priority", PRIORITY_LIMIT + 1),
        ("priority", -PRIORITY_LIMIT - 1),
        ("priority", 1.0),
        ("priority", True),
        ("priority", None),
        ("isolate", 1),
        ("capture_output", None),
        ("isolate", None),
        ("main_thread", 1),
        ("main_thread", True),  # without a worker of its own
        ("memory_limit", MEMORY_LIMIT_MIN - 1),
        ("memory_limit", float(MEMORY_LIMIT_MIN)),
        ("memory_limit", True),
        ("ack", "both"),
        ("ack", []),
        ("ack", True),
        ("retry", -1),
        ("retry", True),
        ("retry", None),
        ("retry", "3"),
    ],
)
def test_beyond_the_edge(name: str, value: Any) -> None:
    with pytest.raises(InvalidOption, match=name):
        Options(**{name: value})
    with pytest.raises(InvalidOption):
        Options.unpack({name: value})


def test_seconds_are_floats() -> None:
    options = Options(timeout=3, grace=2, keep=1)
    assert [type(seconds) for seconds in (options.timeout, options.grace, options.keep)] == [float] * 3


def test_an_int_is_short_for_retries() -> None:
    assert Options(retry=3).retry == Retry(3)  # type: ignore[arg-type]  # what @task(retry=3) does


@pytest.mark.parametrize(
    ("options", "alone"),
    [
        ({}, False),
        ({"isolate": True}, True),
        ({"capture_output": True}, True),
        ({"memory_limit": MEMORY_LIMIT_MIN}, True),
    ],
)
def test_a_memory_limit_implies_isolation(options: dict[str, Any], alone: bool) -> None:
    assert Options(**options).alone is alone


@pytest.mark.parametrize("alone", [{"isolate": True}, {"memory_limit": MEMORY_LIMIT_MIN}])
def test_a_worker_of_its_own_has_a_main_thread_to_ask_for(alone: dict[str, Any]) -> None:
    options = Options(main_thread=True, **alone)
    assert Options.unpack(options.pack()).main_thread is True
    with pytest.raises(InvalidOption, match="main_thread=True needs isolate=True"):
        options.changed({name: getattr(Options(), name) for name in alone})


def test_unknown_names_are_named_with_those_there_are() -> None:
    for refuse in (
        lambda: check_names(["timeout", "timout"], NAMES, "a task"),
        lambda: Options().changed({"timout": 3}),
        lambda: Options.unpack({"timout": 3}),
    ):
        with pytest.raises(InvalidOption, match=r"unknown option 'timout'.*timeout, retry, grace"):
            refuse()
    check_names(NAMES, NAMES, "a task")


def test_changed_is_a_copy() -> None:
    base = Options(priority=3)
    assert base.changed({"grace": 1}) == Options(priority=3, grace=1)
    assert base == Options(priority=3)
    assert base.changed({}) is base
    with pytest.raises(AttributeError):
        base.priority = 4  # type: ignore[misc]  # frozen


some_options = st.builds(
    Options,
    timeout=st.none() | st.floats(1e-3, TIMEOUT_LIMIT),
    retry=st.builds(Retry, st.integers(0, 99), on=st.just(("builtins:OSError",))),
    grace=st.floats(0, GRACE_LIMIT),
    priority=st.integers(-PRIORITY_LIMIT, PRIORITY_LIMIT),
    isolate=st.booleans(),
    memory_limit=st.none() | st.integers(MEMORY_LIMIT_MIN, 1 << 45),
    keep=st.none() | st.floats(0, 1e12),
    ack=st.sampled_from([None, "receive", "checkpoint"]),
)


@given(some_options)
def test_pack_and_unpack(options: Options) -> None:
    stored = values.unpack(values.pack(options.pack()))
    assert Options.unpack(stored) == options


@given(some_options, some_options, st.sets(st.sampled_from(NAMES)))
def test_only_some_on_top_of_others(options: Options, base: Options, only: set[str]) -> None:
    packed = options.pack(only)
    assert set(packed) == only
    merged = Options.unpack(packed, base)
    for name in NAMES:
        assert getattr(merged, name) == getattr(options if name in only else base, name)


@pytest.mark.parametrize("data", [None, 3, [], "timeout", {3: 4}, {"retry": 3}, {"retry": None}])
def test_unpack_refuses_anything_else(data: Any) -> None:
    with pytest.raises(InvalidOption):
        Options.unpack(data)
