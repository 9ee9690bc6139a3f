"""`Reloader`, of `serve --reload`: the supervisor is a child process, which new code replaces."""

from __future__ import annotations

import ast
import logging
import os
import signal
import sys
import threading
import time
import warnings
from contextlib import suppress
from typing import Any, Final

from ..linux.processes import die_with_parent, ends_within, flush_output
from ..text import escape
from .exit_codes import ExitCode
from .source_files import SourceFiles

log = logging.getLogger("understudy")

#: Signals that the child gets when this process gets them.
PASSED_ON: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Changed files that a message names.
NAMED: Final = 3


class Reloader:
    """Starts the supervisor, and when the app's files change, drains it and starts it again.

    A drain loses nothing: unfinished tasks are queued again and continue with the new code. A file with a syntax error
    is told, and the supervisor goes on with the old code. If the new code cannot be imported, the next change is
    awaited.
    """

    def __init__(self, files: SourceFiles) -> None:
        self._files = files
        #: Changed files that no child has loaded, and those of them that were told to be broken.
        self._pending: set[str] = set()
        self._told: set[tuple[str, str]] = set()
        self._child = 0
        self._stop = threading.Event()
        #: Whether the child has got the signal. A second one would end its drain.
        self._passed_on = False

    def run(self) -> int | None:
        """Returns None in each child, which is to serve, and the exit code in the parent."""
        # What is ignored stays so: nohup ignores SIGHUP.
        heeded = [number for number in PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
        former = {number: signal.signal(number, self._pass_on) for number in heeded}
        while not self._stop.is_set():
            self._pending.clear()
            parent = os.getpid()
            flush_output()
            self._child = os.fork()
            if not self._child:
                _become_child(parent, former)
                return ExitCode.OK if self._stop.is_set() else None
            if self._stop.is_set() and not self._passed_on:
                self._pass_on(signal.SIGTERM, None)  # the signal came before the child was known
            code, replaced = self._mind()
            if self._stop.is_set() or code not in (ExitCode.OK, ExitCode.APP_FAILED):
                return code
            if replaced:
                continue
            if code == ExitCode.OK:
                return code  # `understudy stop`
            log.error("waiting for a change of the app's files")
            while not self._stop.is_set() and not self._is_due():
                time.sleep(self._files.pause)
        return ExitCode.OK

    def _mind(self) -> tuple[int, bool]:
        """Wait for the child's end: its exit code, and whether it was asked to end because of new code."""
        replaced = False
        end = os.pidfd_open(self._child)
        try:
            while not ends_within(end, self._files.pause):
                if not replaced and self._is_due():
                    replaced = True
                    log.info("reloading: changed %s", _names(self._pending))
                    os.kill(self._child, signal.SIGTERM)
        finally:
            os.close(end)
        _, status = os.waitpid(self._child, 0)
        self._child = 0
        code = os.waitstatus_to_exitcode(status)
        return (code if code >= 0 else 128 - code), replaced

    def _is_due(self) -> bool:
        """Whether files have changed, all changes are complete and all changed files can be parsed."""
        fresh = self._files.changed()
        self._pending |= fresh
        # A checkout or an editor writes for a while: a look without a change is awaited.
        return not fresh and bool(self._pending) and all(map(self._parses, sorted(self._pending)))

    def _parses(self, path: str) -> bool:
        try:
            with open(path, "rb") as file, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.parse(file.read(), path)
        except OSError:
            return True  # removed
        except (SyntaxError, ValueError) as error:
            told = (path, str(error))
            if told not in self._told:
                self._told.add(told)
                line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
                why = escape.one_line(error)
                log.error("not reloaded: %s%s: %s", escape.one_line(path), line, why)  # noqa: TRY400 - no defect of ours
            return False
        return True

    def _pass_on(self, number: int, _frame: Any) -> None:
        self._stop.set()
        if self._child:
            self._passed_on = True
            with suppress(ProcessLookupError):
                os.kill(self._child, number)


def _become_child(parent: int, former: dict[signal.Signals, Any]) -> None:
    die_with_parent(parent, signal.SIGTERM)
    # Ctrl-C in a terminal is for the parent, which passes it on.
    os.setpgid(0, 0)
    for number, handler in former.items():
        signal.signal(number, handler)
    # Python tells new code from compiled code by the second of its file's time. Changes may come faster.
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.dont_write_bytecode = True


def _names(paths: set[str]) -> str:
    shown = sorted(escape.one_line(os.path.relpath(path)) for path in paths)
    more = len(shown) - NAMED
    return ", ".join([*shown[:NAMED], *([f"{more} more"] if more > 0 else [])])
