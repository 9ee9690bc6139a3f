"""The storage of an actor, over rows in memory that count how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from understudy.actors import values
from understudy.actors.errors import InvalidOption, UnencodableValue, ValueTooLarge
from understudy.actors.refs import storage as storage_module
from understudy.actors.refs.storage import KEY_LIMIT, Storage


class Disk:
    """Implements `StorageRows`: rows on disk, and two layers over it."""

    value_limit = 10_000

    def __init__(self, **rows: Any) -> None:
        self.disk = {key: values.pack(value) for key, value in rows.items()}
        self.layers: list[dict[str, bytes | None]] = [{}, {}]
        self.reads: list[int] = []

    def unwritten(self) -> Sequence[dict[str, bytes | None]]:
        return self.layers

    def write(self, key: str, value: bytes | None) -> None:
        self.layers[0][key] = value

    def sent(self) -> None:
        """All is on disk."""
        for layer in reversed(self.layers):
            for key, row in layer.items():
                if row is None:
                    self.disk.pop(key, None)
                else:
                    self.disk[key] = row
        self.layers = [{}, {}]

    def read_row(self, key: str) -> bytes | None:
        self.reads.append(1)
        return self.disk.get(key)

    def read_rows(
        self, prefix: str, after: str | None, limit: int, *, reverse: bool
    ) -> Sequence[tuple[str, bytes]]:
        found = [
            (key, row)
            for key, row in sorted(self.disk.items(), key=lambda row: row[0].encode(), reverse=reverse)
            if key.startswith(prefix) and (after is None or (key < after if reverse else key > after))
        ][:limit]
        self.reads.append(len(found))
        return found


@pytest.fixture
def disk() -> Disk:
    """Over a, c, d, e on disk lie: b and c set, d removed; then c removed, f set."""
    disk = Disk(a=1, c=3, d=4, e=5)
    disk.layers[1] = {"b": values.pack(2), "c": values.pack(30), "d": None}
    disk.layers[0] = {"c": None, "f": values.pack(6)}
    return disk


@pytest.fixture(params=[1, 2, 100], autouse=True)
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The rows of one read."""
    monkeypatch.setattr(storage_module, "FIRST_CHUNK", request.param)
    monkeypatch.setattr(storage_module, "CHUNK", request.param)
    return int(request.param)


def test_reading(disk: Disk) -> None:
    storage = Storage(disk)
    assert list(storage) == ["a", "b", "e", "f"]
    assert list(reversed(storage)) == ["f", "e", "b", "a"]
    assert dict(storage) == {"a": 1, "b": 2, "e": 5, "f": 6}
    assert list(storage.values()) == [1, 2, 5, 6]
    assert list(reversed(storage.items())) == [("f", 6), ("e", 5), ("b", 2), ("a", 1)]
    assert list(reversed(storage.values())) == [6, 5, 2, 1]
    assert list(reversed(storage.keys())) == ["f", "e", "b", "a"]
    assert len(storage) == 4
    assert [storage.get(key) for key in "abcdefg"] == [1, 2, None, None, 5, 6, None]
    assert ["a" in storage, "c" in storage, 5 in storage, "" in storage] == [True, False, False, False]
    assert [("a", 1) in storage.items(), ("a", 2) in storage.items(), 5 in storage.items()] == [
        True,
        False,
        False,
    ]
    assert [6 in storage.values(), 30 in storage.values()] == [True, False]
    assert ["e" in storage.keys("e"), "a" in storage.keys("e")] == [True, False]
    for absent in ("c", "d", "g"):
        with pytest.raises(KeyError):
            storage[absent]


def test_a_mapping_as_any_other() -> None:
    storage = Storage(Disk())
    assert not storage
    storage.update({"b": 2, "a": 1}, c=3)
    assert storage
    assert storage.setdefault("d", 4) == 4
    assert storage.pop("a") == 1
    assert storage.popitem() == ("b", 2)
    del storage["c"]
    with pytest.raises(KeyError):
        del storage["c"]
    assert dict(storage.items()) == {"d": 4}
    storage.clear()
    assert (list(storage), repr(storage)) == ([], "<the storage of an actor>")


