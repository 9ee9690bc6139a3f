"""Unique tasks. Each notes its begin and its end in a file."""

from __future__ import annotations

from limit_tasks import noted
from understudy import Event, on, sleep, task


@task(unique=True, retry=20)
def once(folder: str, name: str, seconds: float = 0.2) -> str:
    with noted(folder, name):
        sleep(seconds)
    return name


@task(unique=True, unique_by="name", on_conflict="raise", retry=20)
async def once_async(folder: str, name: str) -> str:
    with noted(folder, name):
        pass
    return name


@task(unique=3600, unique_by="name")
def hourly(folder: str, name: str) -> str:
    with noted(folder, name):
        pass
    return name


@task(unique=True, unique_by=("folder", "name"), on_conflict="replace", retry=20)
def newest(folder: str, name: str, version: int, seconds: float = 0.0) -> int:
    with noted(folder, f"{name}/{version}"):
        sleep(seconds)
    return version


@task
def starts_one(folder: str, name: str) -> tuple[str, bool]:
    """Start a unique task inside a task."""
    info = once.start(folder, name, 60.0)
    return info.id, info.existing


@on("unique.came", unique=True, unique_by=())
def once_on_came(event: Event) -> str:
    sleep(60)
    return event.id
