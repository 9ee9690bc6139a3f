"""The shapes of annotations: what the types that a function's annotations name say of its values."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import os
import pathlib
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from . import values
from .shapes import (
    DataclassShape,
    DictShape,
    EnumShape,
    FieldsShape,
    ListShape,
    ModelShape,
    NamedTupleShape,
    PathShape,
    SetShape,
    Shape,
    TupleShape,
    TypedDictShape,
    UnionShape,
    UnknownShape,
    is_model,
)

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
        return UnknownShape(
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
            return None if each is None else SetShape(_SETS[kind], each) if kind in _SETS else ListShape(each)
        if kind in _DICTS:
            shapes = [self.shape_of(arg, variables) for arg in args]
            return DictShape(*shapes) if len(shapes) == 2 and any(shapes) else None
        if values.is_registered(kind):
            return None
        if issubclass(kind, enum.Enum):
            return EnumShape(kind) if len(kind) else None
        if issubclass(kind, pathlib.PurePath):
            return None if issubclass(kind, pathlib.WindowsPath) and os.name != "nt" else PathShape(kind)
        if typing.is_typeddict(kind):
            known = (kind, args) in self._known
            shape = self._with_fields(TypedDictShape, kind, args, variables)
            return shape if known or any(shape.shapes.values()) else None
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            return self._with_fields(NamedTupleShape, kind, args, variables)
        if is_model(kind):
            return ModelShape(kind)
        if dataclasses.is_dataclass(kind):
            return self._with_fields(DataclassShape, kind, args, variables)
        return None

    def _with_fields(
        self, make: type[FieldsShape], kind: type, args: tuple[Any, ...], variables: Mapping[Any, Any]
    ) -> FieldsShape:
        key = kind, args
        if key not in self._known:
            inner = dict(zip(getattr(kind, "__parameters__", ()), args, strict=False))
            inner = {variable: variables.get(arg, arg) for variable, arg in inner.items()}
            self._known[key] = make(
                kind, lambda: {name: self.shape_of(hint, inner) for name, hint in _hints_of(kind).items()}
            )
        shape = self._known[key]
        assert isinstance(shape, FieldsShape)
        return shape

    def _later(self, alias: Any, variables: Mapping[Any, Any]) -> Shape | None:
        """An alias, as `type X = …` makes them; one that contains itself holds plain data."""
        if alias in self._known:
            return None
        self._known[alias] = UnknownShape("its alias contains itself")
        try:
            return self.shape_of(alias.__value__, variables)
        finally:
            del self._known[alias]

    def _tuple(self, args: tuple[Any, ...], variables: Mapping[Any, Any]) -> Shape:
        if not args:
            return TupleShape(None)
        if len(args) == 2 and args[1] is Ellipsis:
            return TupleShape(None, self.shape_of(args[0], variables))
        return TupleShape(tuple(self.shape_of(arg, variables) for arg in args))

    def _union(self, args: tuple[Any, ...], variables: Mapping[Any, Any]) -> Shape | None:
        others = [arg for arg in args if arg is not type(None)]
        shapes = [self.shape_of(arg, variables) for arg in others]
        typed = [shape for shape in shapes if shape is not None]
        if not typed or len(others) == 1:
            return typed[0] if typed else None
        for shape in typed:
            if isinstance(shape, UnknownShape):
                return shape
        if len({shape.name for shape in typed}) < len(typed) or len({shape.kind for shape in typed}) < len(
            typed
        ):
            return UnknownShape("members of its union cannot be told apart by their class")
        return UnionShape(typed)


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
