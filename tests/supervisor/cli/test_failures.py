from __future__ import annotations

import pytest

from understudy.actors import errors
from understudy.supervisor.cli.exit_codes import ExitCode
from understudy.supervisor.cli.failures import CliError, code_of, text_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CliError(ExitCode.AMBIGUOUS, "x"), ExitCode.AMBIGUOUS),
        (errors.NotRunning("x"), ExitCode.NOT_RUNNING),
        (errors.SupervisorLost("x"), ExitCode.SUPERVISOR_LOST),
        (errors.Poisoned("x"), ExitCode.TASK_FAILED),
        (errors.TaskTimedOut("x"), ExitCode.TASK_TIMED_OUT),
        (errors.TaskCancelled("x"), ExitCode.TASK_CANCELLED),
        (errors.UnknownTask("x"), ExitCode.NOT_FOUND),
        (errors.MailboxClosed("x"), ExitCode.ENDED),
        (errors.MailboxFull("x"), ExitCode.MAILBOX_FULL),
        (errors.UnencodableValue("x"), ExitCode.USAGE),
        (errors.HomeInUse("x"), ExitCode.HOME_IN_USE),
        (errors.HomeError("x"), ExitCode.HOME_UNUSABLE),
        (errors.StoreCorrupt("x"), ExitCode.STORE_FAILED),
        (errors.AppFailed("x"), ExitCode.APP_FAILED),
        (TimeoutError("x"), ExitCode.WAIT_TIMED_OUT),
        (errors.RemoteError("x"), ExitCode.TASK_FAILED),
        (errors.ActivationFailed("x"), ExitCode.TASK_FAILED),
        (errors.ActorDeadError("x"), ExitCode.ENDED),
        (errors.AskTimeout("x"), ExitCode.WAIT_TIMED_OUT),
        (errors.LimitNotFound("x"), ExitCode.NOT_FOUND),
        (errors.StackUnavailable("x", state="cancelled"), ExitCode.ENDED),
        (errors.StackUnavailable("x", state="queued"), ExitCode.FAILED),
        (errors.UnderstudyError("x"), ExitCode.FAILED),
        (RuntimeError("x"), ExitCode.FAILED),
    ],
)
def test_each_error_has_its_code(error: Exception, code: ExitCode):
    assert code_of(error) is code


#: Errors that no command raises: they belong to code of tasks, or to programs.
NOT_OF_COMMANDS = {
    *("NotInTask", "NestedStep", "StepsFull", "NotInline", "Stalled", "NoRuntime", "Deadlock", "ReadOnly"),
    *("TriggerChanged", "Fail", "BadRequest", "RetryLater", "WebSocketError", "WebSocketRefused"),
    *("WebSocketClosed", "BoxError", "BoxFailed", "BoxTimedOut", "BoxRefused", "ImageAbsent", "EngineAbsent"),
    *("EngineError", "Interrupted", "Cancelled", "TaskEnded", "UnderstudyError"),
}
#: Errors that have no code of their own.
WITHOUT_CODE = {"StackUnavailable", "EventCycle", "AddressUnusable", "ProtocolError"}


def test_every_error_has_a_code_or_a_reason():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    raised = [
        kind for kind in kinds if issubclass(kind, BaseException) and kind.__module__ == errors.__name__
    ]
    without = {kind.__name__ for kind in raised if code_of(kind(1)) is ExitCode.FAILED}
    assert without == NOT_OF_COMMANDS | WITHOUT_CODE


def test_an_error_is_one_escaped_line():
    assert text_of(errors.NotRunning("no\x1b[2J one")) == "Error: no\\x1b[2J one"
    assert text_of(OSError(28, "No space left")) == "Error: [Errno 28] No space left"


def test_the_apps_traceback_stands_before_its_error():
    text = text_of(errors.AppFailed("it broke", "Traceback\n  \x1b[31m\n"))
    assert text == "Traceback\n  \\x1b[31m\nError: it broke"


def test_a_remote_traceback_stands_before_its_error():
    error = errors.RemoteError("E: x", errors.ErrorInfo("E", "x\n\x1b[31m", "Traceback\n  \x1b[31m\n"))
    assert text_of(error) == "Traceback\n  \\x1b[31m\nError: E: x\\n\\x1b[31m"


def test_a_defect_of_ours_says_so():
    assert "--debug" in text_of(KeyError("x"))
