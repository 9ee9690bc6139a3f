"""Names of events, patterns of names, and `PatternMap`, which finds all patterns that match a name. Pure.

A name is a row of segments with dots between them, as "order.paid". A pattern is such a row, in which `*` stands for
one segment and `**` for any number of them, also for none. Names that begin with the segment "understudy" are those of
the runtime's own events. Only patterns that begin with this very segment match them, so that a handler for "**" does
not get them.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from typing import Final, Generic, TypeVar

from ..errors import InvalidOption

T = TypeVar("T", bound=Hashable)

#: Characters of a name or pattern, and segments of it.
NAME_LIMIT: Final = 255
SEGMENT_LIMIT: Final = 32
#: The first segment of the names of the runtime's own events.
OWN: Final = "understudy"

ONE: Final = "*"
ANY: Final = "**"

#: Names of which a map keeps the matches; an app has few.
_KEPT: Final = 1_024
#: Names that were found to be valid: an app emits the same ones again and again.
_checked_names: Final[set[str]] = set()
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]+")


def check_name(name: object) -> str:
    """The name of an event that a program may emit; InvalidOption for anything else."""
    if type(name) is str and name in _checked_names:
        return name
    checked = _checked("the name of an event", name)
    for segment in checked.split("."):
        if not _SEGMENT.fullmatch(segment):
            raise _wrong("the name of an event", checked, segment, "")
    if is_own(checked):
        raise InvalidOption(
            f"{checked!r} is a name of the runtime's own events: take a first segment other than {OWN!r}"
        )
    if len(_checked_names) >= _KEPT:
        _checked_names.clear()
    _checked_names.add(checked)
    return checked


def check_pattern(pattern: object) -> str:
    """A pattern of names; InvalidOption for anything else."""
    checked = _checked("a pattern of events", pattern)
    for segment in checked.split("."):
        if segment not in (ONE, ANY) and not _SEGMENT.fullmatch(segment):
            raise _wrong(
                "a pattern of events",
                checked,
                segment,
                ", or * for one segment, or ** for any number of them",
            )
    return checked


def is_own(name: str) -> bool:
    """Whether this is the name of one of the runtime's own events, or a pattern that matches only such names."""
    return name == OWN or name.startswith(f"{OWN}.")


def _checked(what: str, text: object) -> str:
    if not isinstance(text, str) or not text or len(text) > NAME_LIMIT:
        raise InvalidOption(f"{what} is text of 1 to {NAME_LIMIT} characters: {text!r:.80}")
    if text.count(".") >= SEGMENT_LIMIT:
        raise InvalidOption(f"{what} has at most {SEGMENT_LIMIT} segments: {text!r:.80}")
    return text


def _wrong(what: str, text: str, segment: str, wildcards: str) -> InvalidOption:
    return InvalidOption(
        f"{what} is made of segments with dots between them, each of letters, digits, _ and -{wildcards}; "
        f"{segment!r} in {text!r:.80} is none of these"
    )


class PatternMap(Generic[T]):
    """Values by pattern: a tree of segments, of which a name walks all paths at once.

    So the time for a name does not depend on the number of patterns that do not begin like it. The matches of the
    last names are kept.
    """

    def __init__(self, entries: Iterable[tuple[str, T]] = ()) -> None:
        self._root: _Node[T] = _Node()
        self._kept: dict[str, tuple[T, ...]] = {}
        self._count = 0
        #: How many of them are for the runtime's own events.
        self._own = 0
        for pattern, value in entries:
            self.add(pattern, value)

    def __len__(self) -> int:
        return self._count

    @property
    def own(self) -> bool:
        """Whether a pattern is for the runtime's own events."""
        return self._own > 0

    def add(self, pattern: str, value: T) -> None:
        """Let this pattern, which is valid, lead to a value. Does nothing if it does so already."""
        node = self._root
        for segment in pattern.split("."):
            node = node.below.setdefault(segment, _Node(repeats=segment == ANY))
        if value not in node.values:
            node.values[value] = None
            self._count += 1
            self._own += is_own(pattern)
            self._kept.clear()

    def discard(self, pattern: str, value: T) -> None:
        """Let this pattern no longer lead to a value. Does nothing if it does not."""
        path = [self._root]
        segments = pattern.split(".")
        for segment in segments:
            node = path[-1].below.get(segment)
            if node is None:
                return
            path.append(node)
        if value not in path[-1].values:
            return
        del path[-1].values[value]
        self._count -= 1
        self._own -= is_own(pattern)
        self._kept.clear()
        for segment in reversed(segments):
            node = path.pop()
            if node.values or node.below:
                break
            del path[-1].below[segment]

    def match(self, name: str) -> tuple[T, ...]:
        """The values of all patterns that match this name, each once, in no certain order."""
        found = self._kept.get(name)
        if found is None:
            found = self._find(name)
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[name] = found
        return found

    def _find(self, name: str) -> tuple[T, ...]:
        first, *rest = name.split(".")
        if first == OWN:
            below = self._root.below.get(OWN)
            nodes = _with_any([] if below is None else [below])
        else:
            nodes = _step(_with_any([self._root]), first)
        for segment in rest:
            nodes = _step(nodes, segment)
        return tuple(dict.fromkeys(value for node in nodes for value in node.values))


class _Node(Generic[T]):
    """What patterns with the same first segments have in common."""

    __slots__ = ("below", "repeats", "values")

    def __init__(self, *, repeats: bool = False) -> None:
        #: Whether its last segment is **, which takes the next segment of a name, too.
        self.repeats = repeats
        #: What follows, by segment.
        self.below: dict[str, _Node[T]] = {}
        #: Those of the patterns that end here; a dict as an ordered set.
        self.values: dict[T, None] = {}


def _step(nodes: Iterable[_Node[T]], segment: str) -> list[_Node[T]]:
    """The nodes after one more segment of the name."""
    after: dict[int, _Node[T]] = {}
    for node in nodes:
        for key in (segment, ONE):
            if (below := node.below.get(key)) is not None:
                after[id(below)] = below
        if node.repeats:
            after[id(node)] = node
    return _with_any(after.values())


def _with_any(nodes: Iterable[_Node[T]]) -> list[_Node[T]]:
    """These nodes, and those that ** without any segment leads to."""
    whole: dict[int, _Node[T]] = {}
    for start in nodes:
        node: _Node[T] | None = start
        while node is not None and id(node) not in whole:
            whole[id(node)] = node
            node = node.below.get(ANY)
    return list(whole.values())
