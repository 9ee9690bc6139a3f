"""The answer for each error keeps its name and its data."""

from __future__ import annotations

import json

import pytest

from understudy.actors import errors
from understudy.actors.errors import ErrorInfo, UnderstudyError
from understudy.supervisor.web.problems import STATUSES, problem, problem_of, status_of

#: Errors that no request meets: 500 if one does.
NEVER = {
    "UnderstudyError", "NotInTask", "NotInline", "Stalled", "NoRuntime", "ReadOnly", "Fail", "BadRequest", "RetryLater",
    "AddressUnusable", "ProtocolError", "WebSocketError", "WebSocketRefused", "WebSocketClosed", "BoxError",
    "BoxFailed", "BoxTimedOut", "BoxRefused", "ImageAbsent", "EngineAbsent", "EngineError", "StoreForeign",
    "StoreVersion", "StoreCorrupt", "NestedStep", "StepsFull",
}  # fmt: skip
ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, UnderstudyError)]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_has_a_status(kind: type[UnderstudyError]):
    assert (status_of(kind.__new__(kind)) == 500) == (kind.__name__ in NEVER)


def test_no_status_is_hidden_by_one_before():
    for place, (kind, _) in enumerate(STATUSES):
        assert not any(issubclass(kind, before) for before, _ in STATUSES[:place]), kind


def test_an_answer_has_the_name_and_the_data():
    error = errors.TaskFailed("task 7 failed", "7", ErrorInfo("ValueError", "bad", "Traceback"))
    answer = problem_of(error)
    assert (answer.status_code, answer.media_type) == (409, "application/problem+json")
    assert json.loads(answer.body) == {
        "title": "Conflict",
        "status": 409,
        "detail": "task 7 failed",
        "error": "TaskFailed",
        "data": {
            "id": "7",
            "error": {"type": "ValueError", "message": "bad", "traceback": "Traceback", "details": {}},
        },
    }


def test_a_failed_app_has_its_traceback_once():
    told = json.loads(problem_of(errors.AppFailed("it cannot be loaded", "Traceback")).body)
    assert (told["detail"], told["data"]) == ("it cannot be loaded", {"remote_traceback": "Traceback"})


def test_what_utf_8_cannot_write_is_told():
    assert json.loads(problem(400, "no \ud800 and \x00").body)["detail"] == "no \ud800 and \x00"


def test_when_to_come_again():
    assert problem_of(errors.MailboxFull("full", "7")).headers["retry-after"] == "1"
    assert "retry-after" not in problem_of(errors.TaskNotFound("none", "7")).headers
