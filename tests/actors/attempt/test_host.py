from __future__ import annotations

from typing import Any

import pytest

from understudy.actors.attempt import host
from understudy.actors.attempt.host import (
    MESSAGE_LIMIT,
    TRACEBACK_LIMIT,
    Assignment,
    Ending,
    Outcome,
    describe,
    error_outcome,
)
from understudy.actors.errors import (
    BoxError,
    BoxFailed,
    BoxRefused,
    BoxTimedOut,
    EngineAbsent,
    Fail,
    RetryLater,
    UnencodableValue,
    ValueTooLarge,
)
from understudy.actors.ids import new_id
from understudy.actors.task.retry import Retry
from understudy.supervisor.rules.report_checks import check_done
from understudy.supervisor.wire.codec import Decoder, encode


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - any
        return caught


class BrokenStr(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class ExitingStr(Exception):
    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(("kind", "why"), [(BrokenStr, "RuntimeError"), (ExitingStr, "SystemExit")])
def test_an_error_that_cannot_be_printed(kind: type[Exception], why: str) -> None:
    name, message, traceback, [lineage] = describe(raised(kind()))
    assert name == kind.__name__
    assert message == f"<str() of the error raised {why}>"
    assert traceback
    assert lineage[0] == f"{__name__}:{kind.__name__}"


def test_text_that_cannot_be_stored_is_made_so() -> None:
    _, message, traceback, _ = describe(raised(ValueError("\ud800" + "x" * 3 * MESSAGE_LIMIT + "the end")))
    assert len(message) <= MESSAGE_LIMIT + 10
    assert message.startswith("\\ud800xxx")
    assert message.endswith("the end")
    assert "\n…\n" in message
    assert len(traceback) <= TRACEBACK_LIMIT + 10
    traceback.encode()


def deep(levels: int) -> None:
    if levels == 0:
        raise ValueError("deep down")
    other(levels - 1)


def other(levels: int) -> None:
    deep(levels)


def test_a_long_traceback_keeps_both_ends() -> None:
    try:
        deep(450)
    except ValueError as error:
        text = describe(error)[2]
    assert len(text) <= TRACEBACK_LIMIT + 10
    assert text.startswith("Traceback (most recent call last)")
    assert text.endswith("ValueError: deep down\n")


def test_own_frames_are_left_out_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    scope: dict[str, Any] = {}
    exec(compile("def ours(call):\n    return call()\n", f"{host._OWN_CODE}actor.py", "exec"), scope)
    beside = host._OWN_CODE.rstrip("/") + "_of_mine/play.py"
    exec(compile("def theirs(call):\n    return call()\n", beside, "exec"), scope)
    ours, theirs = scope["ours"], scope["theirs"]

    def fail() -> None:
        try:
            ours(lambda: ours(lambda: theirs(lambda: 1 / 0)))
        except ZeroDivisionError as error:
            raise ExceptionGroup("all", [raised_within(ours), error]) from error

    text = describe(raised_by(lambda: ours(fail)))[2]
    assert f'{host._OWN_CODE}actor.py"' not in text
    assert beside in text
    assert text.count("ZeroDivisionError") >= 2
    assert "in fail" in text
    assert "in users_part" in text


def raised_within(ours: Any) -> Exception:
    def users_part() -> None:
        raise KeyError("x")

    return raised_by(lambda: ours(users_part))


def raised_by(call: Any) -> Exception:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - any
        return error
    raise AssertionError("nothing was raised")


def test_an_error_with_our_frames_only_keeps_them() -> None:
    scope: dict[str, Any] = {}
    exec(
        compile(
            "def ours():\n    try:\n        1 / 0\n    except Exception as e:\n        return e\n",
            f"{host._OWN_CODE}actor.py",
            "exec",
        ),
        scope,
    )
    assert "in ours" in describe(scope["ours"]())[2]


@pytest.mark.parametrize(
    ("error", "ending", "delay"),
    [
        (ValueError("x"), Ending.ERROR, None),
        (Fail("x"), Ending.FAIL, None),
        (RetryLater(3, "x"), Ending.RETRY_LATER, 3),
        (RetryLater(), Ending.RETRY_LATER, None),
    ],
)
def test_what_an_error_means(error: Exception, ending: Ending, delay: Any) -> None:
    outcome = error_outcome(error)
    assert (outcome.ending, outcome.delay, outcome.value) == (ending, delay, None)
    assert outcome.error == describe(error)


def test_notes_and_causes_are_told() -> None:
    error = raised(ValueError("no"))
    error.add_note("look at line 7")
    error.__cause__ = raised(KeyError("x"))
    text = describe(error)[2]
    assert "look at line 7" in text
    assert "KeyError: 'x'\n\nThe above exception was the direct cause" in text


def test_the_shapes_the_rooms_agree_on() -> None:
    assert Outcome(Ending.VALUE) == (0, None, None, None)
    assert [ending.value for ending in Ending] == list(range(9))
    assert Assignment._fields == (
        "id", "task", "attempt", "args", "stream", "origin", "ack", "timeout", "has_checkpoint", "interruptions",
        "capture_output", "turn", "kind", "trigger", "tree", "trace", "steps",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        (BoxFailed, Ending.ERROR),
        (EngineAbsent, Ending.ERROR),
        (BoxTimedOut, Ending.TIMED_OUT),
        (BoxRefused, Ending.FAIL),
    ],
)
def test_what_is_known_of_a_container_goes_along(kind: type[BoxError], ending: Ending) -> None:
    outcome = error_outcome(raised(kind("it broke", {"exit_code": 3})))
    assert outcome.ending is ending
    assert outcome.error is not None
    assert outcome.error[:2] == (kind.__name__, "it broke")
    assert outcome.error[4:] == ({"exit_code": 3},)


