"""Shapes: how a value of an annotated type becomes plain data, and comes back as that type.

A value holds plain data only. The annotations of a task say what else goes in and comes out: `lower` makes plain
data of such a value before it is encoded, `lift` is the inverse.

======================  ==================================  ==============================================
annotation              as plain data                       notes
======================  ==================================  ==============================================
dataclass               dict of its fields                  comes back through its constructor
enum                    the member's value                  its name if a value is no scalar
pathlib path            text                                bytes if it is no valid text
named tuple, tuple      array
pydantic model          the dict of its JSON form           validated when it comes back
TypedDict, list, dict,  as they are, with what is           a set of such types becomes an array
set and the like        inside them
X | None                as X
another union           {"$type": class, "value": …}        only for the members of this table
======================  ==================================  ==============================================

None passes as it is. So does an object of a subclass, which the codec refuses: it would come back as another type.
Plain data may stand for an object (a dict for a dataclass, as the command line gives it). It comes out as that
object; data that cannot is refused.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import json
import os
import pathlib
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from . import values
from .errors import InvalidValue, UnencodableValue

#: The key of a union's member and the key beside it; the command line writes registered types alike.
TYPE, VALUE = "$type", "value"

_SCALARS: Final = (bool, int, float, str, bytes)
_LISTS: Final = (
    list,
    collections.abc.Iterable,
    collections.abc.Collection,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
)
_SETS: Final = {
    set: set,
    frozenset: frozenset,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
}
_DICTS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_MISSING: Final = object()


class Shape:
    """Of one annotation. `path` is the place of the value, for errors."""

    def __init__(self, kind: type, name: str | None = None) -> None:
        #: The class of its values.
        self.kind: Any = kind
        #: The name of this type in a union.
        self.name = name or kind.__qualname__

    def holds(self, value: Any) -> bool:
        """Whether this is a value that `lower` changes."""
        return type(value) is self.kind

    def lower(self, value: Any, path: str) -> Any:
        """The value as plain data. Raises UnencodableValue."""
        if self.holds(value):
            return self.to_plain(value, path)
        if value is not None and not isinstance(value, self.kind):
            self.check(value, path)
        return value

    def check(self, plain: Any, path: str) -> None:
        """Refuse plain data that `lift` cannot read: at the call, not in the worker. Raises UnencodableValue."""
        try:
            self.lift(plain, path)
        except InvalidValue as error:
            raise UnencodableValue(str(error), path) from error

    def lift(self, plain: Any, path: str) -> Any:
        """The value of plain data. Raises InvalidValue."""
        if plain is None or isinstance(plain, self.kind):
            return plain
        return self.from_plain(plain, path)

    def to_plain(self, value: Any, path: str) -> Any:
        """As `lower`, for a value that it holds."""
        raise NotImplementedError

    def from_plain(self, plain: Any, path: str) -> Any:
        """As `lift`, for what is no such value yet."""
        raise NotImplementedError


def lower(shape: Shape | None, value: Any, path: str) -> Any:
    """See `Shape.lower`; without a shape the value is plain data."""
    return value if shape is None else shape.lower(value, path)


def lift(shape: Shape | None, plain: Any, path: str) -> Any:
    """See `Shape.lift`; without a shape the value stays plain data."""
    return plain if shape is None else shape.lift(plain, path)


class _Enum(Shape):
    def __init__(self, kind: type[enum.Enum]) -> None:
        super().__init__(kind)
        codes = {member: member.value for member in kind}
        if not all(type(code) in _SCALARS for code in codes.values()):
            codes = {member: member.name for member in kind}
        self._codes = codes
        self._members = {code: member for member, code in codes.items()}

    def to_plain(self, value: Any, path: str) -> Any:
        return self._codes.get(value, value.value)  # a flag of several members has a value of its own

    def from_plain(self, plain: Any, path: str) -> Any:
        try:
            return self._members[plain] if plain in self._members else self.kind(plain)
        except (ValueError, TypeError):
            listed = ", ".join(repr(code) for code in list(self._members)[:10])
            raise InvalidValue(f"{path} is {plain!r:.80}: {self.name} has {listed}") from None


class _Path(Shape):
    def __init__(self, kind: type[pathlib.PurePath]) -> None:
        super().__init__(type(kind()), kind.__qualname__)

    def to_plain(self, value: Any, path: str) -> Any:
        text = str(value)
        return text if text.isascii() or _is_unicode(text) else os.fsencode(text)

    def from_plain(self, plain: Any, path: str) -> Any:
        return self.kind(os.fsdecode(plain)) if isinstance(plain, str | bytes) else plain


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Fields(Shape):
    """A type with named fields, each with a shape or None."""

    def __init__(self, kind: type, shapes: Callable[[], dict[str, Shape | None]]) -> None:
        super().__init__(kind)
        self._compile = shapes
        self._shapes: dict[str, Shape | None] | None = None

    @property
    def shapes(self) -> dict[str, Shape | None]:
        """Made when they are first needed: a type may contain itself."""
        if self._shapes is None:
            self._shapes = self._compile()
        return self._shapes


class _Dataclass(_Fields):
    def __init__(self, kind: type, shapes: Callable[[], dict[str, Shape | None]]) -> None:
        super().__init__(kind, shapes)
        self._fields = {field.name: field for field in dataclasses.fields(kind)}
        self._init = [name for name, field in self._fields.items() if field.init]
        try:
            inspect.signature(kind).bind(**dict.fromkeys(self._init))
        except (TypeError, ValueError):
            #: Whether its constructor takes its fields. It does not if it has an InitVar, or was written by hand.
            self._constructs = False
        else:
            self._constructs = True

    def to_plain(self, value: Any, path: str) -> Any:
        shapes = self.shapes
        return {
            name: lower(shapes.get(name), getattr(value, name), f"{path}.{name}")
            for name in self._fields
            if hasattr(value, name)
        }

    def from_plain(self, plain: Any, path: str) -> Any:
        if not isinstance(plain, dict):
            raise InvalidValue(f"{path} is {plain!r:.80}, not the fields of {self.name}")
        shapes = self.shapes
        for name in plain:
            if name not in self._fields:
                raise InvalidValue(f"{path}: {self.name} has no field {name!r:.80}")
        given = {name: lift(shapes.get(name), part, f"{path}.{name}") for name, part in plain.items()}
        try:
            made = (
                self.kind(**{name: given[name] for name in self._init if name in given})
                if self._constructs
                else self._bare(given)
            )
        except Exception as error:
            raise InvalidValue(f"{path} cannot become a {self.name}: {error!r:.300}") from error
        # The constructor may have changed what it has changed once before.
        for name, part in given.items():
            if getattr(made, name, _MISSING) is not part:
                object.__setattr__(made, name, part)
        return made

    def _bare(self, given: dict[str, Any]) -> Any:
        """An object that its constructor has not seen, with the defaults of the fields that are not given."""
        made = self.kind.__new__(self.kind)
        for name, field in self._fields.items():
            if name in given:
                continue
            if field.default is not dataclasses.MISSING:
                object.__setattr__(made, name, field.default)
            elif field.default_factory is not dataclasses.MISSING:
                object.__setattr__(made, name, field.default_factory())
        return made


class _NamedTuple(_Fields):
    def to_plain(self, value: Any, path: str) -> Any:
        shapes = self.shapes
        return tuple(
            lower(shapes.get(name), part, f"{path}.{name}")
            for name, part in zip(self.kind._fields, value, strict=True)
        )

    def lower(self, value: Any, path: str) -> Any:
        if isinstance(value, self.kind) and type(value) is not self.kind:
            raise UnencodableValue(
                f"{path} is of type {type(value).__qualname__} and would come back as {self.name}", path
            )
        return super().lower(value, path)

    def from_plain(self, plain: Any, path: str) -> Any:
        if isinstance(plain, dict):
            given = plain
        elif isinstance(plain, list | tuple):
            given = dict(zip(self.kind._fields, plain, strict=False))
            if len(plain) > len(given):
                raise InvalidValue(f"{path} has {len(plain)} elements; {self.name} has {len(given)} fields")
        else:
            raise InvalidValue(f"{path} is {plain!r:.80}, not the fields of {self.name}")
        shapes = self.shapes
        try:
            return self.kind(
                **{name: lift(shapes.get(name), part, f"{path}.{name}") for name, part in given.items()}
            )
        except TypeError as error:
            raise InvalidValue(f"{path} cannot become a {self.name}: {error}") from error


class _Model(Shape):
    """A model of pydantic, which has its own way to JSON and back."""

    def to_plain(self, value: Any, path: str) -> Any:
        try:
            return value.model_dump(mode="json", round_trip=True)
        except Exception as error:
            raise UnencodableValue(
                f"{path} cannot be encoded as {self.name}: {error!r:.300}", path
            ) from error

    def from_plain(self, plain: Any, path: str) -> Any:
        try:
            return self.kind.model_validate_json(json.dumps(plain), by_name=True, by_alias=True)
        except Exception as error:
            raise InvalidValue(f"{path} cannot become a {self.name}: {error!s:.1000}") from error


class _TypedDict(_Fields):
    def __init__(self, kind: type, shapes: Callable[[], dict[str, Shape | None]]) -> None:
        super().__init__(kind, shapes)
        self.kind = dict

    def lower(self, value: Any, path: str) -> Any:
        shapes = self.shapes
        if not isinstance(value, dict):
            return value
        return {key: lower(shapes.get(key), part, f"{path}[{key!r:.40}]") for key, part in value.items()}

    to_plain = lower

    def lift(self, plain: Any, path: str) -> Any:
        shapes = self.shapes
        if not isinstance(plain, dict):
            return plain
        return {key: lift(shapes.get(key), part, f"{path}[{key!r:.40}]") for key, part in plain.items()}

    from_plain = lift


class _Tuple(Shape):
    def __init__(self, parts: tuple[Shape | None, ...] | None, each: Shape | None = None) -> None:
        """`parts` of a tuple of known length; None if there may be any number of `each`."""
        super().__init__(tuple)
        self._parts = parts
        self._each = each

    def _paired(self, value: Any) -> Any:
        parts = self._parts
        if parts is None or len(parts) != len(value):
            parts = (self._each,) * len(value)
        return enumerate(zip(parts, value, strict=True))

    def lower(self, value: Any, path: str) -> Any:
        if not isinstance(value, tuple | list):
            return value
        return tuple(lower(shape, part, f"{path}[{n}]") for n, (shape, part) in self._paired(value))

    to_plain = lower

    def lift(self, plain: Any, path: str) -> Any:
        if not isinstance(plain, tuple | list):
            return plain
        return tuple(lift(shape, part, f"{path}[{n}]") for n, (shape, part) in self._paired(plain))

    from_plain = lift


class _List(Shape):
    def __init__(self, each: Shape) -> None:
        super().__init__(list)
        self._each = each

    def lower(self, value: Any, path: str) -> Any:
        if not isinstance(value, tuple | list):
            return value
        return [self._each.lower(part, f"{path}[{n}]") for n, part in enumerate(value)]

    to_plain = lower

    def lift(self, plain: Any, path: str) -> Any:
        if not isinstance(plain, tuple | list):
            return plain
        return [self._each.lift(part, f"{path}[{n}]") for n, part in enumerate(plain)]

    from_plain = lift


class _Set(Shape):
    def __init__(self, kind: type, each: Shape) -> None:
        super().__init__(kind)
        self._each = each

    def lower(self, value: Any, path: str) -> Any:
        if type(value) is not self.kind:
            return value
        return [self._each.lower(part, f"{path}.element({part!r:.40})") for part in value]

    to_plain = lower

    def lift(self, plain: Any, path: str) -> Any:
        if not isinstance(plain, list | tuple):
            return plain
        return self.kind(self._each.lift(part, f"{path}.element({part!r:.40})") for part in plain)

    from_plain = lift


class _Dict(Shape):
    def __init__(self, key: Shape | None, value: Shape | None) -> None:
        super().__init__(dict)
        self._key = key
        self._value = value

    def lower(self, value: Any, path: str) -> Any:
        return self._each(value, path, lower)

    to_plain = lower

    def lift(self, plain: Any, path: str) -> Any:
        return self._each(plain, path, lift)

    from_plain = lift

    def _each(self, value: Any, path: str, change: Callable[[Shape | None, Any, str], Any]) -> Any:
        if not isinstance(value, dict):
            return value
        try:
            return {
                change(self._key, key, f"{path}.key({key!r:.40})"): change(
                    self._value, part, f"{path}[{key!r:.40}]"
                )
                for key, part in value.items()
            }
        except TypeError as error:
            if isinstance(error, InvalidValue):
                raise
            raise UnencodableValue(f"{path}: a key is no plain value: {error}", path) from error


class _Union(Shape):
    """A union of which more than one member could be meant by plain data: members of a shape are named."""

    def __init__(self, members: list[Shape]) -> None:
        super().__init__(object)
        self._members = {member.name: member for member in members}

    def holds(self, value: Any) -> bool:
        return any(member.holds(value) for member in self._members.values())

    def lower(self, value: Any, path: str) -> Any:
        for name, member in self._members.items():
            if member.holds(value):
                return {TYPE: name, VALUE: member.to_plain(value, path)}
        if self._named(value) is not None:
            self.check(value, path)
        return value

    def lift(self, plain: Any, path: str) -> Any:
        name = self._named(plain)
        if name is None:
            return plain
        if name not in self._members:
            raise InvalidValue(f"{path}: {name!r:.80} is none of {', '.join(self._members)}")
        return self._members[name].lift(plain[VALUE], path)

    @staticmethod
    def _named(plain: Any) -> Any:
        return plain[TYPE] if isinstance(plain, dict) and plain.keys() == {TYPE, VALUE} else None


class _Unknown(Shape):
    """An annotation that cannot be used: plain data passes, and an error says why the rest does not."""

    def __init__(self, why: str) -> None:
        super().__init__(object)
        self._why = why

    def holds(self, value: Any) -> bool:
        return False

    def lower(self, value: Any, path: str) -> Any:
        if _wants_shape(type(value)) and not values.is_registered(type(value)):
            raise UnencodableValue(f"{path} is of type {type(value).__qualname__}, but {self._why}", path)
        return value

    def lift(self, plain: Any, path: str) -> Any:
        return plain


def _wants_shape(kind: type) -> bool:
    return (
        dataclasses.is_dataclass(kind)
        or _is_model(kind)
        or (issubclass(kind, enum.Enum | pathlib.PurePath) and not issubclass(kind, _SCALARS))
    )


def _is_model(kind: type) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(kind, pydantic.BaseModel)


def resolved(annotations: Mapping[str, Any], namespace: dict[str, Any]) -> dict[str, Any]:
    """The types that annotations name; a `Shape` in place of one that cannot be looked up."""
    return {name: _resolved(name, annotation, namespace) for name, annotation in annotations.items()}


def _resolved(name: str, annotation: Any, namespace: dict[str, Any]) -> Any:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation
    holder: Any = types.SimpleNamespace(__annotations__={name: annotation})
    try:
        return typing.get_type_hints(holder, namespace)[name]
    except Exception as error:  # noqa: BLE001 - an annotation may be any expression
        return _Unknown(
            f"the annotation {annotation!r:.80} cannot be looked up ({type(error).__name__}: {error}); import what it "
            "names outside `if TYPE_CHECKING:`"
        )


def shape_of(annotation: Any, types_of: Mapping[Any, Any] | None = None) -> Shape | None:
    """The shape of a resolved annotation, or None if its values are plain data. `types_of` maps type variables."""
    return _Compiler({}).shape_of(annotation, types_of or {})


class _Compiler:
    def __init__(self, known: dict[Any, Shape]) -> None:
        #: Shapes of types with fields, which may contain themselves.
        self._known = known

    def shape_of(self, annotation: Any, variables: Mapping[Any, Any]) -> Shape | None:
        if isinstance(annotation, Shape):
            return annotation
        if isinstance(annotation, TypeVar):
            return self.shape_of(variables.get(annotation, annotation.__bound__), {})
        if hasattr(annotation, "__supertype__"):  # a NewType
            return self.shape_of(annotation.__supertype__, variables)
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            return self.shape_of(annotation.__origin__, variables)
        if origin is None and type(annotation).__name__ == "TypeAliasType":
            return self._later(annotation, variables)
        args = typing.get_args(annotation)
        if origin in (typing.Union, types.UnionType):
            return self._union(args, variables)
        if origin is typing.Literal:
            kinds = {type(arg) for arg in args}
            return self._of_class(kinds.pop(), (), {}) if len(kinds) == 1 else None
        if origin in (typing.Required, typing.NotRequired, typing.Final, typing.ClassVar):
            return self.shape_of(args[0], variables)
        kind = origin or annotation
        return self._of_class(kind, args, variables) if isinstance(kind, type) else None

    def _of_class(self, kind: type, args: tuple[Any, ...], variables: Mapping[Any, Any]) -> Shape | None:
        if kind is tuple:
            return self._tuple(args, variables)
        if kind in _LISTS or kind in _SETS:
            each = self.shape_of(args[0], variables) if args else None
            return None if each is None else _Set(_SETS[kind], each) if kind in _SETS else _List(each)
        if kind in _DICTS:
            shapes = [self.shape_of(arg, variables) for arg in args]
            return _Dict(*shapes) if len(shapes) == 2 and any(shapes) else None
        if values.is_registered(kind):
            return None
        if issubclass(kind, enum.Enum):
            return _Enum(kind) if len(kind) else None
        if issubclass(kind, pathlib.PurePath):
            return None if issubclass(kind, pathlib.WindowsPath) and os.name != "nt" else _Path(kind)
        if typing.is_typeddict(kind):
            known = (kind, args) in self._known
            shape = self._with_fields(_TypedDict, kind, args, variables)
            return shape if known or any(shape.shapes.values()) else None
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            return self._with_fields(_NamedTuple, kind, args, variables)
        if _is_model(kind):
            return _Model(kind)
        if dataclasses.is_dataclass(kind):
            return self._with_fields(_Dataclass, kind, args, variables)
        return None

    def _with_fields(
        self, make: type[_Fields], kind: type, args: tuple[Any, ...], variables: Mapping[Any, Any]
    ) -> _Fields:
        key = kind, args
        if key not in self._known:
            inner = dict(zip(getattr(kind, "__parameters__", ()), args, strict=False))
            inner = {variable: variables.get(arg, arg) for variable, arg in inner.items()}
            self._known[key] = make(
                kind, lambda: {name: self.shape_of(hint, inner) for name, hint in _hints_of(kind).items()}
            )
        shape = self._known[key]
        assert isinstance(shape, _Fields)
        return shape

    def _later(self, alias: Any, variables: Mapping[Any, Any]) -> Shape | None:
        """An alias, as `type X = …` makes them; one that contains itself holds plain data."""
        if alias in self._known:
            return None
        self._known[alias] = _Unknown("its alias contains itself")
        try:
            return self.shape_of(alias.__value__, variables)
        finally:
            del self._known[alias]

    def _tuple(self, args: tuple[Any, ...], variables: Mapping[Any, Any]) -> Shape:
        if not args:
            return _Tuple(None)
        if len(args) == 2 and args[1] is Ellipsis:
            return _Tuple(None, self.shape_of(args[0], variables))
        return _Tuple(tuple(self.shape_of(arg, variables) for arg in args))

    def _union(self, args: tuple[Any, ...], variables: Mapping[Any, Any]) -> Shape | None:
        others = [arg for arg in args if arg is not type(None)]
        shapes = [self.shape_of(arg, variables) for arg in others]
        typed = [shape for shape in shapes if shape is not None]
        if not typed or len(others) == 1:
            return typed[0] if typed else None
        for shape in typed:
            if isinstance(shape, _Unknown):
                return shape
        if len({shape.name for shape in typed}) < len(typed) or len({shape.kind for shape in typed}) < len(
            typed
        ):
            return _Unknown("members of its union cannot be told apart by their class")
        return _Union(typed)


def _hints_of(kind: type) -> dict[str, Any]:
    """The annotations of a class's fields."""
    try:
        return typing.get_type_hints(kind)
    except Exception:  # noqa: BLE001 - one of them cannot be looked up: take them one by one
        namespace = vars(sys.modules[kind.__module__])
        found: dict[str, Any] = {}
        for base in reversed(kind.__mro__):
            found |= resolved(vars(base).get("__annotations__", {}), namespace)
        return found
