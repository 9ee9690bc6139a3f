"""Power loss, played through: the writes that a real supervisor's LMDB has made, cut off at any point.

Between two syncs a disk may have done any of the writes that it was given, in any order, and of each of them any
sectors; what was written before a sync is there. So an image is: everything up to the last sync before the cut, and of
what was written since then some sectors, chosen at random.
"""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.actors import values
from understudy.actors.ids import id_bytes
from understudy.storage.check import check
from understudy.storage.schema import Table, after_prefix
from understudy.storage.view import Snapshot, release, view_of

HERE = Path(__file__).parent
#: Bytes that a disk writes as a whole or not at all.
SECTOR = 512
_HEAD = struct.Struct("=cQQ")


@dataclass
class Step:
    """One record of the log: W write, S sync, D sync of the write before, T truncate, A acknowledgement."""

    kind: str
    offset: int
    data: bytes


def compile_shim(folder: Path) -> Path:
    """The library to preload; CalledProcessError if it does not compile."""
    library = folder / "shim.so"
    command = [
        "gcc",
        "-O1",
        "-Wall",
        "-Werror",
        "-shared",
        "-fPIC",
        "-o",
        str(library),
        str(HERE / "power_shim.c"),
    ]
    subprocess.run([*command, "-ldl"], check=True)
    return library


def steps(log: Path) -> list[Step]:
    found = []
    data = log.read_bytes()
    at = 0
    while at < len(data):
        kind, offset, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        found.append(Step(kind.decode(), offset, data[at : at + length]))
        at += length
    assert at == len(data)
    return found


@dataclass
class Told:
    """What was acknowledged before a cut."""

    started: set[str] = field(default_factory=set)
    sent: dict[str, list[int]] = field(default_factory=dict)
    passed: list[tuple[str, str, int]] = field(default_factory=list)
    saved: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def take(self, verb: str, *row: Any) -> None:
        match verb, *row:
            case "started", id:
                self.started.add(id)
            case "sent", id, number:
                self.sent.setdefault(id, []).append(number)
            case "passed", head, sink, number:
                self.passed.append((head, sink, number))
            case "saved", id, number:
                self.saved[id] = number
            case "ended", id:
                self.ended.add(id)


class Disk:
    """What is safe, and what has been written since."""

    def __init__(self, image: bytes) -> None:
        self._safe = bytearray(image)
        self._since: list[Step] = []

    def do(self, step: Step) -> None:
        if step.kind in "WT":
            self._since.append(step)
        elif step.kind == "S":
            for done in self._since:
                _put(self._safe, done.offset, done.data, cut=done.kind == "T")
            self._since.clear()
        elif step.kind == "D":
            done = self._since.pop()
            _put(self._safe, done.offset, done.data)

    def after_power_loss(self, chance: random.Random) -> bytes:
        """One of the images that the disk may hold if the power goes now."""
        image = bytearray(self._safe)
        since = list(self._since)
        chance.shuffle(since)
        share = chance.choice([0, 0.1, 0.5, 0.9, 1])
        for step in since:
            if step.kind == "T":
                if chance.random() < share:
                    _put(image, step.offset, b"", cut=True)
                continue
            for start in range(0, len(step.data), SECTOR):
                if chance.random() < share:
                    _put(image, step.offset + start, step.data[start : start + SECTOR])
        return bytes(image)


def _put(image: bytearray, offset: int, data: bytes, *, cut: bool = False) -> None:
    end = offset + len(data)
    if len(image) < end:
        image.extend(bytes(end - len(image)))
    image[offset:end] = data
    if cut:
        del image[offset:]


def wrong_with(image: bytes, told: Told, home: Path) -> list[str]:
    """What is missing or damaged in such an image."""
    home.mkdir(mode=0o700)
    (home / "store.mdb").write_bytes(image)
    (home / "store.mdb").chmod(0o600)
    problems = list(check(home).problems)
    if problems:
        return problems
    view = view_of(home)
    try:
        with view.read() as snapshot:
            return list(_missing(snapshot, told))
    finally:
        release(view)
        for path in home.iterdir():
            path.unlink()
        os.rmdir(home)


def _missing(snapshot: Snapshot, told: Told) -> Iterator[str]:
    for id in told.started:
        if snapshot.get(Table.TASKS, id_bytes(id)) is None and id not in told.ended:
            yield f"task {id}"
    for id, number in told.saved.items():
        if id not in told.ended and (_value(snapshot, id) or [0])[0] < number:
            yield f"checkpoint {number} of task {id}"
    for id, numbers in told.sent.items():
        if id not in told.ended and not _gone(snapshot, id):
            there = _there(snapshot, id)
            if missing := set(numbers) - set(there):
                yield f"messages {missing} to task {id}"
            if [n for n in there if n < 100] != sorted(n for n in there if n < 100):
                yield f"order of the messages to task {id}: {there}"
    for head, sink, number in told.passed:
        there = _there(snapshot, sink)
        mail = [values.unpack(row) for _, row in _mail(snapshot, head)]
        if not _gone(snapshot, sink) and (there + mail).count(number) != 1:
            yield f"message {number} on its way from {head} to {sink}: {mail}, {there}"


def _gone(snapshot: Snapshot, id: str) -> bool:
    """Ended, though nobody was told yet: its messages are in its result, or pruned."""
    row = snapshot.get(Table.TASKS, id_bytes(id))
    return row is None or snapshot.get(Table.RESULTS, id_bytes(id)) is not None


def _value(snapshot: Snapshot, id: str) -> Any:
    packed = snapshot.get(Table.CHECKPOINTS, id_bytes(id))
    return None if packed is None else values.unpack(packed)


def _mail(snapshot: Snapshot, id: str) -> Iterator[tuple[bytes, bytes]]:
    return snapshot.rows(Table.MAIL, id_bytes(id), after_prefix(id_bytes(id)))


def _there(snapshot: Snapshot, id: str) -> list[int]:
    return [*(_value(snapshot, id) or []), *(values.unpack(row) for _, row in _mail(snapshot, id))]


def play(log: list[Step], image: bytes, cuts: int, seed: int, folder: Path) -> tuple[int, list[str]]:
    """Cut the power so often, at random; returns how many images had writes in doubt, and what was wrong."""
    chance = random.Random(seed)
    at = sorted(chance.choices(range(len(log)), k=cuts))
    disk, told, wrong, doubtful = Disk(image), Told(), [], 0
    for number, step in enumerate(log):
        if step.kind == "A":
            told.take(*json.loads(step.data))
        else:
            disk.do(step)
        while at and at[0] == number:
            at.pop(0)
            doubtful += bool(disk._since)
            found = wrong_with(disk.after_power_loss(chance), told, folder / f"image-{number}-{len(at)}")
            wrong += [f"cut after step {number} ({step.kind}): {problem}" for problem in found]
    return doubtful, wrong
