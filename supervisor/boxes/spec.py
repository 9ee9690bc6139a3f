"""The request to make a container, from a BoxConf. Only this module decides a container's rights. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...actors.box.conf import BoxConf

#: Labels of every container of Understudy's: its home, task, attempt and role.
HOME_LABEL: Final = "understudy.home"
TASK_LABEL: Final = "understudy.task"
ATTEMPT_LABEL: Final = "understudy.attempt"
ROLE_LABEL: Final = "understudy.role"
#: Roles: the container that the user asked for; one that is never started and only opens /data.
MAIN: Final = "box"
OPENER: Final = "seed"

#: User and group of a container that is not writable: nobody.
USER: Final = "65534:65534"
#: Capabilities that root keeps in a writable container. Other containers have none.
CAPABILITIES: Final = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID")
#: Processes that a container may have, and those that a writable one may have.
PIDS: Final = 100
PIDS_WRITABLE: Final = 512

#: Bytes in a MB of memory or disk; the engine's number for one processor.
MB: Final = 1024 * 1024
PROCESSOR: Final = 1_000_000_000

DATA: Final = "/data"


def name_of(home: str, task: str, attempt: int, role: str = MAIN) -> str:
    """The container's name. The engine keeps names unique, so an attempt cannot make two containers."""
    return f"understudy-{home.replace('-', '')[-12:]}-{task}-{attempt}" + ("" if role == MAIN else f"-{role}")


def labels_of(home: str, task: str, attempt: int, role: str = MAIN) -> dict[str, str]:
    """The labels by which the container is found again."""
    return {HOME_LABEL: home, TASK_LABEL: task, ATTEMPT_LABEL: str(attempt), ROLE_LABEL: role}


def container(conf: BoxConf, labels: Mapping[str, str], *, quota: bool) -> dict[str, Any]:
    """The body of the engine's `POST /containers/create`. `quota` limits the size of /data."""
    spec: dict[str, Any] = {
        "Image": conf.image,
        "Env": [f"{name}={value}" for name, value in conf.env.items()],
        "Labels": dict(labels),
        "OpenStdin": conf.stdin,
        "StdinOnce": False,  # it stays open when a worker dies, so that the next one can write to it
        "Tty": False,
        "HostConfig": _host(conf, labels, quota),
    }
    if not conf.writable:
        spec["User"] = USER
    if conf.script is not None:
        # Without -x, because a line may hold a secret.
        spec["Entrypoint"], spec["Cmd"] = ["sh", "-e", "-c"], [conf.script]
    else:
        if conf.entrypoint is not None:
            spec["Entrypoint"] = list(conf.entrypoint)
        if conf.cmd is not None:
            spec["Cmd"] = list(conf.cmd)
    return spec


def _host(conf: BoxConf, labels: Mapping[str, str], quota: bool) -> dict[str, Any]:
    limits = conf.limits
    return {
        "NetworkMode": "none" if conf.network == "none" else "bridge",
        "Privileged": False,
        "ReadonlyRootfs": not conf.writable,
        "CapDrop": ["ALL"],
        "CapAdd": list(CAPABILITIES) if conf.writable else [],
        "SecurityOpt": ["no-new-privileges"],
        "IpcMode": "private",
        "Init": True,  # without it, a program that has no handler would ignore SIGTERM
        "PidsLimit": PIDS_WRITABLE if conf.writable else PIDS,
        "Memory": limits.memory * MB,
        "MemorySwap": limits.memory * MB,
        "NanoCpus": limits.cpu * PROCESSOR // 100,
        "Tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,size={limits.tmp}m,mode=1777"},  # noqa: S108 - the container's
        "Mounts": [_data(labels, limits.data if quota else None), *_binds(conf.mounts)],
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
        # Set in place of the engine's default, because these logs can be read and are not rotated.
        "LogConfig": {"Type": "json-file", "Config": {}},
    }


def _data(labels: Mapping[str, str], megabytes: int | None) -> dict[str, Any]:
    options: dict[str, Any] = {"Labels": dict(labels)}
    if megabytes is not None:
        options["DriverConfig"] = {"Name": "local", "Options": {"size": f"{megabytes}m"}}
    return {"Type": "volume", "Target": DATA, "VolumeOptions": options}


def _binds(mounts: Mapping[str, str]) -> list[dict[str, Any]]:
    binds = []
    for target, source in mounts.items():
        path, _, mode = source.rpartition(":")
        binds.append({"Type": "bind", "Target": target, "Source": path, "ReadOnly": mode != "rw"})
    return binds


def volume_opener(image: str, labels: Mapping[str, str], volume: str) -> dict[str, Any]:
    """A container that is never started: an archive unpacked into it opens /data to users other than root."""
    mount = {"Type": "volume", "Source": volume, "Target": DATA, "VolumeOptions": {"NoCopy": True}}
    return {
        "Image": image,
        "Cmd": ["true"],
        "Labels": dict(labels),
        "HostConfig": {"NetworkMode": "none", "CapDrop": ["ALL"], "Mounts": [mount]},
    }
