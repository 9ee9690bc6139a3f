"""Simulated power loss: the writes of a real supervisor's LMDB, cut off at any point.

Between two syncs a disk may have done any of its pending writes, in any order, and any sectors of each. All
writes before a sync are on disk. So an image holds everything up to the last sync before the cut, and random
sectors of the later writes. Until the folder is synced, a name given to a file may still be the old file's,
even if the new file is synced.
"""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.actors import values
from understudy.actors.errors import UnderstudyError
from understudy.actors.ids import id_bytes
from understudy.storage.check import check
from understudy.storage.environment import Environment
from understudy.storage.shared_view import Snapshot, release, view_of
from understudy.storage.tables.schema import Table, after_prefix

HERE = Path(__file__).parent
#: Bytes that a disk writes entirely or not at all.
SECTOR = 512
#: Images for each step of a replacement of the store.
SWAP_CUTS = 2
#: Larger than any pid.
GONE = 1 << 23
_HEAD = struct.Struct("=cQQQ")


@dataclass
class Step:
    """One record of the log: W write, S sync, D sync of the write before, T truncate, R rename to store.mdb, F sync of
    the folder, A acknowledgement."""

    kind: str
    file: int
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
        kind, file, offset, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        found.append(Step(kind.decode(), file, offset, data[at : at + length]))
        at += length
    assert at == len(data)
    return found


@dataclass
class Told:
    """The acknowledgements before a cut."""

    started: set[str] = field(default_factory=set)
    sent: dict[str, list[int]] = field(default_factory=dict)
    passed: list[tuple[str, str, int]] = field(default_factory=list)
    saved: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    #: Whether anything was acknowledged at all.
    anything: bool = False

    def take(self, verb: str, *row: Any) -> None:
        self.anything = True
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


class _File:
    """The safe content of a file, and the operations on it since."""

    def __init__(self) -> None:
        self.safe = bytearray()
        self.since: list[Step] = []

    def do(self, step: Step) -> None:
        if step.kind in "WT":
            self.since.append(step)
        elif step.kind == "S":
            for done in self.since:
                _put(self.safe, done.offset, done.data, cut=done.kind == "T")
            self.since.clear()
        elif step.kind == "D":
            done = self.since.pop()
            _put(self.safe, done.offset, done.data)

    def after_power_loss(self, chance: random.Random) -> bytes:
        image = bytearray(self.safe)
        since = list(self.since)
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


class Disk:
    """The files by number, and the data file: safe, or only by a name that is not synced yet."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        #: The data file that is safe, and those that have had its name since.
        self._names: list[int | None] = [None]

    @property
    def doubtful(self) -> bool:
        """Whether more than one content is possible."""
        return len(self._names) > 1 or any(file.since for file in self._files.values())

    def do(self, step: Step) -> None:
        if step.kind == "R":
            self._names.append(step.file)
        elif step.kind != "F":
            self._files.setdefault(step.file, _File()).do(step)
        else:
            # Only from now on another file may get the number of an old one.
            *old, name = self._names
            self._files = {number: file for number, file in self._files.items() if number not in old}
            self._names = [name]

    def after_power_loss(self, chance: random.Random) -> Image:
        """One of the images that the disk may hold after a power loss now."""
        data = chance.choice(self._names)
        files = {number: file.after_power_loss(chance) for number, file in self._files.items()}
        drafts = [image for number, image in files.items() if number != data]
        return Image(None if data is None else files[data], drafts)

    def after_all(self) -> bytes:
        """The data file without a power loss."""
        name = self._names[-1]
        assert name is not None
        file = self._files[name]
        file.do(Step("S", name, 0, b""))
        return bytes(file.safe)


@dataclass
class Image:
    """The possible content of a home after a power loss: the data file, if there is one, and the drafts."""

    data: bytes | None
    drafts: list[bytes]

    def lay(self, home: Path, lock: bytes | None) -> None:
        """Write it there, with that as LMDB's lock file, which is never synced."""
        home.mkdir(mode=0o700)
        found = {f"store.compact.{GONE + n}.draft": draft for n, draft in enumerate(self.drafts)}
        found |= {} if self.data is None else {"store.mdb": self.data}
        found |= {} if lock is None else {"store.mdb-lock": lock}
        for name, data in found.items():
            (home / name).write_bytes(data)
            (home / name).chmod(0o600)


