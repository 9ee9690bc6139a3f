"""The base class: declaration, options, what of an object is its state, and what its methods reach."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest

from understudy import Actor, read_only, task
from understudy.actors.errors import InvalidOption, InvalidTask, NotInTask
from understudy.actors.refs.actor import ActorOptions, checked_actor_name, restore_state, state_of, task_of
from understudy.actors.task.declaration import registry


class Account(Actor, durable=True, idle=5, state_version=2):
    transient = ("bank",)

    def __init__(self, owner: str) -> None:
        self.owner, self.balance = owner, 0

    def on_start(self) -> None:
        self.bank = object()

    def deposit(self, n: int) -> int:
        self.balance += n
        return self.balance

    @functools.cached_property
    def title(self) -> str:
        return self.owner.title()

    @read_only
    def peek(self) -> int:
        return self.balance


class Savings(Account, idle=None):
    transient = ("rates",)


class Feed(Actor, name="feed", aliases=["old-feed"]):
    async def follow(self, url: str) -> str:
        return url

    def on_passivate(self) -> None: ...


def test_a_class_is_declared_as_tasks_are() -> None:
    declared = registry[f"{__name__}:Account"]
    assert declared is task_of(Account)
    assert (declared.body, declared.is_class, declared.is_async) == (Account, True, False)
    assert (registry["feed"].is_async, registry["feed"].aliases) == (True, ("old-feed",))


def test_what_the_supervisor_is_told_of_a_class() -> None:
    told = task_of(Account).declared()
    assert told["actor"] == {
        "durable": True,
        "idle": 5.0,
        "state_version": 2,
        "reply_keep": 3600.0,
        "state_limit": 1 << 20,
        "read_only": ["peek"],
        "on_passivate": False,
    }
    assert task_of(Feed).declared()["actor"]["on_passivate"]
    assert (told["timeout"], told["is_async"]) == (60.0, False)
    assert [name for name, _, _ in told["parameters"]] == ["owner"]


def test_options_are_those_of_tasks_and_its_own() -> None:
    assert Actor.actor_options == ActorOptions()
    assert (Actor.actor_options.durable, Actor.actor_options.idle, Actor.actor_options.timeout) == (
        False,
        60,
        60,
    )
    assert Account.actor_options == ActorOptions(durable=True, idle=5, state_version=2)


def test_a_subclass_has_the_options_of_its_base_but_not_its_name() -> None:
    assert Savings.actor_options == ActorOptions(durable=True, idle=None, state_version=2)
    assert task_of(Savings).name == f"{__name__}:Savings"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"duration": 3}, "unknown option 'duration'"),
        ({"ack": "receive"}, "unknown option 'ack'"),
        ({"durable": 1}, "durable must be True or False"),
        ({"idle": -1}, "idle must be seconds"),
        ({"reply_keep": None}, "reply_keep must be seconds"),
        ({"state_version": -1}, "state_version must be a whole number"),
        ({"state_limit": 0}, "state_limit in bytes must be"),
        ({"timeout": 0}, "timeout must be seconds"),
        ({"isolate": True}, "so they need durable=True"),
        ({"memory_limit": 1 << 30}, "so they need durable=True"),
        ({"name": ""}, "a task name is 1 to 255"),
        ({"name": "ä" * 101}, "at most 200 bytes"),
        ({"aliases": "old"}, "aliases must be a list"),
    ],
)
def test_wrong_options_are_refused_at_the_declaration(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint):

        class Wrong(Actor, **options):
            pass


def test_a_class_that_workers_cannot_find_is_refused_when_it_is_used() -> None:
    class Inner(Actor):
        pass

    with pytest.raises(InvalidTask, match="defined inside a function"):
        task_of(Inner)


@pytest.mark.parametrize("wrong", [Actor, dict, 3, None])
def test_only_an_actor_class_is_one(wrong: Any) -> None:
    with pytest.raises(InvalidTask, match=r"derive it from understudy\.Actor"):
        task_of(wrong)


def test_two_classes_cannot_have_one_name() -> None:
    with pytest.raises(InvalidTask, match="two tasks have the name feed"):
        type("Other", (Actor,), {"__module__": __name__, "__qualname__": "Other"}, name="feed")  # type: ignore[call-overload]


def test_a_class_with_slots_is_refused() -> None:
    with pytest.raises(InvalidTask, match="has __slots__"):

        class Slotted(Actor):
            __slots__ = ("balance",)


def test_a_class_whose_content_is_no_attribute_is_refused() -> None:
    with pytest.raises(InvalidTask, match="derives from dict"):

        class Mapping(Actor, dict[str, int]):
            pass


def test_hooks_that_are_generators_are_refused() -> None:
    with pytest.raises(InvalidTask, match="is a generator"):

        class Generating(Actor):
            def on_receive(self, message: Any) -> Iterator[int]:
                yield 1


def test_upgrade_must_be_a_classmethod() -> None:
    with pytest.raises(InvalidTask, match="must be a classmethod"):

        class Upgrading(Actor):
            def upgrade(self, state: Any, version: int) -> Any: ...  # type: ignore[override]


@pytest.mark.parametrize("wrong", ["bank", 3, (3,), ("no name",)])
def test_transient_must_be_names(wrong: Any) -> None:
    with pytest.raises(InvalidOption, match="transient must"):

        class Wrong(Actor):
            transient = wrong


def test_a_task_declared_on_a_class_is_refused_and_told_of_actor() -> None:
    with pytest.raises(InvalidTask, match=r"derive it from understudy\.Actor"):

        @task
        class Counter:
            def on_receive(self, message: Any) -> None: ...

    with pytest.raises(InvalidTask, match="derive it from"):
        task(timeout=3)(Account)


def test_state_is_the_attributes_but_transient_and_cached_ones() -> None:
    account = Savings("ada")
    account.on_start()
    account.rates = [1]  # type: ignore[attr-defined]
    assert account.title == "Ada"
    assert state_of(account) == {"owner": "ada", "balance": 0}


def test_restored_state_replaces_all_but_transient_attributes() -> None:
    account = Account("ada")
    account.on_start()
    bank = account.bank
    before = state_of(account)
    account.deposit(5)
    account.extra = 1  # type: ignore[attr-defined]
    assert account.title == "Ada"
    restore_state(account, {**before, "owner": "bob"})
    assert state_of(account) == {"owner": "bob", "balance": 0}
    assert account.bank is bank
    assert account.title == "Bob", "a cached property of the former state"


def test_a_plain_call_gives_a_plain_object() -> None:
    account = Account("ada")
    assert account.deposit(5) == 5
    assert str(account) == "Account"
    for use in (
        lambda: account.storage,
        lambda: account.message_id,
        lambda: account.actor_ref,
        lambda: account.actor_urn,
        lambda: account.remind("statement", Account.peek, delay=3),
        lambda: account.forget("statement"),
        account.reminders,
        account.passivate,
        account.stop,
    ):
        with pytest.raises(NotInTask, match="works only in a method of an actor that runs"):
            use()


def test_an_unexpected_message_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    Account("ada").on_receive({"a": 1})
    assert "Unexpected message received by Account: {'a': 1}" in caplog.text


def test_without_upgrade_earlier_state_is_refused() -> None:
    with pytest.raises(NotImplementedError, match=r"state of version 1, and its code is of version 2"):
        Account.upgrade({}, 1)


class Side:
    """Notes what an actor asks of its side."""

    ref = storage = message_id = None

    def __init__(self) -> None:
        self.reminded: list[Any] = []

    def remind(self, *args: Any) -> None:
        self.reminded.append(args)


def remind(*args: Any, **kwargs: Any) -> Any:
    account, side = Account("ada"), Side()
    account._understudy = side  # type: ignore[assignment]
    account.remind(*args, **kwargs)
    (reminded,) = side.reminded
    return reminded


def test_a_reminder_names_its_method_by_path() -> None:
    assert remind("a", Account.deposit, 5, delay=3) == ("a", "deposit", (5,), {}, 3.0, None, None)
    assert remind("a", "part.play", every=1, at=7, n=2) == ("a", "part.play", (), {"n": 2}, None, 7.0, 1.0)


@pytest.mark.parametrize(
    ("args", "times", "complaint"),
    [
        (("a", "deposit"), {}, "needs delay=, at= or every="),
        (("a", "deposit"), {"delay": 1, "at": 1}, "not both"),
        (("a", "deposit"), {"every": 0.01}, "every must be seconds, 0.1 or more"),
        (("a", "deposit"), {"delay": -1}, "delay must be seconds"),
        (("a", "deposit"), {"at": "noon"}, "at must be seconds since the epoch"),
        (("", "deposit"), {"delay": 1}, "a reminder's name"),
        (("a", len), {"delay": 1}, "is no method of Account"),
        (("a", 3), {"delay": 1}, "is no method of Account"),
    ],
)
def test_a_wrong_reminder_is_refused(args: Any, times: Any, complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint):
        remind(*args, **times)


def test_a_reminder_of_a_private_method_is_refused() -> None:
    with pytest.raises(AttributeError, match="private"):
        remind("a", "_secret", delay=1)


@pytest.mark.parametrize("wrong", ["", "a\0b", "x" * 201, "\ud800", 3, None, b"a"])
def test_names_of_actors_are_checked(wrong: Any) -> None:
    with pytest.raises(InvalidOption, match="an actor's name is text"):
        checked_actor_name(wrong)
