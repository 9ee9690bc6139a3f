"""Types of arguments and options, and the options that several commands share."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click
from click.shell_completion import CompletionItem

from ...actors.ids import id_text
from ...actors.state import State
from ..text import units

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
    Choice = click.Choice[str]
else:  # generic only in later releases of click
    ParamType, Choice = click.ParamType, click.Choice

#: Number of the newest ids that completion offers.
COMPLETIONS: Final = 50


class _Parsed(ParamType):
    """A type that a function of units.py parses. In help texts it stands as its name in capitals."""

    def __init__(self, name: str, parse: Callable[[str], float | int], none: bool = False) -> None:
        self.name = name
        self._parse = parse
        self._none = none

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        if self._none and value.strip().lower() == "none":
            return math.inf
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION: Final = _Parsed("time", units.parse_duration)
#: As DURATION; "none" gives infinity.
DURATION_OR_NONE: Final = _Parsed("time", units.parse_duration, none=True)
SIZE: Final = _Parsed("size", units.parse_size)
MOMENT: Final = _Parsed("time", units.parse_moment)


class JsonType(ParamType):
    """A value written as JSON; `-` reads it from standard input."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        text = sys.stdin.read() if value == "-" else value
        try:
            return json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            self.fail(self._advice(value, error), param, ctx)

    @staticmethod
    def _advice(value: str, error: Exception) -> str:
        if value == "-":
            return f"the standard input is not JSON: {error}"
        if value.startswith("--"):
            return f"no such option: {value}"
        if any(char in value for char in '{["'):
            return f"{value!r:.200} is not JSON: {error}. Put the whole value in single quotes: '{{\"a\": [1, 2]}}'"
        return f"{value!r:.200} is not JSON. Put text into double quotes inside the shell's quotes: '\"{value:.100}\"'"


class PoolValue(ParamType):
    """What an option says of one pool: POOL=NUMBER, as a pair."""

    name = "pool"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        pool, equals, number = value.partition("=")
        if not equals or not number.strip().isdecimal():
            self.fail(f"{value!r:.80} is not POOL=N, as in gpu=1", param, ctx)
        return pool.strip(), int(number)


class PoolVariable(ParamType):
    """A variable of one pool: POOL:NAME=VALUE, as (pool, name, value)."""

    name = "variable"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        name, equals, content = value.partition("=")
        pool, colon, name = name.partition(":")
        if not equals or not colon:
            # What stands behind "=" may be a secret.
            self.fail(f"{pool!r:.80} is not POOL:NAME=VALUE, as in gpu:CUDA_VISIBLE_DEVICES=0", param, ctx)
        return pool, name, content


POOL_VALUE: Final = PoolValue()
POOL_VARIABLE: Final = PoolVariable()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


JSON: Final = JsonType()


