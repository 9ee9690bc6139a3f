"""Settings: every edge, from both sides."""

from __future__ import annotations

import math
import os
from dataclasses import fields
from typing import Any

import msgpack
import pytest

from understudy.actors.errors import InvalidOption
from understudy.supervisor import settings
from understudy.supervisor.settings import MIB, Settings

WHOLE = {
    "workers": (0, 1024),
    "slots": (1, 1024),
    "run_slots": (1, 1024),
    "async_slots": (1, 1_000_000),
    "isolated": (1, 1024),
    "containers": (1, 1024),
    "max_crashes": (1, 1_000_000),
    "mailbox_messages": (1, 10_000_000),
    "mailbox_bytes": (1, 1 << 40),
    "value_limit": (1024, 1 << 31),
    "log_limit": (64 * 1024, 1 << 40),
    "worker_tasks": (0, 1 << 60),
    "event_handlers": (1, 1_000_000),
    "task_listens": (1, 1_000_000),
    "schedules": (1, 100_000_000),
    "stream_items": (1, 10_000_000),
    "stream_bytes": (1024, 1 << 40),
    "active_actors": (1, 1 << 60),
    "worker_memory": (0, 1 << 60),
    "restarts": (0, 1_000_000),
    "map_size": (MIB // 4, 1 << 46),
}
SECONDS = ("drain", "event_keep", "schedule_keep", "restarts_within", "start_timeout")
POSITIVE = ("crash_window",)
POOLS = ("pools", "pool_slots", "pool_env")


def test_every_setting_is_checked_here():
    assert {field.name for field in fields(Settings)} == {
        *WHOLE,
        *SECONDS,
        *POSITIVE,
        *POOLS,
        "durability",
        "group",
        "traces",
    }


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_within_their_range(name: str):
    least, most = WHOLE[name]
    for good in (least, most):
        assert getattr(Settings.of({name: good}), name) == good
    for bad in (least - 1, most + 1, float(least), str(least), True, b"1", [1]):
        with pytest.raises(InvalidOption, match=name):
            Settings.of({name: bad})


@pytest.mark.parametrize("name", SECONDS)
def test_seconds(name: str):
    for good in (0, 0.5, 1e9):
        value = getattr(Settings.of({name: good}), name)
        assert value == good
        assert isinstance(value, float)
    for bad in (-1, -0.001, math.nan, math.inf, -math.inf, True, "1", 10**400):
        with pytest.raises(InvalidOption, match=name):
            Settings.of({name: bad})


@pytest.mark.parametrize("name", POSITIVE)
def test_seconds_above_zero(name: str):
    for good in (1, 0.5, 1e9):
        assert getattr(Settings.of({name: good}), name) == good
    for bad in (0, -1, math.nan, math.inf, True, "1"):
        with pytest.raises(InvalidOption, match=name):
            Settings.of({name: bad})


def test_a_share_of_traces(monkeypatch: pytest.MonkeyPatch):
    for good in (0, 1, 0.01):
        value = Settings.of({"traces": good}).traces
        assert (value, type(value)) == (good, float)
    for bad in (-0.1, 1.1, math.nan, True, "1", b"1"):
        with pytest.raises(InvalidOption, match="traces"):
            Settings.of({"traces": bad})
    monkeypatch.setattr(settings, "find_spec", lambda _: None)
    with pytest.raises(InvalidOption, match=r"pip install 'understudy\[otel\]'"):
        Settings.of({"traces": 0.5})
    assert Settings.of({"traces": 0}).traces == 0


def test_a_group_is_a_name():
    assert Settings.of({"group": "staff"}).group == "staff"
    for bad in (7, b"staff", ["staff"]):
        with pytest.raises(InvalidOption, match="group"):
            Settings.of({"group": bad})


def test_durability():
    assert Settings.of({"durability": "os"}).durability == "os"
    for bad in ("none", "", 1):
        with pytest.raises(InvalidOption, match="durability"):
            Settings.of({"durability": bad})


def test_pools():
    settings = Settings.of(
        {
            "workers": 3,
            "slots": 5,
            "isolated": 7,
            "pools": {"gpu": 1024, "io.v-2_x": 1},
            "pool_slots": {"gpu": 1},
            "pool_env": {"gpu": {"CUDA_VISIBLE_DEVICES": "", "_x1": "a=b"}},
        }
    )
    assert settings.pool_names == (None, "gpu", "io.v-2_x")
    assert [settings.workers_in(pool) for pool in settings.pool_names] == [3, 1024, 1]
    assert [settings.slots_in(pool) for pool in settings.pool_names] == [5, 1, 5]
    assert [settings.isolated_in(pool) for pool in settings.pool_names] == [7, 1024, 1]
    assert settings.env_in("gpu") == {"CUDA_VISIBLE_DEVICES": "", "_x1": "a=b"}
    assert settings.env_in(None) == settings.env_in("io.v-2_x") == {}
    assert Settings.of({"pools": {f"p{n}": 1 for n in range(64)}}).pool_names[-1] == "p63"
    assert Settings().pool_names == (None,)


def test_the_settings_of_pools_are_copied():
    given: dict[str, Any] = {"pools": {"gpu": 1}, "pool_env": {"gpu": {"A": "1"}}}
    settings = Settings.of(given)
    given["pools"]["gpu"] = 2
    given["pool_env"]["gpu"]["A"] = "2"
    assert settings == Settings.of({"pools": {"gpu": 1}, "pool_env": {"gpu": {"A": "1"}}})


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"pools": ["gpu"]}, "pools must map names of pools"),
        ({"pools": {"gpu": 0}}, "workers of pool gpu"),
        ({"pools": {"gpu": 1025}}, "workers of pool gpu"),
        ({"pools": {"gpu": True}}, "workers of pool gpu"),
        ({"pools": {"a b": 1}}, "the name of a pool"),
        ({"pools": {None: 1}}, "workers="),
        ({"pools": {f"p{n}": 1 for n in range(65)}}, "64 pools, not 65"),
        ({"pool_slots": {"gpu": 1}}, "pool_slots names the pool 'gpu'"),
        ({"pools": {"gpu": 1}, "pool_slots": {"gpu": 0}}, "slots of pool gpu"),
        ({"pools": {"gpu": 1}, "pool_slots": 1}, "pool_slots must map"),
        ({"pool_env": {"gpu": {"A": "1"}}}, "pool_env names the pool 'gpu'"),
        ({"pools": {"gpu": 1}, "pool_env": {"gpu": ["A=1"]}}, "variables for pool gpu"),
        ({"pools": {"gpu": 1}, "pool_env": {"gpu": {"A=": "1"}}}, "'A='"),
        ({"pools": {"gpu": 1}, "pool_env": {"gpu": {"": "1"}}}, "''"),
        ({"pools": {"gpu": 1}, "pool_env": {"gpu": {"1A": "1"}}}, "'1A'"),
        ({"pools": {"gpu": 1}, "pool_env": {"gpu": {"UNDERSTUDY_COOKIE": "1"}}}, "UNDERSTUDY_"),
        ({"pools": {"gpu": 1}, "pool_env": {"gpu": {"A": 1}}}, "the variable A"),
        ({"pools": {"gpu": 1}, "pool_env": {"gpu": {"A": "b\0"}}}, "the variable A"),
        ({"pools": {"gpu": 1}, "pool_env": {"gpu": {"A": "\udc80"}}}, "the variable A"),
        ({"pools": {"gpu": 1}, "pool_env": {"gpu": {"A": "x" * 32768}}}, "more than 32,768 characters"),
    ],
)
def test_pools_that_are_refused(given: dict[str, Any], why: str):
    with pytest.raises(InvalidOption, match=why):
        Settings.of(given)


