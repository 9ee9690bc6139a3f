"""The query language of searches, parsed. Pure.

A query is a list of terms, all of which a task must fit::

    state:failed task:etl* newer:1d -error:TimeoutError 'connection reset'

A term is `field:values` or a text. Values are a comma list, one of which must fit; `*` stands for any characters and
`?` for one. `-` before a term excludes what fits it. Quotes, single or double, make one value or text of anything.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn

from ..actors.errors import InvalidQuery
from ..actors.ids import id_bytes
from ..actors.state import State

FIELDS: Final = (
    "state",
    "task",
    "kind",
    "stream",
    "origin",
    "key",
    "error",
    "cause",
    "event",
    "schedule",
    "attempt",
    "newer",
    "older",
    "ended",
)
"""The fields of terms; and `args.NAME`, with any name of an argument."""

MAX_LENGTH: Final = 4_096
"""Characters of a query."""

MAX_TERMS: Final = 64
"""Terms of a query, and values of one term."""

_ARGS: Final = "args."
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_AGE: Final = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_NUMBER: Final = re.compile(r"(>=|<=|>|<|=)?(\d{1,9})")
_FIELD: Final = re.compile(r"[A-Za-z_][\w.\-]*:")
_WHOLE: Final = re.compile(r"\d{1,9}")
_FINGERPRINT: Final = re.compile(r"[0-9a-fA-F]{16}")
_COMPARE: Final[dict[str, Callable[[int, int], bool]]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "=": operator.eq
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Value:
    """One of a term's values."""

    text: str
    column: int
    """Of its first character, from 1."""
    quoted: bool = False
    """Whether it stands in quotes, so that `*` and `?` are plain characters."""

    @property
    def is_pattern(self) -> bool:
        return not self.quoted and ("*" in self.text or "?" in self.text)

    def fits(self, text: str) -> bool:
        """Whether a whole text is this value or fits this pattern."""
        if not self.is_pattern:
            return text == self.text
        return re.fullmatch(_regex(self.text), text, re.DOTALL) is not None


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a query. What it compares depends on its field; see `parse`."""

    field: str
    """One of FIELDS, "args", or "" for a text."""
    values: tuple[Value, ...]
    column: int
    exclude: bool = False
    path: str = ""
    """Of a term of arguments: the name after `args.`, with dots for fields inside it."""
    states: frozenset[State] = frozenset()
    ids: tuple[bytes, ...] = ()
    """Of `stream` and `origin`: ids; of `cause`: fingerprints."""
    compare: tuple[Callable[[int, int], bool], int] | None = None
    """Of `attempt`: the comparison and its number."""
    age: float | None = None
    """Of `newer`, `older` and `ended`: seconds before now; or `at`."""
    at: float | None = None
    """Of `newer`, `older` and `ended`: seconds since the epoch."""

    def fits_any(self, text: str) -> bool:
        """Whether a whole text fits one of the values."""
        return any(value.fits(text) for value in self.values)

    def time(self, now: float) -> float:
        """Of `newer`, `older` and `ended`: the time that it says, in seconds since the epoch."""
        return self.at if self.at is not None else now - (self.age or 0.0)


def parse(text: str) -> tuple[Term, ...]:
    """The terms of a query; InvalidQuery, with the column, for a mistake."""
    if not isinstance(text, str):
        raise InvalidQuery(f"a query is a text, not {text!r:.80}", repr(text)[:80], 1)
    if len(text) > MAX_LENGTH:
        raise InvalidQuery(
            f"a query has at most {MAX_LENGTH} characters, not {len(text)}", text, MAX_LENGTH + 1
        )
    return tuple(_Parser(text).terms())


def parse_some(text: str) -> tuple[Term, ...]:
    """As `parse`, for a query of tasks that are to be changed: an empty one, which may be a mistake, is refused."""
    terms = parse(text)
    if not terms:
        raise InvalidQuery(
            "an empty query fits every task. Say which ones you mean, as in state:queued or task:etl*, or write "
            "task:* for all",
            text,
            1,
        )
    return terms


class _Parser:
    """One text and the place up to which it is parsed, from 0."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def terms(self) -> list[Term]:
        found: list[Term] = []
        while self._skip_space():
            if len(found) == MAX_TERMS:
                self._refuse(f"a query has at most {MAX_TERMS} terms", self._at)
            found.append(self._term())
        return found

    def _skip_space(self) -> bool:
        """Whether there is more."""
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
        return self._at < len(self._text)

    def _refuse(self, why: str, at: int) -> NoReturn:
        raise InvalidQuery(f"{why}\n  {_one_line(self._text)}\n  {' ' * at}^", self._text, at + 1)

    def _term(self) -> Term:
        begin = self._at
        exclude = self._text[self._at] == "-"
        if exclude:
            self._at += 1
            if self._at == len(self._text) or self._text[self._at].isspace():
                self._refuse("a term must follow the '-'; quote it to search for it: '-'", begin)
        match = _FIELD.match(self._text, self._at)
        if match is None:
            value = self._value(stop="")
            self._must_end()
            if not value.text:
                self._refuse("an empty text fits every task; leave it out", begin)
            return Term("", (value,), begin + 1, exclude)
        name = match[0][:-1]
        at, self._at = self._at, match.end()
        path = ""
        if name.startswith(_ARGS):
            name, path = "args", name[len(_ARGS) :]
            if not path or ".." in path or path.startswith(".") or path.endswith("."):
                self._refuse("args. needs the name of an argument, as in args.customer:17", at)
        elif name not in FIELDS:
            self._refuse(
                f"there is no field {name!r}; the fields are {', '.join(FIELDS)} and args.NAME. "
                "Quote a text that has a colon",
                at,
            )
        values = self._values(name)
        return self._checked(Term(name, values, begin + 1, exclude, path))

    def _values(self, field: str) -> tuple[Value, ...]:
        found: list[Value] = []
        while True:
            value = self._value(stop=",")
            if not value.text and not value.quoted:
                self._refuse(f"a value must follow here, as in {field}:value", value.column - 1)
            found.append(value)
            if len(found) > MAX_TERMS:
                self._refuse(f"a term has at most {MAX_TERMS} values", value.column - 1)
            if self._at < len(self._text) and self._text[self._at] == ",":
                self._at += 1
                continue
            self._must_end()
            return tuple(found)

    def _value(self, stop: str) -> Value:
        """A quoted text, or what stands before the next space or `stop`."""
        text, begin = self._text, self._at
        if begin < len(text) and text[begin] in "'\"":
            end = text.find(text[begin], begin + 1)
            if end < 0:
                self._refuse(f"the quote {text[begin]} is not closed", begin)
            self._at = end + 1
            return Value(text[begin + 1 : end], begin + 1, quoted=True)
        while self._at < len(text) and not text[self._at].isspace() and text[self._at] not in (stop or " "):
            self._at += 1
        return Value(text[begin : self._at], begin + 1)

    def _must_end(self) -> None:
        if self._at < len(self._text) and not self._text[self._at].isspace():
            self._refuse("a space must follow the closing quote", self._at)

    def _checked(self, term: Term) -> Term:
        """The term with what its values mean; refuses those that mean nothing."""
        match term.field:
            case "state":
                return self._with_states(term)
            case "stream" | "origin":
                return self._with_ids(term)
            case "attempt":
                return self._with_number(term)
            case "cause":
                return self._with_causes(term)
            case "newer" | "older" | "ended":
                return self._with_time(term)
        return term

    def _only(self, term: Term) -> Value:
        if len(term.values) > 1:
            self._refuse(f"{term.field} takes one value", term.values[1].column - 1)
        return term.values[0]

    def _with_states(self, term: Term) -> Term:
        states: set[State] = set()
        for value in term.values:
            fitting = {state for state in State if value.fits(str(state))}
            if not fitting:
                self._refuse(
                    f"there is no state {value.text!r}; the states are {', '.join(State)}", value.column - 1
                )
            states |= fitting
        return Term(term.field, term.values, term.column, term.exclude, states=frozenset(states))

    def _with_ids(self, term: Term) -> Term:
        ids = []
        for value in term.values:
            try:
                ids.append(id_bytes(value.text))
            except ValueError:
                self._refuse(f"{term.field} takes the whole id of a task", value.column - 1)
        return Term(term.field, term.values, term.column, term.exclude, ids=tuple(ids))

    def _with_causes(self, term: Term) -> Term:
        for value in term.values:
            if not _FINGERPRINT.fullmatch(value.text):
                self._refuse(
                    "cause takes a fingerprint of 16 hexadecimal digits, as `understudy errors --json` shows it",
                    value.column - 1,
                )
        ids = tuple(bytes.fromhex(value.text) for value in term.values)
        return Term(term.field, term.values, term.column, term.exclude, ids=ids)

    def _with_number(self, term: Term) -> Term:
        value = self._only(term)
        match = _NUMBER.fullmatch(value.text)
        if match is None:
            self._refuse("attempt takes a number, as in attempt:2 or attempt:>1", value.column - 1)
        compare = _COMPARE[match[1] or "="], int(match[2])
        return Term(term.field, term.values, term.column, term.exclude, compare=compare)

    def _with_time(self, term: Term) -> Term:
        value = self._only(term)
        age = at = None
        if _AGE.fullmatch(value.text):
            age = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value.text))
        else:
            try:
                if _WHOLE.fullmatch(value.text):
                    raise ValueError("a number without a unit")
                at = datetime.fromisoformat(value.text).timestamp()
            except (ValueError, OverflowError, OSError):
                self._refuse(
                    f"{term.field} takes an age, as in {term.field}:90s, 10m, 2h, 1d or 1w, or a time, as in "
                    f"{term.field}:2026-03-01 or {term.field}:2026-03-01T09:30",
                    value.column - 1,
                )
        return Term(term.field, term.values, term.column, term.exclude, age=age, at=at)


def _regex(pattern: str) -> str:
    return "".join(".*" if part == "*" else "." if part == "?" else re.escape(part) for part in pattern)


def _one_line(text: str) -> str:
    """The text with each control character as a space, so that columns stay."""
    return "".join(char if char.isprintable() else " " for char in text)
