"""`Command`, a command with the common options, and `LazyGroup`, which imports a command when it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

import click

from ..home import DEFAULT_HOME, HOME_VARIABLE
from .session import Session


def _take_home(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    session = ctx.find_object(Session)
    if session is not None and value is not None:
        session.home_path = value


def _take_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    session = ctx.find_object(Session)
    if session is not None:
        session.debug = session.debug or value


def common_options() -> list[click.Option]:
    """`--home` and `--debug`: accepted before the command as well as after it."""
    return [
        click.Option(
            ["--home"],
            metavar="PATH",
            type=click.Path(),
            expose_value=False,
            is_eager=True,  # so that completion of other parameters reads the right home
            callback=_take_home,
            help=f"The home folder.  [default: ${HOME_VARIABLE}, else {DEFAULT_HOME} in the working directory]",
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=_take_debug,
            help="Show the traceback of an error.",
        ),
    ]


class Command(click.Command):
    """A command that has the common options after its own."""

    def __init__(self, *args: Any, **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.params = [*self.params, *common_options()]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse long options that do not exist, also where `-5` is a number and not an option."""
        if ctx.ignore_unknown_options:
            self._check_options(ctx, args)
        return super().parse_args(ctx, args)

    def _check_options(self, ctx: click.Context, args: Iterable[str]) -> None:
        options = {text: each for each in self.get_params(ctx) for text in each.opts if text.startswith("--")}
        # What follows the image may be options of a container's command.
        is_foreign = any(each.type is click.UNPROCESSED for each in self.params)
        words = iter(args)
        for word in words:
            if word == "--" or (is_foreign and not word.startswith("-")):
                return
            name, equals, _ = word.partition("=")
            option = options.get(name)
            if option is None and word.startswith("--"):
                from difflib import get_close_matches

                raise click.NoSuchOption(name, possibilities=get_close_matches(name, options), ctx=ctx)
            if isinstance(option, click.Option) and not option.is_flag and not equals:
                next(words, None)  # its value


def command(name: str, **attrs: Any) -> Callable[[Callable[..., Any]], Command]:
    """Declare a command."""
    return click.command(name, cls=Command, **attrs)


class LazyGroup(click.Group):
    """A group that imports a command's module when it is used, so that `ps` does not load `serve`."""

    def __init__(
        self, *args: Any, homes: Mapping[str, str], prefix: str = "", default: str | None = None, **attrs: Any
    ) -> None:
        """`homes`: each command's module in this package. Its function is named prefix + command.

        `default`: the command that is meant by a single word that names no command.
        """
        super().__init__(*args, **attrs)
        self.params = [*self.params, *common_options()]
        self._homes = homes
        self._prefix = prefix
        self._default = default

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names in the order of their declaration."""
        return list(self._homes)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = self._homes.get(cmd_name)
        if module is None:
            return None
        found = getattr(import_module(f"{__package__}.{module}"), self._prefix + cmd_name)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            is_single = not args[1:] or args[1].startswith("-")
            if self._default is not None and is_single:
                return super().resolve_command(ctx, [self._default, *args])
            from difflib import get_close_matches

            if close := get_close_matches(args[0], self._homes, n=1):
                raise click.UsageError(f"{error.message} Did you mean {close[0]!r}?", ctx) from error
            raise
