from __future__ import annotations

import enum
import os
import typing
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path, PurePath, PureWindowsPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import pytest

from understudy.actors import values
from understudy.actors.errors import InvalidValue, UnencodableValue
from understudy.actors.shape_compiler import resolved, shape_of
from understudy.actors.shapes import Shape
from understudy.actors.values import pack, unpack

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 3


class Planet(enum.Enum):
    EARTH = (5.97, 6378)
    MARS = (0.64, 3396)


class Maybe(enum.Enum):
    YES = True
    UNKNOWN = None


class Right(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


@dataclass
class Point:
    x: int
    y: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    to: Path
    points: list[Point]
    colours: frozenset[Colour] = frozenset()
    at: datetime | None = None
    price: Decimal = Decimal(0)
    weights: dict[Colour, tuple[int, ...]] = field(default_factory=dict)


@dataclass
class Tree:
    name: str
    children: list[Tree] = field(default_factory=list)


@dataclass
class Doubled:
    size: int
    area: int = field(init=False)
    seen: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.size *= 2
        self.area = self.size**2


@dataclass
class Asked:
    name: str
    shout: InitVar[bool]
    tags: list[str] = field(default_factory=list)

    def __post_init__(self, shout: bool) -> None:
        self.name = self.name.upper() if shout else self.name


@dataclass(frozen=True)
class Frozen:
    x: int


@dataclass
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError("below zero")


@dataclass
class Box(Generic[T]):
    content: T


class Pair(NamedTuple):
    first: Point
    second: int = 0


class Row(TypedDict):
    where: Path
    count: NotRequired[int]


class Plain(TypedDict):
    count: int


UserId = NewType("UserId", int)
Place = NewType("Place", Point)


def shape(annotation: Any) -> Shape:
    found = shape_of(annotation)
    assert found is not None
    return found


def there_and_back(annotation: Any, value: Any) -> Any:
    made = shape(annotation)
    return made.lift(unpack(pack(made.lower(value, "v"))), "v")


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and repr(one) == repr(other) and one == other


PLAIN: list[Any] = [
    *(int, str, bytes, float, bool, None, list, list[int], dict, dict[str, int], set[str], datetime, Decimal),
    *(
        object,
        Any,
        int | None,
        int | str,
        list[int | None],
        Sequence[str],
        UserId,
        Literal["a", "b"],
        Plain,
        T,
    ),
    *(type[Point], Annotated[int, "unit"], typing.Callable[[], int], "text"),
]


@pytest.mark.parametrize("annotation", PLAIN, ids=str)
def test_annotations_of_plain_data_have_no_shape(annotation: Any):
    assert shape_of(annotation) is None


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Colour, Colour.RED),
        (Level, Level.HIGH),
        (Planet, Planet.MARS),
        (Maybe, Maybe.UNKNOWN),
        (Maybe, Maybe.YES),
        (Right, Right.READ | Right.WRITE),
        (Right, Right(0)),
        (Path, Path("/srv/a")),
        (PurePath, PurePath("a") / "b"),
        (PureWindowsPath, PureWindowsPath("c:/x")),
        (Path, Path(os.fsdecode(b"/srv/\xff"))),
        (Point, Point(1, 5)),
        (Place, Point(1)),
        (Annotated[Point, "x"], Point(1)),
        (Point | None, Point(1)),
        (Point | None, None),
        (Tree, Tree("a", [Tree("b"), Tree("c", [Tree("d")])])),
        (Box[Point], Box(Point(1))),
        (Box[list[Colour]], Box([Colour.RED])),
        (Pair, Pair(Point(1), 7)),
        (Row, {"where": Path("x")}),
        (tuple, (1, [2])),
        (tuple[int, ...], (1, 2)),
        (tuple[Point, int], (Point(1), 2)),
        (list[Point], [Point(1), Point(2)]),
        (Sequence[Point], [Point(1)]),
        (set[Colour], {Colour.RED}),
        (frozenset[Pair], frozenset()),
        (dict[str, Point], {"a": Point(1)}),
        (Mapping[Colour, int], {Colour.BLUE: 1}),
        (dict[tuple[int, int], Path], {(1, 2): Path("a")}),
        (Literal[Colour.RED], Colour.RED),
        (
            Shipment,
            Shipment(
                to=Path("a"),
                points=[Point(1)],
                colours=frozenset([Colour.RED]),
                at=datetime(2026, 1, 1, tzinfo=UTC),
                price=Decimal("1.50"),
                weights={Colour.BLUE: (1, 2)},
            ),
        ),
    ],
    ids=repr,
)
def test_there_and_back(annotation: Any, value: Any):
    assert same(there_and_back(annotation, value), value)


@pytest.mark.parametrize(
    ("annotation", "members"),
    [
        (Path | str, [Path("a"), "a"]),
        (Point | Tree, [Point(1), Tree("a")]),
        (Point | dict, [Point(1), {"x": 1}, {"$type": "x"}]),
        (Point | Tree | int | None, [Point(1), Tree("a"), 5, None]),
        (list[Point] | Point, [[Point(1)], Point(1)]),
        (Colour | str, [Colour.RED, "red"]),
        (list[Point | Tree], [[Tree("a"), Point(1)]]),
        (tuple[int, int] | list[int], [(1, 2), [1, 2]]),
    ],
    ids=str,
)
def test_members_of_a_union_stay_apart(annotation: Any, members: list[Any]):
    for member in members:
        assert same(there_and_back(annotation, member), member)