class Bare(RetryLater):
    def __init__(self) -> None: ...  # no super().__init__()


class BareBox(BoxError):
    def __init__(self) -> None: ...  # as above


@pytest.mark.parametrize("kind", [Bare, BareBox])
def test_a_subclass_without_its_data(kind: type[BaseException]) -> None:
    outcome = error_outcome(raised(kind()))
    assert outcome.error is not None
    assert outcome.error[0] == kind.__name__
    assert outcome.delay is None


@pytest.mark.parametrize(
    "details",
    [
        {"x": object(), 7: "seven", "big": 1 << 70, "broken": BrokenStr()},
        {"deep": {"a": {"b": [1]}}, "list": [1, object()]},
        {str(n): n for n in range(5_000)},
        {"half": "\ud800", "long": "x" * 1_000_000, "many": dict.fromkeys(range(5_000), "x")},
        ["no map"],
    ],
    ids=["objects", "nested", "many", "texts", "list"],
)
def test_details_that_cannot_be_sent_are_made_so(details: Any) -> None:
    outcome = error_outcome(raised(BoxFailed("no", details)))
    row = (new_id(), int(outcome.ending), None, outcome.error, None, 0, 0.0, 0.0)
    (frame,) = Decoder(1 << 20).feed(encode((1, [row])))
    check_done(frame[1])


def test_a_class_whose_name_has_no_utf8_form() -> None:
    kind = type("Half", (Exception,), {"__module__": "\ud801", "__qualname__": "Half\ud800"})
    name, _, _, names = describe(raised(kind()))
    assert (name, names[0][0]) == ("Half\\ud800", "\\ud801:Half\\ud800")


@pytest.mark.parametrize(
    ("error", "details"),
    [
        (UnencodableValue("no", "result[0]"), {"path": "result[0]"}),
        (ValueTooLarge("no", 7, 5), {"size": 7, "limit": 5}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_cannot_be_kept_is_not_tried_again(error: Exception, details: Any) -> None:
    outcome = error_outcome(raised(error))
    assert outcome.ending is Ending.FAIL
    assert outcome.error is not None
    assert outcome.error[4:] == (details,)


def test_what_a_group_of_errors_says_to_the_runtime() -> None:
    def ending_of(*errors: Exception) -> Ending:
        return error_outcome(ExceptionGroup("g", errors or [ValueError()])).ending

    assert ending_of() is Ending.ERROR
    assert ending_of(ValueError(), ExceptionGroup("h", [Fail("no")])) is Ending.FAIL
    assert ending_of(RetryLater(3), ValueError()) is Ending.ERROR
    assert ending_of(RetryLater(3), Fail("no")) is Ending.FAIL
    later = error_outcome(ExceptionGroup("g", [RetryLater(3), RetryLater(9), RetryLater()]))
    assert (later.ending, later.delay) == (Ending.RETRY_LATER, 9)
    assert error_outcome(ExceptionGroup("g", [RetryLater()])).delay is None


def test_the_functions_of_a_policy_are_asked_where_the_error_is() -> None:
    policy = Retry(1, on=lambda error: error.args == ("again",))
    for text, wanted in (("again", True), ("never", False)):
        outcome = error_outcome(ValueError(text), policy)
        assert outcome.error is not None
        assert Retry.unpack(policy.pack()).wants(outcome.error[3]) is wanted