def _put(image: bytearray, offset: int, data: bytes, *, cut: bool = False) -> None:
    end = offset + len(data)
    if len(image) < end:
        image.extend(bytes(end - len(image)))
    image[offset:end] = data
    if cut:
        del image[offset:]


def wrong_with(image: Image, told: Told, home: Path, lock: bytes | None) -> list[str]:
    """The missing or damaged parts of such an image."""
    image.lay(home, lock)
    try:
        if image.data is None and told.anything:
            return ["the whole store"]
        # As the next supervisor does first.
        Environment(home).close()
        if drafts := sorted(path.name for path in home.glob("*.draft")):
            return [f"left over: {drafts}"]
        return list(check(home).problems) or _missing_in(home, told)
    except UnderstudyError as error:
        return [f"refused: {error}"]
    finally:
        shutil.rmtree(home)


def _missing_in(home: Path, told: Told) -> list[str]:
    view = view_of(home)
    try:
        with view.read() as snapshot:
            return list(_missing(snapshot, told))
    finally:
        release(view)


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
    """It has ended, but this was not reported yet: its messages are in its result, or pruned."""
    row = snapshot.get(Table.TASKS, id_bytes(id))
    return row is None or snapshot.get(Table.RESULTS, id_bytes(id)) is not None


def _value(snapshot: Snapshot, id: str) -> Any:
    packed = snapshot.get(Table.CHECKPOINTS, id_bytes(id))
    return None if packed is None else values.unpack(packed)


def _mail(snapshot: Snapshot, id: str) -> Iterator[tuple[bytes, bytes]]:
    return snapshot.rows(Table.MAIL, id_bytes(id), after_prefix(id_bytes(id)))


def _there(snapshot: Snapshot, id: str) -> list[int]:
    return [*(_value(snapshot, id) or []), *(values.unpack(row) for _, row in _mail(snapshot, id))]


@dataclass
class Played:
    """The results."""

    images: int = 0
    #: Of these, with unsynced writes or names; and during a replacement of the store.
    doubtful: int = 0
    swapping: int = 0
    wrong: list[str] = field(default_factory=list)


def play(log: list[Step], cuts: int, seed: int, folder: Path, lock: bytes) -> Played:
    """Cut the power this often, at random, and `SWAP_CUTS` times at each step of every replacement."""
    chance = random.Random(seed)
    at = Counter(chance.choices(range(len(log)), k=cuts))
    swaps = swaps_in(log)
    disk, told, played = Disk(), Told(), Played()
    for number, step in enumerate(log):
        if step.kind == "A":
            told.take(*json.loads(step.data))
        else:
            disk.do(step)
        for cut in range(at[number] + (SWAP_CUTS if number in swaps else 0)):
            played.images += 1
            played.doubtful += disk.doubtful
            played.swapping += number in swaps
            image = disk.after_power_loss(chance)
            left = chance.choice([None, lock, bytes(len(lock))])
            found = wrong_with(image, told, folder / f"image-{number}-{cut}", left)
            played.wrong += [f"cut after step {number} ({step.kind}): {problem}" for problem in found]
    return played


def swaps_in(log: list[Step]) -> set[int]:
    """The steps around each rename: from the draft's last write to the folder's sync, and some more."""
    renames = [number for number, step in enumerate(log) if step.kind == "R"]
    return {near for number in renames for near in range(number - 3, number + 5) if 0 <= near < len(log)}
