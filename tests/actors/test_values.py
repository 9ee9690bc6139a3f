from __future__ import annotations

import enum
import math
import random
import resource
import subprocess
import sys
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePath, PureWindowsPath
from types import MappingProxyType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from understudy.actors import values
from understudy.actors.errors import InvalidOption, InvalidValue, UnencodableValue, ValueTooLarge
from understudy.actors.values import (
    DEPTH_LIMIT,
    DIGITS_LIMIT,
    EXTENSION_DEPTH_LIMIT,
    VALUE_LIMIT,
    pack,
    register,
    unpack,
)


@dataclass(frozen=True)
class Point:
    x: Any
    y: Any


@dataclass(frozen=True)
class Broken:
    why: str


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "_by_type", {})
    monkeypatch.setattr(values, "_by_name", {})
    register(Point, "point", lambda point: [point.x, point.y], lambda data: Point(*data))


def nested(levels: int, inner: Any = 1) -> Any:
    for _ in range(levels):
        inner = [inner]
    return inner


# --- there and back ---

# Whole seconds: Python reads an ISO offset of less than one second as UTC.
offsets = st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**64) - 3, -(2**63) + 3)
    | st.integers(2**64 - 3, 2**65)
    | st.integers(-(10**80), 10**80)
    | st.floats(allow_nan=False)
    | texts
    | st.binary()
    | st.datetimes()
    | st.datetimes(timezones=offsets)
    | st.dates()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
)
hashables = st.recursive(
    scalars,
    lambda inner: st.frozensets(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple),
    max_leaves=8,
)
#: What is inside a set or a key keeps its tuples; a tuple elsewhere comes back as a list, so none is drawn there.
encodable = st.recursive(
    scalars | st.frozensets(hashables, max_size=4) | st.sets(hashables, max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(hashables, inner, max_size=4)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Equal, of the same types all the way down."""
    if type(one) is not type(other):
        return False
    match one:
        case dict():
            return one == other and all(same(value, other[key]) for key, value in one.items())
        case list() | tuple():
            return len(one) == len(other) and all(map(same, one, other))
        case Point():
            return same([one.x, one.y], [other.x, other.y])
        case datetime():
            return one == other and one.utcoffset() == other.utcoffset()
        case float() | Decimal():
            return str(one) == str(other)
    return bool(one == other)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(encodable)
@example({(1, (2, 3)): {frozenset({(1,), (2, 2**70)}): [Point({(1, 2): 2**70}, {1, (2,)})]}})
@example([Point(Point(Point(1, {()}), None), {(): 1})])
@example(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5, seconds=7))))
@example([Decimal("-0.00"), Decimal("1E+1000000"), Decimal("-Infinity"), -0.0, math.inf])
def test_there_and_back(value: Any) -> None:
    assert same(unpack(pack(value)), value)


def test_nan_keeps_being_one() -> None:
    one, other, third = unpack(pack([math.nan, {math.nan}, {math.nan: Decimal("NaN")}]))
    assert math.isnan(one)
    assert [math.isnan(part) for part in other] == [True]
    assert [(math.isnan(key), part.is_nan()) for key, part in third.items()] == [(True, True)]
    assert str(unpack(pack(Decimal("-sNaN123")))) == "-sNaN123"


class Level(enum.IntEnum):
    HIGH = 3


class Mood(enum.Enum):
    CALM = 1


class Temper(enum.Enum):
    HOT = 9


class Colour(str, enum.Enum):  # noqa: UP042 - as users have them
    RED = "red"


class When(datetime):
    pass


Pair = namedtuple("Pair", "a b")


class Seasons(tzinfo):
    """A time zone of a library's own class, as those of pytz and dateutil are."""

    def utcoffset(self, when: datetime | None, /) -> timedelta:
        return timedelta(hours=1 if when is None else when.month % 2)

    def dst(self, when: datetime | None, /) -> timedelta:
        return timedelta()

    def tzname(self, when: datetime | None, /) -> str:
        return "S"


class Fine(datetime):
    """Holds more than a datetime, as pandas.Timestamp does."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fine) and super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = datetime.__hash__


class FineDelta(timedelta):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, FineDelta) and super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = timedelta.__hash__


BERLIN = ZoneInfo("Europe/Berlin")
with open("/usr/share/zoneinfo/Europe/Berlin", "rb") as database:
    #: A zone that no other process can find by its key.
    OWN_DATA = ZoneInfo.from_file(database, key="Europe/Berlin")


@pytest.mark.parametrize(
    ("value", "back"),
    [
        ((1, (2, [3])), [1, [2, [3]]]),
        (Pair(1, 2), [1, 2]),
        (Level.HIGH, 3),
        (Colour.RED, "red"),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[1:3], b"bc"),
        (When(2026, 1, 2), datetime(2026, 1, 2)),  # noqa: DTZ001 - naive ones are values, too
        ({(1, 2): 3}, {(1, 2): 3}),
        ({((1,), 2): {(3,): 4}}, {((1,), 2): {(3,): 4}}),
        ({1.5: 1, None: 2, b"x": 3, False: 4}, {1.5: 1, None: 2, b"x": 3, False: 4}),
        ({date(2026, 1, 2): {UUID(int=7): Decimal(1)}}, {date(2026, 1, 2): {UUID(int=7): Decimal(1)}}),
        (msgpack.Timestamp(5, 0), datetime.fromtimestamp(5, UTC)),
    ],
)
def test_what_comes_back_as_a_plainer_type(value: Any, back: Any) -> None:
    assert same(unpack(pack(value)), back)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 7, 1, 12, tzinfo=BERLIN),
        datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN),
        datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
        datetime(2026, 7, 1, tzinfo=ZoneInfo("UTC")),
        datetime(2026, 7, 1, fold=1),  # noqa: DTZ001 - a naive one has a fold, too
        datetime(2026, 7, 1, tzinfo=timezone(timedelta(hours=1), "CET")),
        datetime(2026, 7, 1, tzinfo=timezone(timedelta(0), "Zulu")),
        datetime(2026, 7, 1, tzinfo=timezone(timedelta(microseconds=-5))),
        time(3),
        time(3, 4, 5, 6, fold=1),
        time(3, tzinfo=BERLIN),
        time(23, 59, tzinfo=UTC),
        time(1, tzinfo=timezone(timedelta(hours=-3), "BRT")),
    ],
    ids=repr,
)
def test_moments_keep_their_zone_and_fold(moment: datetime | time):
    back = unpack(pack([moment, {moment: 1}]))[0]
    assert repr(back) == repr(moment)
    assert (back.fold, back.utcoffset(), back.tzname()) == (moment.fold, moment.utcoffset(), moment.tzname())
    if isinstance(moment, datetime):
        # The next change of the clocks is still ahead of it.
        assert [(back + timedelta(days=90 * n)).utcoffset() for n in range(5)] == [
            (moment + timedelta(days=90 * n)).utcoffset() for n in range(5)
        ]


def test_what_a_zone_must_be():
    with pytest.raises(UnencodableValue, match=r"its time zone .*Seasons cannot be kept; take a zoneinfo"):
        pack([datetime(2026, 1, 1, tzinfo=Seasons())])
    packed = pack(datetime(2026, 1, 1, tzinfo=BERLIN))
    with pytest.raises(InvalidValue, match=r"no time zone 'Europe/Merlin'; install .* tzdata"):
        unpack(packed.replace(b"Berlin", b"Merlin"))
    register(Seasons, "seasons", lambda zone: None, lambda data: Seasons())
    back = unpack(pack(datetime(2026, 1, 1, tzinfo=Seasons())))
    assert isinstance(back.tzinfo, Seasons)


def test_moments_stored_by_earlier_releases_are_read():
    for text, moment in [
        ("2026-07-01T12:00:00", datetime(2026, 7, 1, 12)),  # noqa: DTZ001 - a naive one
        ("2026-07-01T12:00:00+02:00", datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2)))),
        ("2026-07-01T12:00:00.000005+00:00", datetime(2026, 7, 1, 12, 0, 0, 5, tzinfo=UTC)),
    ]:
        old = msgpack.packb(msgpack.ExtType(1, text.encode()))
        assert repr(unpack(old)) == repr(moment)
        assert pack(moment) == old


def test_dicts_keep_their_order() -> None:
    keys = random.Random(3).sample(range(1_000), 500)
    assert list(unpack(pack(dict.fromkeys(keys)))) == keys


@pytest.mark.parametrize("sign", [1, -1])
def test_integers_up_to_the_limit(sign: int) -> None:
    biggest = sign * (10**DIGITS_LIMIT - 1)
    assert unpack(pack([biggest])) == [biggest]
    with pytest.raises(UnencodableValue, match=r"^value\[0\] .*more than 4,000 digits"):
        pack([biggest + sign])


# --- refusals ---


def cyclic() -> list[Any]:
    cycle: list[Any] = [1]
    cycle.append(cycle)
    return cycle


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "v"),
        (1j, "v"),
        (Fraction(1, 2), "v"),
        ([datetime(2026, 1, 1, tzinfo=Seasons())], "v[0]"),
        ({"at": time(3, tzinfo=Seasons())}, "v['at']"),
        ([datetime(2026, 1, 1, tzinfo=OWN_DATA)], "v[0]"),
        ([Fine(2026, 1, 1, 0, 0)], "v[0]"),
        ([FineDelta(3)], "v[0]"),
        (range(3), "v"),
        (lambda: 1, "v"),
        (int, "v"),
        (iter([]), "v"),
        (Path("x"), "v"),
        (MappingProxyType({}), "v"),
        ("\ud800", "v"),
        (memoryview(b"abcd")[::2], "v"),
        ([1, [2, object()]], "v[1][1]"),
        ((1, (2, object())), "v[1][1]"),
        ({"a": {"b": [0, 1, object()]}}, "v['a']['b'][2]"),
        ({1: {None: object()}}, "v[1][None]"),
        ({(1, 2): object()}, "v[(1, 2)]"),
        ({"\ud800": 1}, "v.key('\\ud800')"),
        ({Fraction(1, 2): 1}, "v.key(Fraction(1, 2))"),
        ([{(1, 1j): 1}], "v[0].key((1, 1j))[1]"),
        ({"s": {1j}}, "v['s'].element(1j)"),
        (frozenset([(1, 1j)]), "v.element((1, 1j))[1]"),
        ([2**70, MappingProxyType({})], "v[1]"),
        ([MappingProxyType({}), 2**70], "v[0]"),
        ([0, Point(1, [object()])], "v[0]<point>[1][0]".replace("v[0]", "v[1]")),
        ({"x" * 100: 1j}, "v['" + "x" * 39 + "]"),
        ([Unprintable()], "v[0]"),
        ({Unprintable(): 1}, "v.key(<Unprintable>)"),
        ([10**5000], "v[0]"),
        ([Broken("x")], "v[0]"),
    ],
)
def test_the_place_of_what_cannot_be_encoded(value: Any, path: str) -> None:
    register(Broken, "broken", lambda broken: broken.missing, Broken)
    with pytest.raises(UnencodableValue) as caught:
        pack(value, "v")
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path} is of type ")
    assert isinstance(caught.value, TypeError | ValueError)


def test_the_reason_is_told() -> None:
    register(Broken, "broken", lambda broken: broken.missing, Broken)
    with pytest.raises(UnencodableValue, match=r"AttributeError: 'Broken' object has no attribute 'missing'"):
        pack(Broken("x"))


def test_a_value_that_contains_itself() -> None:
    with pytest.raises(UnencodableValue, match="contains itself") as caught:
        pack(cyclic(), "v")
    assert caught.value.path.startswith("v[1][1][1]")
    assert len(caught.value.path) < 300


def test_depth() -> None:
    for levels in (DEPTH_LIMIT - 1, DEPTH_LIMIT):
        assert unpack(pack(nested(levels))) == nested(levels)
    with pytest.raises(UnencodableValue, match="nested deeper than 500 levels"):
        pack(nested(5_000))


def sets(levels: int) -> Any:
    inner: Any = 1
    for _ in range(levels):
        inner = frozenset([inner])
    return inner


def points(levels: int) -> Any:
    inner: Any = 1
    for _ in range(levels):
        inner = Point(inner, [])
    return inner


@pytest.mark.parametrize("make", [sets, points])
def test_depth_of_extensions(make: Any) -> None:
    deepest = make(EXTENSION_DEPTH_LIMIT)
    assert unpack(pack([deepest])) == [deepest]
    with pytest.raises(UnencodableValue, match="nested deeper than 32 levels") as caught:
        pack(["x", make(EXTENSION_DEPTH_LIMIT + 1)], "v")
    assert caught.value.path.startswith("v[1]")


def test_size() -> None:
    text = "x" * 95
    size = len(pack(text))
    assert unpack(pack(text, limit=size)) == text
    with pytest.raises(
        ValueTooLarge, match=rf"message takes {size} bytes; the limit is {size - 1}"
    ) as caught:
        pack(text, "message", limit=size - 1)
    assert (caught.value.size, caught.value.limit) == (size, size - 1)


def test_the_default_size_limit() -> None:
    head = len(pack(b"x" * 70_000)) - 70_000
    assert len(pack(bytes(VALUE_LIMIT - head))) == VALUE_LIMIT
    with pytest.raises(ValueTooLarge):
        pack(bytes(VALUE_LIMIT - head + 1))


# --- registered types ---


def test_registered_types_nest() -> None:
    value = {"p": [Point(Point({2**70}, (1, 2)), {(1, 2): Point(1, 1)})], Point(1, 2): {Point(3, 4)}}
    back = unpack(pack(value))
    assert back == {"p": [Point(Point({2**70}, [1, 2]), {(1, 2): Point(1, 1)})], Point(1, 2): {Point(3, 4)}}


def test_what_packs_a_part_may_pack_as_well_and_fail() -> None:
    register(Point, "point", lambda point: pack([point.x, {"y": point.y}]), lambda data: Point(*unpack(data)))
    value = [Point(1, 2), Point(3, 4)]
    with pytest.raises(UnencodableValue):
        pack([Point(1, object())])
    assert pack(value) == pack(value)
    assert unpack(pack([*value, "x" * 100_000])) == [Point(1, {"y": 2}), Point(3, {"y": 4}), "x" * 100_000]


def test_unregistered_where_it_arrives() -> None:
    packed = pack({"a": [Point(1, 2)]})
    values._by_name.clear()
    with pytest.raises(
        InvalidValue, match=r"'point' is not registered in this process; call understudy.register"
    ):
        unpack(packed)


def test_a_decoder_that_raises() -> None:
    packed = pack(Point(1, 2))
    register(Point, "point", lambda point: 1, lambda data: data["x"])
    with pytest.raises(InvalidValue, match=r"stored Point .*TypeError") as caught:
        unpack(packed)
    assert isinstance(caught.value.__cause__, TypeError)


def test_subclasses_are_not_taken_for_the_registered_class() -> None:
    class Point3(Point):
        pass

    with pytest.raises(UnencodableValue, match="its base Point is, but would come back as Point") as caught:
        pack([Point3(1, 2)], "v")
    assert caught.value.path == "v[0]"


def test_a_base_class_whose_decoder_makes_the_subclasses() -> None:
    register(PurePath, "path", str, Path)
    register(
        enum.Enum, "enum", lambda member: [type(member).__name__, member.value], lambda data: Mood(data[1])
    )
    value = {"where": Path("/srv"), "how": [Mood.CALM]}
    assert same(unpack(pack(value)), value)
    with pytest.raises(UnencodableValue, match="its base PurePath is, but would come back as PosixPath"):
        pack(PureWindowsPath("c:/srv"))
    with pytest.raises(UnencodableValue, match=r"ValueError: 9 is not a valid Mood") as caught:
        pack([{"x": Temper.HOT}], "v")
    assert caught.value.path == "v[0]['x']"


def test_a_class_may_be_registered_again_and_after_a_reload() -> None:
    old = pack(Point(1, 2))
    register(Point, "point2", lambda point: {"x": point.x, "y": point.y}, lambda data: Point(**data))
    assert unpack(old) == Point(1, 2)
    assert unpack(pack(Point(1, 2))) == Point(1, 2)
    reloaded = type("Point", (), {"__module__": Point.__module__, "__qualname__": "Point"})
    register(reloaded, "point", lambda point: None, lambda data: reloaded())
    assert isinstance(unpack(old), reloaded)


@pytest.mark.parametrize(
    "kind", [int, bool, str, bytes, list, dict, tuple, Pair, Level, OrderedDict, type(None)]
)
def test_plain_types_cannot_be_registered(kind: type) -> None:
    with pytest.raises(InvalidOption, match="is a subclass of a plain type"):
        register(kind, "x", lambda value: value, lambda value: value)


@pytest.mark.parametrize(
    ("kind", "name"), [(Broken, "point"), (Broken, ""), (Broken, 3), (3, "x"), ("Point", "x")]
)
def test_other_mistakes_at_register(kind: Any, name: Any) -> None:
    with pytest.raises(InvalidOption):
        register(kind, name, lambda value: value, lambda value: value)


# --- hostile bytes ---


def refused_or_read(packed: bytes) -> Any:
    try:
        return unpack(packed)
    except InvalidValue:
        return InvalidValue


extensions = st.builds(
    lambda code, payload: msgpack.packb(msgpack.ExtType(code, payload)),
    st.integers(0, 13),
    st.binary(max_size=40),
)


@settings(max_examples=1_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | extensions)
@example(b"")
@example(b"\xc1")
@example(b"\x81\x90\x01")  # a list as a key
@example(b"\x81\x80\x01")  # a dict as a key
@example(b"\x82\x90\xc7\x03\x04abc\x01\x01")  # a list as a key, and a Decimal that is none
@example(msgpack.packb(msgpack.ExtType(3, msgpack.packb([10**9, 10**9, 10**9]))))
@example(msgpack.packb(msgpack.ExtType(6, msgpack.packb([{}]))))
@example(msgpack.packb(msgpack.ExtType(6, b"\x05")))
@example(msgpack.packb(msgpack.ExtType(9, msgpack.packb([[], 1]))))
@example(msgpack.packb(msgpack.ExtType(9, msgpack.packb({"point": 1}))))
@example(msgpack.packb(msgpack.ExtType(9, msgpack.packb(["point", 7]))))
@example(msgpack.packb(msgpack.ExtType(8, b"9" * 4_002)))
@example(msgpack.packb(msgpack.ExtType(10, msgpack.packb(["25:00", 0, None]))))
@example(msgpack.packb(msgpack.ExtType(10, msgpack.packb([3, 0, None]))))
@example(msgpack.packb(msgpack.ExtType(11, msgpack.packb(["2026-01-01", 2, None]))))
@example(msgpack.packb(msgpack.ExtType(11, msgpack.packb(["2026-01-01", 0, "../../etc/passwd"]))))
@example(msgpack.packb(msgpack.ExtType(11, msgpack.packb(["2026-01-01", 0, "Europe"]))))
@example(msgpack.packb(msgpack.ExtType(11, msgpack.packb(["2026-01-01", 0, "a\0b"]))))
@example(msgpack.packb(msgpack.ExtType(11, msgpack.packb(["2026-01-01", 0, [9, 0, 0, None]]))))
@example(msgpack.packb(msgpack.ExtType(11, msgpack.packb(["2026-01-01", 0, [0, 0, 0, 5]]))))
@example(msgpack.packb(msgpack.ExtType(11, msgpack.packb(["2026-01-01", 0, 7]))))
@example(b"\xc7\x0c\xff" + b"\xff" * 12)  # a timestamp beyond all years
@example(b"\xd6\xff\x00\x00\x00\x05")
@example(b"\xa1\xff")
def test_any_bytes_give_a_value_or_invalid_value(packed: bytes) -> None:
    refused_or_read(packed)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(encodable, st.data())
def test_damaged_values_give_a_value_or_invalid_value(value: Any, data: st.DataObject) -> None:
    packed = bytearray(pack(value))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    refused_or_read(bytes(packed))
    refused_or_read(bytes(packed[: data.draw(st.integers(0, len(packed)))]))
    refused_or_read(bytes(packed) + b"\x01")


def nested_sets(levels: int) -> bytes:
    packed = b"\x90"
    for _ in range(levels):
        packed = msgpack.packb([msgpack.ExtType(7, packed)])
    return packed


def promising(size: int) -> bytes:
    """Arrays within arrays, each of which declares half as many elements as there are bytes."""
    head = (b"\xdd" + (size // 2).to_bytes(4, "big")) * 900
    return head + bytes(max(0, size - len(head)))


def promising_maps(size: int) -> bytes:
    head = (b"\xdf" + (size // 2).to_bytes(4, "big") + b"\x01") * 900
    return head + bytes(max(0, size - len(head)))


def tuple_keys(levels: int) -> bytes:
    """Registered types within each other, each beside a key that has to be read a second way."""
    packed = b"\x01"
    for _ in range(levels):
        inner = b"\x92\xa5point\x92\x81\x91\x01\x01" + packed
        packed = msgpack.packb(msgpack.ExtType(9, inner))
    return packed


HOSTILE = {
    "200 sets within each other": nested_sets(200),
    "5,000 sets within each other": nested_sets(5_000),
    "100,000 lists within each other": b"\x91" * 100_000 + b"\x01",
    "1,020 lists in a set": msgpack.packb(msgpack.ExtType(6, b"\x91" * 1_020 + b"\x01")),
    "lengths, small": promising(4_090),
    "lengths, 8 MB": promising(8 << 20),
    "lengths in a set": msgpack.packb(msgpack.ExtType(6, promising(8 << 20))),
    "lengths in a type": msgpack.packb(msgpack.ExtType(9, promising(8 << 20))),
    "lengths in a timedelta": msgpack.packb(msgpack.ExtType(3, promising(8 << 20))),
    "maps": promising_maps(8 << 20),
    "one array of 4 billion": b"\xdd\xff\xff\xff\xff",
    "one map of 4 billion": b"\xdf\xff\xff\xff\xff",
    "4 GB of text": b"\xdb\xff\xff\xff\xffabc",
    "4 GB of extension": b"\xc9\xff\xff\xff\xff\x06abc",
    "a key of 400 lists": b"\x81" + b"\x91" * 400 + b"\x01\x01",
    "tuple keys, 32 deep": tuple_keys(32),
}

#: Odd, but values.
HARMLESS = {"1,020 lists in a set", "a key of 400 lists", "tuple keys, 32 deep"}

CHILD = """
import resource, sys, time
from understudy.actors.values import InvalidValue, unpack, register
class Point: pass
register(Point, "point", lambda p: None, lambda d: Point())
packed = sys.stdin.buffer.read()
resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))
started = time.process_time()
try:
    unpack(packed)
    print("read", end=" ")
except InvalidValue:
    print("refused", end=" ")
print(time.process_time() - started)
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_neither_crash_nor_eat_the_machine(name: str) -> None:
    # In a process of its own with little memory: a crash or a MemoryError would show.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD], input=HOSTILE[name], capture_output=True, timeout=50
    )
    assert done.returncode == 0, done.stderr.decode()
    said, seconds = done.stdout.decode().split()
    assert said == ("read" if name in HARMLESS else "refused")
    assert float(seconds) < 10


def test_refusing_takes_no_more_memory_than_reading() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refused_or_read(promising(8 << 20)) is InvalidValue
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


@pytest.mark.parametrize("packed", [None, "text", 7, []])
def test_what_are_no_bytes_at_all(packed: Any) -> None:
    with pytest.raises(InvalidValue):
        unpack(packed)


def test_a_buffer_will_do() -> None:
    packed = pack({"a": [1, {2}]})
    assert unpack(memoryview(packed)) == unpack(bytearray(packed)) == {"a": [1, {2}]}
