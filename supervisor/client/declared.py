"""The declared parameters of a task that is known by its name alone."""

from __future__ import annotations

import inspect

from ...actors.task import parameters
from ..wire.messages import Ask
from .deadline import Deadline
from .runtime import Runtime


def parameters_of(runtime: Runtime, task: str, timeout: float) -> inspect.Signature | None:
    """The parameters, without annotations and with `…` for each default; None if they are not known.

    It asks the supervisor. Raises UnknownTask, and what every call raises that waits for a supervisor.
    """
    deadline = Deadline(timeout)
    rows = runtime._do(runtime._client.ask(deadline, Ask.PARAMETERS, task), deadline)
    return None if rows is None else parameters.unpack(rows)