def test_plain_forms():
    assert shape(Shipment).lower(Shipment(to=Path("a"), points=[Point(1)]), "v") == {
        "to": "a",
        "points": [{"x": 1, "y": 2}],
        "colours": [],
        "at": None,
        "price": Decimal(0),
        "weights": {},
    }
    assert shape(Path | str).lower(Path("a"), "v") == {"$type": "Path", "value": "a"}
    assert [shape(Planet).lower(Planet.EARTH, "v"), shape(Level).lower(Level.LOW, "v")] == ["EARTH", 1]


def test_plain_data_may_stand_for_an_object():
    # As the command line gives them.
    assert shape(Point).lift({"x": 3}, "v") == Point(3)
    assert shape(Colour).lift("blue", "v") is Colour.BLUE
    assert shape(Path).lift("a/b", "v") == Path("a/b")
    assert shape(Pair).lift({"first": {"x": 1}}, "v") == Pair(Point(1))
    assert shape(set[Colour]).lift(["red", "red"], "v") == {Colour.RED}
    assert shape(Asked).lift({"name": "a"}, "v").tags == []
    # An older release stored a named tuple, a tuple and an enum of texts as the plain type.
    assert shape(Pair).lift([{"x": 1}, 4], "v") == Pair(Point(1), 4)
    assert shape(tuple[int, int]).lift([1, 2], "v") == (1, 2)


def test_what_the_constructor_changes_is_changed_once():
    made = Doubled(4)
    made.seen = 9
    back = there_and_back(Doubled, made)
    assert (back.size, back.area, back.seen) == (8, 64, 9)
    assert there_and_back(Asked, Asked("a", shout=True, tags=["t"])) == made_by_hand("A", ["t"])


def made_by_hand(name: str, tags: list[str]) -> Asked:
    made = Asked(name, shout=False)
    made.tags = tags
    return made


@dataclass
class Point3(Point):
    z: int = 0


class Pair3(Pair):
    pass


@pytest.mark.parametrize(
    ("annotation", "value", "path", "why"),
    [
        (Point, {"x": 1, "z": 2}, "v", "Point has no field 'z'"),
        (Point, {}, "v", "cannot become a Point"),
        (Positive, {"value": -1}, "v", "below zero"),
        (Point, 5, "v", "not the fields of Point"),
        (list[Point], [Point(1), {"z": 1}], "v[1]", "no field 'z'"),
        (dict[str, Colour], {"a": "green"}, "v['a']", "Colour has 'red', 'blue'"),
        (Shipment, Shipment(to=Path("a"), points=[{"z": 1}]), "v.points[0]", "no field 'z'"),  # type: ignore[list-item]
        (Point | Tree, {"$type": "Circle", "value": {}}, "v", "'Circle' is none of Point, Tree"),
        (Pair, Pair3(Point(1)), "v", "Pair3 and would come back as Pair"),
        (Pair, [1, 2, 3], "v", "3 elements; Pair has 2 fields"),
    ],
    ids=repr,
)
def test_what_does_not_fit_is_refused_with_its_place(annotation: Any, value: Any, path: str, why: str):
    with pytest.raises(UnencodableValue) as caught:
        shape(annotation).lower(value, "v")
    assert caught.value.path == path
    assert why in str(caught.value)


def test_stored_data_that_does_not_fit():
    for data in ({"z": 1}, 5, [1]):
        with pytest.raises(InvalidValue, match=r"^result\[1\]"):
            shape(list[Point]).lift([{"x": 1}, data], "result")
    with pytest.raises(UnencodableValue, match="a key is no plain value"):
        shape(dict[Frozen, int]).lower({Frozen(1): 1}, "v")


def test_a_subclass_is_left_to_the_codec_which_refuses_it():
    with pytest.raises(UnencodableValue, match="Point3"):
        pack(shape(Point).lower(Point3(1), "v"))


def test_a_registered_type_keeps_its_own_form(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(values, "_by_type", {})
    monkeypatch.setattr(values, "_by_name", {})
    values.register(Point, "point", lambda point: [point.x, point.y], lambda data: Point(*data))
    assert shape_of(Point) is None
    assert shape_of(list[Point]) is None
    assert there_and_back(Tree, Tree("a")) == Tree("a")


def test_annotations_that_cannot_be_looked_up():
    hints = resolved({"a": "Absent", "b": "list[Missing]", "c": "int", "d": "1 +"}, globals())
    assert hints["c"] is int
    for name in "abd":
        found = shape(hints[name])
        assert found.lower({"plain": [1]}, "v") == {"plain": [1]}
        with pytest.raises(UnencodableValue, match=r"type Point, but the annotation .* cannot be looked up"):
            found.lower(Point(1), "v")
    with pytest.raises(UnencodableValue, match="cannot be told apart"):
        shape(list[Point] | list[Tree]).lower(Point(1), "v")


def test_models_of_pydantic():
    pydantic = pytest.importorskip("pydantic")

    class Item(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        model_config = pydantic.ConfigDict(strict=True)
        where: Path
        price: Decimal
        at: datetime
        tags: frozenset[str] = frozenset()
        name: str = pydantic.Field(default="", alias="Name")
        ratio: float = 0.0

    item = Item(
        where=Path("a"),
        price=Decimal("1.50"),
        at=datetime(2026, 1, 1, tzinfo=UTC),
        tags=frozenset("x"),
        Name="n",
    )
    back = there_and_back(list[Item], [item])
    assert back == [item]
    assert (
        shape(Item).lift({"where": "a", "price": "2", "at": "2026-01-01T00:00:00Z", "Name": "q"}, "v").name
        == "q"
    )
    with pytest.raises(UnencodableValue, match=r"cannot become a .*Item") as caught:
        shape(Item).lower({"where": "a"}, "v")
    assert caught.value.path == "v"
    endless = Item(where=Path("a"), price=Decimal(1), at=datetime(2026, 1, 1, tzinfo=UTC), ratio=float("inf"))
    assert there_and_back(Item, endless) == endless
