"""Refused requests and errors, as answers of problem+json (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response

from ...actors import errors
from ...actors.errors import ErrorInfo
from ..text import value_json

#: The status of each error; the first class that matches counts. 4xx: what the request asks of a task or actor cannot
#: be done. 5xx: this server cannot do it now.
STATUSES: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (errors.ValueTooLarge, 413),
    (errors.InvalidTask, 400),
    (errors.InvalidOption, 400),
    (errors.InvalidQuery, 400),
    (errors.InvalidValue, 400),
    (errors.UnknownTask, 404),
    (errors.UnknownPool, 503),
    (errors.TaskNotFound, 404),
    (errors.EventNotFound, 404),
    (errors.ScheduleNotFound, 404),
    (errors.TreeNotFound, 404),
    (errors.LimitNotFound, 404),
    (errors.BulkNotFound, 404),
    (errors.MailboxFull, 429),
    (errors.MailboxClosed, 409),
    (errors.TaskEnded, 409),
    (errors.StackUnavailable, 409),
    (errors.NotUnique, 409),
    (errors.ActorDeadError, 409),
    (errors.RemoteError, 409),
    (errors.ActivationFailed, 409),
    (errors.Deadlock, 409),
    (errors.EventCycle, 409),
    (errors.AskTimeout, 504),
    (errors.StoreFull, 507),
    (errors.StoreForeign, 500),
    (errors.StoreVersion, 500),
    (errors.StoreCorrupt, 500),
    (errors.StoreError, 503),
    (errors.HomeError, 503),
    (errors.NotRunning, 503),
    (errors.SupervisorLost, 503),
    (errors.AppFailed, 503),
    (errors.TriggerChanged, 503),
    (TimeoutError, 503),
)
#: Statuses after which the same request may succeed a little later.
SOON: Final = frozenset({429, 503, 504})


class Refused(Exception):
    """The request is refused with this status and message."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})

    @property
    def response(self) -> Response:
        """The answer."""
        return problem(self.status, self.message, headers=self.headers)


def status_of(error: BaseException) -> int:
    """The status of an error; 500 for one that no request should meet."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """An answer that says what is wrong; `more` are members of its own."""
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    # The texts may quote the request, also what UTF-8 cannot write.
    return Response(value_json.dumps(body), status, headers, "application/problem+json")


def problem_of(error: BaseException) -> Response:
    """The answer for an error: with its name, and with its data if it has any."""
    status = status_of(error)
    # That of AppFailed would append its traceback, which is among the data.
    detail = str(error.args[0]) if error.args else str(error)
    data = _data(error)
    more: dict[str, Any] = {"error": type(error).__name__}
    if data:
        more["data"] = data
    return problem(status, detail, headers={"Retry-After": "1"} if status in SOON else None, **more)


def _data(error: BaseException) -> dict[str, Any]:
    return {
        name: asdict(value) if isinstance(value, ErrorInfo) else value
        for name, value in vars(error).items()
        if not name.startswith("_")
    }