class StateType(Choice):
    """A state by its name; `-` is accepted for `_`."""

    def __init__(self) -> None:
        super().__init__([str(state) for state in State], case_sensitive=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(str(value).replace("-", "_"), param, ctx)


STATE: Final = StateType()


class TaskIdType(ParamType):
    """A task's id or a prefix of one, which lookup.py turns into a task."""

    name = "id"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from ...storage.reader import Reader
        from .session import Session

        session = ctx.find_object(Session) or Session()
        with Reader(session.home.path) as reader:
            ids = reader.resolve(incomplete, COMPLETIONS) if incomplete else None
            records = (
                reader.records(limit=COMPLETIONS)
                if ids is None
                else [r for id in ids if (r := reader.record(id))]
            )
        return [
            CompletionItem(id_text(record.id), help=f"{record.name} {record.state}") for record in records
        ]


TASK_ID: Final = TaskIdType()


class ActorRefType(ParamType):
    """An actor as "Class/name" or by its id, which lookup.py turns into an actor."""

    name = "ref"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from ...storage.reader import Reader
        from . import lookup
        from .session import Session

        session = ctx.find_object(Session) or Session()
        class_name, slash, name = incomplete.partition("/")
        with Reader(session.home.path) as reader:
            classes = (
                lookup.actor_classes(reader, class_name)
                if slash
                else [each for each in reader.actor_classes() if class_name in each]
            )
            found = reader.actors(classes, prefix=name, limit=COMPLETIONS) if classes else []
        said = [
            f"{each.class_name if ':' in class_name else each.class_name.partition(':')[2]}/{each.name}"
            for each in found
            if each.name
        ]
        return [CompletionItem(each) for each in said if each.startswith(incomplete)]


ACTOR: Final = ActorRefType()


class MethodType(ParamType):
    """The name of a public method, or several names with dots between them."""

    name = "method"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not all(part.isidentifier() and part[0] != "_" for part in str(value).split(".")):
            self.fail(f"{value!r:.80} is no public method; write its name, such as deposit", param, ctx)
        return value


METHOD: Final = MethodType()


class KeywordType(ParamType):
    """A keyword argument, NAME=JSON."""

    name = "name=json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        name, equals, text = value.partition("=")
        if not equals or not name.isidentifier():
            self.fail(f"{value!r:.80} is no keyword argument; write NAME=JSON, such as limit=3", param, ctx)
        return name, JSON.convert(text, param, ctx)


KEYWORD: Final = KeywordType()


class MetadataType(ParamType):
    """An entry of metadata, KEY=VALUE."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        key, equals, text = value.partition("=")
        if not key or not equals:
            self.fail(f"{value!r:.80} is no entry of metadata; write KEY=VALUE", param, ctx)
        return key, text


def limit_option(what: str, default: int = 50) -> Callable[[F], F]:
    """The option `--limit` of a list; 0 stands for all."""
    return click.option(
        "-n",
        "--limit",
        type=click.IntRange(min=0),
        default=default,
        show_default=True,
        metavar="N",
        help=f"Show at most N {what}; 0 for all.",
    )


def quiet_option(what: str = "ids") -> Callable[[F], F]:
    """The option `--quiet` of a list; see `check_quiet`."""
    return click.option("-q", "--quiet", is_flag=True, help=f"Print the {what} only, one on each line.")


def check_quiet(quiet: bool, as_json: bool, what: str = "ids") -> None:
    """UsageError for a list that is to be printed in two ways."""
    if quiet and as_json:
        raise click.UsageError(f"--quiet prints {what}; it does not go with --json")


def metadata_option(help: str) -> Callable[[F], F]:
    """The option `--meta`, a mapping; None if it is not given."""

    def gather(ctx: click.Context, param: click.Parameter, given: Any) -> dict[str, str] | None:
        entries: dict[str, str] = {}
        for key, text in given:
            if entries.setdefault(key, text) != text:
                raise click.BadParameter(f"{key!r} is given twice, with different values", ctx, param)
        return entries or None

    return click.option(
        "--meta",
        "metadata",
        type=MetadataType(),
        multiple=True,
        metavar="KEY=VALUE",
        callback=gather,
        help=help,
    )


def json_option(help: str = "Print JSON, for programs.") -> Callable[[F], F]:
    """The option `--json`."""
    return click.option("--json", "as_json", is_flag=True, help=help)


def where_options(help: str) -> Callable[[F], F]:
    """The options `--where`, `--dry-run`, `--yes`, `--expect` and `--no-wait`."""

    def add(function: F) -> F:
        for option in (
            click.option("--no-wait", is_flag=True, help="Do not wait for the end; see `understudy bulk`."),
            click.option(
                "--expect",
                type=click.IntRange(min=0),
                metavar="N",
                help="Do not ask, and do nothing unless there are N tasks.",
            ),
            click.option("-y", "--yes", is_flag=True, help="Do not ask."),
            click.option(
                "--dry-run", is_flag=True, help="Only tell how many tasks there are, and show some."
            ),
            click.option("--where", metavar="QUERY", help=f"{help} The queries are those of ps."),
        ):
            function = option(function)
        return function

    return add


def check_where(ids: Sequence[str], where: str | None, **options: Any) -> None:
    """UsageError unless there are either ids or a query. `options` are those of `where_options`."""
    if where is None and not ids:
        raise click.UsageError("give the ID of a task, or --where QUERY")
    if where is not None and ids:
        raise click.UsageError("give either IDs or --where, not both")
    if where is None and any(given is not None and given is not False for given in options.values()):
        raise click.UsageError("--dry-run, --yes, --expect and --no-wait go with --where")


def id_argument(name: str = "id", **attrs: Any) -> Callable[[F], F]:
    """The argument `ID`."""
    return click.argument(name, type=TASK_ID, metavar=attrs.pop("metavar", "ID"), **attrs)
