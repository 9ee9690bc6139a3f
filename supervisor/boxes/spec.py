"""From a BoxConf to what the engine is asked for: the one place where a container's rights are decided. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...actors.box.conf import BoxConf

#: Labels of every container of ours: whose home, which task, which of its attempts, and what for.
HOME_LABEL: Final = "understudy.home"
TASK_LABEL: Final = "understudy.task"
ATTEMPT_LABEL: Final = "understudy.attempt"
ROLE_LABEL: Final = "understudy.role"
#: Roles: what the user asked for, and the one that opens its /data and is never started.
WORKS: Final = "box"
SEEDS: Final = "seed"

#: User and group of a container that is not writable: nobody.
USER: Final = "65534:65534"
#: What root keeps in a writable one; all else is dropped, and in the others everything.
CAPABILITIES: Final = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID")
#: Processes that a container may have, and a writable one.
PIDS: Final = 100
PIDS_WRITABLE: Final = 512

#: Bytes in a MB, of memory and disk, and what the engine calls one processor.
MB: Final = 1024 * 1024
PROCESSOR: Final = 1_000_000_000

DATA: Final = "/data"


def name_of(home: str, task: str, attempt: int, role: str = WORKS) -> str:
    """The container's name. There can only be one of it: that keeps an attempt from making two."""
    return f"understudy-{home.replace('-', '')[-12:]}-{task}-{attempt}" + (
        "" if role == WORKS else f"-{role}"
    )


def labels_of(home: str, task: str, attempt: int, role: str = WORKS) -> dict[str, str]:
    """By these it is found again."""
    return {HOME_LABEL: home, TASK_LABEL: task, ATTEMPT_LABEL: str(attempt), ROLE_LABEL: role}


def container(conf: BoxConf, labels: Mapping[str, str], *, quota: bool) -> dict[str, Any]:
    """The body of the engine's `POST /containers/create`. `quota` asks for the limit of /data to be kept."""
    spec: dict[str, Any] = {
        "Image": conf.image,
        "Env": [f"{name}={value}" for name, value in conf.env.items()],
        "Labels": dict(labels),
        "OpenStdin": conf.stdin,
        "StdinOnce": False,  # it stays open when whoever writes to it dies: the next one writes on
        "Tty": False,
        "HostConfig": _host(conf, labels, quota),
    }
    if not conf.writable:
        spec["User"] = USER
    if conf.script is not None:
        # Without -x: what a line holds may be secret.
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
        "Init": True,  # a program without a handler of its own, as the first process, would ignore SIGTERM
        "PidsLimit": PIDS_WRITABLE if conf.writable else PIDS,
        "Memory": limits.memory * MB,
        "MemorySwap": limits.memory * MB,
        "NanoCpus": limits.cpu * PROCESSOR // 100,
        "Tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,size={limits.tmp}m,mode=1777"},  # noqa: S108 - the container's
        "Mounts": [_data(labels, limits.data if quota else None), *_binds(conf.mounts)],
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
        # Whatever the engine's own default is: from this one logs can be read, and it is not rotated meanwhile.
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


def seeder(image: str, labels: Mapping[str, str], volume: str) -> dict[str, Any]:
    """A container that is made and never started: through it /data is opened to a user that is not root."""
    mount = {"Type": "volume", "Source": volume, "Target": DATA, "VolumeOptions": {"NoCopy": True}}
    return {
        "Image": image,
        "Cmd": ["true"],
        "Labels": dict(labels),
        "HostConfig": {"NetworkMode": "none", "CapDrop": ["ALL"], "Mounts": [mount]},
    }
