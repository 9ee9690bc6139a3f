from __future__ import annotations

import pytest

from understudy import BoxConf
from understudy.actors.box.sizes import SIZES
from understudy.supervisor.boxes import spec
from understudy.supervisor.boxes.spec import MB, container, labels_of, name_of, volume_opener

LABELS = labels_of("home-1-2", "task", 3)


@pytest.mark.parametrize("size", SIZES)
def test_the_limits_of_a_size(size: str):
    host = container(BoxConf("alpine", size=size), LABELS, quota=True)["HostConfig"]
    limits = SIZES[size]
    assert host["Memory"] == host["MemorySwap"] == limits.memory * MB
    assert host["NanoCpus"] == limits.cpu * 10_000_000
    assert f"size={limits.tmp}m" in host["Tmpfs"]["/tmp"]
    assert host["Mounts"][0]["VolumeOptions"]["DriverConfig"]["Options"] == {"size": f"{limits.data}m"}


def test_without_quota_data_has_no_limit():
    assert "DriverConfig" not in str(container(BoxConf("alpine"), LABELS, quota=False))


def test_rights_are_none_by_default():
    spec = container(BoxConf("alpine"), LABELS, quota=False)
    host = spec["HostConfig"]
    assert (spec["User"], host["ReadonlyRootfs"], host["PidsLimit"]) == ("65534:65534", True, 100)
    assert (host["CapDrop"], host["CapAdd"], host["Privileged"]) == (["ALL"], [], False)
    assert (host["SecurityOpt"], host["NetworkMode"], host["Init"]) == (["no-new-privileges"], "none", True)


def test_and_few_where_it_may_write():
    spec = container(BoxConf("alpine", writable=True, network="internet"), LABELS, quota=False)
    host = spec["HostConfig"]
    assert "User" not in spec
    assert (host["ReadonlyRootfs"], host["PidsLimit"], host["NetworkMode"]) == (False, 512, "bridge")
    assert host["CapDrop"] == ["ALL"]
    assert set(host["CapAdd"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID"}
    assert host["SecurityOpt"] == ["no-new-privileges"]


def test_what_it_runs():
    plain = container(BoxConf("alpine"), LABELS, quota=False)
    assert "Cmd" not in plain
    assert "Entrypoint" not in plain
    given = container(BoxConf("alpine", cmd=["a", "b"], entrypoint=["c"]), LABELS, quota=False)
    assert (given["Entrypoint"], given["Cmd"]) == (["c"], ["a", "b"])
    script = container(BoxConf("alpine", script="echo $KEY", env={"KEY": "x=y"}), LABELS, quota=False)
    assert (script["Entrypoint"], script["Cmd"]) == (["sh", "-e", "-c"], ["echo $KEY"])
    assert script["Env"] == ["KEY=x=y"]


def test_mounts():
    conf = BoxConf("alpine", mounts={"/in": "/srv/a:b", "/out": "/srv/out:rw"})
    binds = container(conf, LABELS, quota=False)["HostConfig"]["Mounts"][1:]
    assert [(bind["Target"], bind["Source"], bind["ReadOnly"]) for bind in binds] == [
        ("/in", "/srv/a:b", True),
        ("/out", "/srv/out", False),
    ]


def test_names_tell_homes_tasks_attempts_and_roles_apart():
    parts = [
        (home, task, attempt) for home in ("ab-1-2", "ab-1-3") for task in ("t", "u") for attempt in (1, 2)
    ]
    names = {name_of(*part, role) for part in parts for role in (spec.MAIN, spec.OPENER)}
    assert len(names) == 2 * len(parts)
    assert labels_of("h", "t", 1, spec.OPENER)[spec.ROLE_LABEL] == "seed"


def test_the_seeder_has_no_rights_but_a_root_that_can_be_written():
    host = volume_opener("alpine", LABELS, "volume")["HostConfig"]
    assert (host["CapDrop"], host["NetworkMode"]) == (["ALL"], "none")
    assert "ReadonlyRootfs" not in host
    assert host["Mounts"][0]["Source"] == "volume"