def test_the_values_of_variables_are_told_to_nobody():
    settings = Settings.of({"pools": {"gpu": 1}, "pool_env": {"gpu": {"KEY": "secret"}}})
    assert "secret" not in str(settings.told())
    assert settings.told().keys() == settings.pack().keys()
    with pytest.raises(InvalidOption) as refused:
        Settings.of({"pools": {"gpu": 1}, "pool_env": {"gpu": {"KEY": "secret\0"}}})
    assert "secret" not in str(refused.value)


def test_none_means_the_default():
    assert Settings.of(dict.fromkeys((field.name for field in fields(Settings)), None)) == Settings()


def test_an_unknown_one_is_named_with_those_there_are():
    with pytest.raises(InvalidOption, match=r"unknown option 'worker'.*workers"):
        Settings.of({"worker": 2})


def test_they_travel_as_plain_data():
    changed: dict[str, Any] = {
        "workers": 3,
        "drain": 1.5,
        "durability": "os",
        "pools": {"gpu": 2},
        "pool_env": {"gpu": {"A": "b"}},
    }
    packed = msgpack.unpackb(msgpack.packb(Settings.of(changed).pack()))
    assert Settings.of(packed) == Settings.of(changed)


def test_no_number_of_workers_means_one_per_processor_that_we_may_use():
    assert Settings().worker_count == len(os.sched_getaffinity(0))
    assert Settings(workers=3).worker_count == 3
