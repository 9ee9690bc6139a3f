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

import dataclasses
import enum
import inspect
import json
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any, Final

from . import values
from .errors import InvalidValue, UnencodableValue

#: The key of a union's member and the key beside it; the command line writes registered types alike.
TYPE, VALUE = "$type", "value"

_SCALARS: Final = (bool, int, float, str, bytes)
_MISSING: Final = object()


class Shape:
    """Of one annotation. `path` is the place of the value, for errors.

    A kind overrides `to_plain` and `from_plain`, or else `lower` and `lift`.
    """

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
        raise NotImplementedError(f"{type(self).__name__} overrides `lower`")

    def from_plain(self, plain: Any, path: str) -> Any:
        """As `lift`, for what is no such value yet."""
        raise NotImplementedError(f"{type(self).__name__} overrides `lift`")


def lower(shape: Shape | None, value: Any, path: str) -> Any:
    """See `Shape.lower`; without a shape the value is plain data."""
    return value if shape is None else shape.lower(value, path)


def lift(shape: Shape | None, plain: Any, path: str) -> Any:
    """See `Shape.lift`; without a shape the value stays plain data."""
    return plain if shape is None else shape.lift(plain, path)


class EnumShape(Shape):
    """A member of an enum."""

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


class PathShape(Shape):
    """A pathlib path."""

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


class FieldsShape(Shape):
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


class DataclassShape(FieldsShape):
    """An instance of a dataclass."""

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


class NamedTupleShape(FieldsShape):
    """A named tuple."""

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


class ModelShape(Shape):
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


class TypedDictShape(FieldsShape):
    """A dict with the keys of a TypedDict."""

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


class TupleShape(Shape):
    """A tuple."""

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


class ListShape(Shape):
    """A list, or another sequence, of values of one shape."""

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


class SetShape(Shape):
    """A set or frozenset of values of one shape."""

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


class DictShape(Shape):
    """A dict, or another mapping, with shapes of its keys or values."""

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


class UnionShape(Shape):
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


class UnknownShape(Shape):
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
        or is_model(kind)
        or (issubclass(kind, enum.Enum | pathlib.PurePath) and not issubclass(kind, _SCALARS))
    )


def is_model(kind: type) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(kind, pydantic.BaseModel)