def test_prefixes() -> None:
    disk = Disk(**{"a": 0, "e/1": 1, "e/3": 3, "e0": 9, "f": 8})
    storage = Storage(disk)
    storage["e/2"] = 2
    storage["f/1"] = 7
    assert list(storage.items("e/")) == [("e/1", 1), ("e/2", 2), ("e/3", 3)]
    assert list(storage.keys(prefix="e/")) == ["e/1", "e/2", "e/3"]
    assert list(reversed(storage.keys("e/"))) == ["e/3", "e/2", "e/1"]
    assert list(storage.values("f")) == [8, 7]
    assert "'e/'" in repr(storage.items("e/"))
    storage.clear("e/")
    assert list(storage) == ["a", "e0", "f", "f/1"]


def test_the_order_is_that_of_the_bytes() -> None:
    keys = ["\U0001f600", "\uffff", "é", "z", "a"]
    disk = Disk(**dict.fromkeys(keys[:3]))
    storage = Storage(disk)
    for key in keys[3:]:
        storage[key] = None
    assert list(storage) == sorted(keys, key=str.encode)


def test_rows_are_read_as_they_are_needed(chunk: int) -> None:
    disk = Disk(**{f"{n:04}": n for n in range(500)})
    storage = Storage(disk)
    assert next(iter(storage.items())) == ("0000", 0)
    assert disk.reads == [chunk]
    assert next(reversed(storage.keys())) == "0499"


@pytest.mark.parametrize("view", [Storage.keys, Storage.values, Storage.items])
def test_a_list_reads_each_row_once(view: Any) -> None:
    disk = Disk(**{f"{n:04}": n for n in range(50)})
    assert len(list(view(Storage(disk)))) == 50
    assert sum(disk.reads) == 50
    with pytest.raises(TypeError, match="count them"):
        len(view(Storage(disk)))


def test_it_may_change_while_it_is_read() -> None:
    disk = Disk(**{f"{n:02}": n for n in range(20)})
    storage = Storage(disk)
    seen: list[Any] = []
    for key, value in storage.items():
        seen.append(value)
        del storage[key]
        storage.clear(f"{value + 1:02}")
    assert seen == list(range(0, 20, 2)), "what is removed does not come"
    assert list(storage) == []


def test_what_is_sent_meanwhile_is_not_lost() -> None:
    disk = Disk(**{f"{n:02}": n for n in range(10)})
    disk.layers[1] = {"05": values.pack("new"), "07": None}
    seen = []
    for key, value in Storage(disk).items():
        seen.append(value)
        if key == "02":
            disk.sent()
    assert seen == [0, 1, 2, 3, 4, "new", 6, 8, 9]


def test_each_read_gives_a_new_object() -> None:
    storage = Storage(Disk())
    storage["x"] = [1]
    storage["x"].append(2)
    assert storage["x"] == [1]


@pytest.mark.parametrize("key", [5, None, b"x", "", "x" * (KEY_LIMIT + 1), "é" * KEY_LIMIT, "\ud800"])
def test_keys_that_a_row_cannot_have(key: Any) -> None:
    storage = Storage(Disk())
    with pytest.raises(InvalidOption, match="a key of storage"):
        storage[key] = 1
    assert key not in storage
    with pytest.raises(KeyError):
        storage[key]


def test_the_longest_key() -> None:
    storage = Storage(Disk())
    storage["é" * (KEY_LIMIT // 2)] = 1
    assert len(storage) == 1


def test_values_that_cannot_be_stored() -> None:
    storage = Storage(Disk())
    with pytest.raises(UnencodableValue, match=r"storage\['x'\]\[0\]"):
        storage["x"] = [object()]
    with pytest.raises(ValueTooLarge):
        storage["x"] = "x" * 20_000
    assert "x" not in storage
