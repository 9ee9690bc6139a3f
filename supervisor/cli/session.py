"""What one call of the command line works with: the home, the way to its store and to its supervisor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ...actors.errors import NotRunning
from ...storage.reader import Reader
from ..home import HOME_VARIABLE, Home
from .exit_codes import ExitCode
from .failures import CliError

if TYPE_CHECKING:
    from ..client.runtime import Runtime


@dataclass
class Session:
    """Made once, filled by the options that every command takes."""

    home_path: str | None = None
    debug: bool = False

    @property
    def home(self) -> Home:
        return Home(self.home_path)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """The home's store, with or without a supervisor; Trouble if there is no such home."""
        home = self.home
        if not home.path.is_dir():
            raise CliError(
                ExitCode.HOME_UNUSABLE,
                f"there is no home {home.path}; name another with --home or ${HOME_VARIABLE}, "
                "or make this one by starting a supervisor: understudy serve APP",
            )
        with Reader(home.path) as reader:
            yield reader

    @contextmanager
    def runtime(self) -> Iterator[Runtime]:
        """The supervisor that serves the home; NotRunning."""
        from ..client.runtime import Runtime  # a tenth of a second, which readers need not pay

        try:
            runtime = Runtime.connect(self.home.path)
        except NotRunning:
            if pid := self.home.served():
                raise CliError(
                    ExitCode.NOT_RUNNING,
                    f"the supervisor of {self.home.path} (pid {pid}) is starting or stopping and takes no calls; "
                    "try again in a moment",
                ) from None
            raise
        try:
            yield runtime
        finally:
            runtime.close()


def current() -> Session:
    """The session of the command under way."""
    session = click.get_current_context().find_object(Session)
    assert session is not None
    return session
