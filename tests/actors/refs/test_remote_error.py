"""Replies, and errors that come from elsewhere: of their own class where it is imported, RemoteError in any case."""

from __future__ import annotations

import copy
import pickle
import traceback
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors import values
from understudy.actors.attempt.host import describe
from understudy.actors.errors import ErrorInfo, InvalidValue, RemoteError, ValueTooLarge
from understudy.actors.refs.remote_error import details_of, pack_error, pack_value, unpack_reply


class Overdrawn(Exception):
    """Takes something else than it passes on."""

    def __init__(self, owner: str, missing: int) -> None:
        super().__init__(f"{owner} lacks {missing}")
        self.missing = missing

    class Deeply(Exception):
        pass


class Stubborn(ValueError):
    """Its code must not run where it arrives."""

    def __new__(cls, *args: Any) -> Any:
        if args != ("here",):
            pytest.fail("__new__ was called with what has arrived")
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        if args != ("here",):
            pytest.fail("__init__ was called with what has arrived")
        super().__init__("stubborn")

    def __str__(self) -> str:
        return "as it was" if type(self) is Stubborn else pytest.fail("__str__ of what has arrived")


class Shadowing(Exception):
    @property
    def error(self) -> str:
        return "its own"

    traceback = "its own"


def arrived(error: BaseException) -> RemoteError:
    """The error as it is raised where the reply arrives."""
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001
        reply = pack_error((*describe(raised), details_of(raised)))
    with pytest.raises(RemoteError) as caught:
        unpack_reply(reply)
    return caught.value


@pytest.mark.parametrize("value", [None, 5, [1, {"a": b"b"}], ""])
def test_a_value_arrives(value: Any) -> None:
    assert unpack_reply(pack_value(None if value is None else values.pack(value))) == value


def test_an_error_arrives_as_both_classes() -> None:
    error = arrived(Overdrawn("ada", 5))
    assert isinstance(error, Overdrawn)
    assert isinstance(error, RemoteError)
    assert (str(error), error.args, error.missing) == ("ada lacks 5", ("ada lacks 5",), 5)
    assert (error.error.type, error.error.message) == ("Overdrawn", "ada lacks 5")
    assert "raise error" in error.traceback
    assert type(error).__qualname__ == "Overdrawn"


def test_its_traceback_is_shown_where_it_is_not_caught() -> None:
    assert "raise error" in "".join(traceback.format_exception(arrived(Overdrawn("ada", 5))))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad"),
        KeyError("key"),
        ZeroDivisionError(),
        ValueTooLarge("large", 5, 3),
        Overdrawn.Deeply("deep"),
        TimeoutError("late"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_all_kinds(error: Exception) -> None:
    there = arrived(error)
    assert isinstance(there, type(error))
    assert (str(there), there.args) == (str(error), error.args or (str(error),))
    data = {name: value for name, value in vars(there).items() if name != "error"}
    assert data == vars(error)


def test_pythons_own_errors_have_their_data() -> None:
    missing = arrived(FileNotFoundError(2, "No such file", "x.txt"))
    assert isinstance(missing, FileNotFoundError)
    assert (missing.errno, missing.strerror, str(missing)) == (
        2,
        "No such file",
        "[Errno 2] No such file: 'x.txt'",
    )
    wrong = arrived(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"))
    assert isinstance(wrong, UnicodeDecodeError)
    assert (wrong.start, wrong.reason) == (0, "bad")


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_it_can_be_pickled_and_copied(again: Any) -> None:
    error = arrived(Overdrawn("ada", 5))
    same = again(error)
    assert type(same) is type(error)
    assert (str(same), same.args, same.missing, same.error) == (str(error), error.args, 5, error.error)
    plain = again(RemoteError("x", ErrorInfo("A", "b", "c")))
    assert (type(plain), str(plain), plain.error, plain.traceback) == (
        RemoteError,
        "x",
        ErrorInfo("A", "b", "c"),
        "c",
    )


def test_it_passes_through_several_actors() -> None:
    error = arrived(arrived(Overdrawn("ada", 5)))
    assert isinstance(error, Overdrawn)
    assert (str(error), error.missing) == ("ada lacks 5", 5)


def test_no_code_of_its_class_runs() -> None:
    error = arrived(Stubborn("here"))
    assert isinstance(error, Stubborn)
    assert str(error) == "as it was"


def test_a_class_that_is_not_imported_here_is_left_out() -> None:
    for name in (
        "no.such.module:Error",
        f"{__name__}:Gone",
        f"{__name__}:test_no_code_of_its_class_runs.<locals>.E",
    ):
        fields = ("Error", "bad", "", [], {"class": name})
        with pytest.raises(RemoteError, match=r"^Error: bad$") as caught:
            unpack_reply(pack_error(fields))
        assert type(caught.value) is RemoteError


@pytest.mark.parametrize(
    "name", ["builtins:SystemExit", "builtins:int", f"{__name__}:arrived", "os:system", ":", "", 3]
)
def test_only_exceptions_are_raised(name: Any) -> None:
    with pytest.raises(RemoteError) as caught:
        unpack_reply(pack_error(("Error", "bad", "", [], {"class": name})))
    assert type(caught.value) is RemoteError


@pytest.mark.parametrize(
    "error", [SystemExit(3), ExceptionGroup("two", [ValueError(), KeyError()])], ids=repr
)
def test_what_cannot_be_made_is_told(error: BaseException) -> None:
    there = arrived(error)
    assert type(there) is RemoteError
    assert there.error.type == type(error).__qualname__


def test_errors_that_the_supervisor_finds_are_of_pythons_classes() -> None:
    with pytest.raises(TimeoutError, match=r"^longer than 3 s$") as caught:
        unpack_reply(pack_error(("TimeoutError", "longer than 3 s", "", [])))
    assert isinstance(caught.value, RemoteError)
    with pytest.raises(RemoteError, match=r"^WorkerDied: it died$"):
        unpack_reply(pack_error(("WorkerDied", "it died", "", [])))


def test_arguments_that_cannot_be_encoded_are_left_out() -> None:
    error = arrived(ValueError(object()))
    assert isinstance(error, ValueError)
    assert error.args == (str(error),)


def test_its_description_goes_before_attributes_of_the_same_name() -> None:
    error = arrived(Shadowing("x"))
    assert isinstance(error, Shadowing)
    assert error.error.type == "Shadowing"
    assert "raise error" in error.traceback


@given(
    st.binary(max_size=60)
    | st.builds(msgpack.packb, st.lists(st.integers(0, 2) | st.binary(max_size=9), max_size=3))
)
def test_any_bytes_are_a_reply_or_are_refused(data: bytes) -> None:
    try:
        unpack_reply(data)
    except (InvalidValue, RemoteError):
        pass


@pytest.mark.parametrize("fields", [None, [], ["a", "b"], ["a", "b", 3], "abc", {}])
def test_fields_that_describe_no_error_are_refused(fields: Any) -> None:
    with pytest.raises(InvalidValue):
        unpack_reply(pack_error(fields))
