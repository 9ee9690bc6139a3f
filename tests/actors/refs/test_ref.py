"""References, as Pykka has them and beyond: messages, calls of methods, stops, keys, and what happens in a method."""

from __future__ import annotations

import copy
import pickle
import threading
from dataclasses import dataclass
from typing import Any

import pykka
import pykka.messages
import pytest

from fake_port import PATIENCE, FakePort, waits
from understudy import Actor, ActorRef, read_only
from understudy.actors import values
from understudy.actors.errors import (
    ActorDeadError,
    AskTimeout,
    InvalidOption,
    NoRuntime,
    RemoteError,
    UnencodableValue,
    UnknownTask,
)
from understudy.actors.ids import id_text, new_id
from understudy.actors.refs.letter import KEPT, READ_ONLY, Kind, Op, asked_id, keyed_id, what_is_asked
from understudy.actors.task import current_actor


@dataclass
class Sum:
    euros: int


class Account(Actor, reply_keep=7):
    def __init__(self, balance: int = 0) -> None:
        self.balance = balance
        self.got: list[Any] = []
        self._secret = 1

    def on_receive(self, message: Any) -> Any:
        if message == "ping":
            return "pong"
        if isinstance(message, dict) and "fail" in message:
            raise ValueError(message["fail"])
        self.got.append(message)
        return None

    def deposit(self, n: int = 1, *, twice: bool = False) -> int:
        self.balance += 2 * n if twice else n
        return self.balance

    def move(self, sum: Sum) -> Sum:
        return Sum(sum.euros + 1)

    @read_only
    def peek(self) -> int:
        return self.balance

    @classmethod
    def kind(cls) -> str:
        return cls.__name__

    @staticmethod
    def twice(n: int) -> int:
        return 2 * n

    def wait(self) -> None:
        GATE.wait(PATIENCE)

    def pay(self, to: ActorRef[Account], n: int) -> int:
        return to.call(Account.deposit, n)

    def pay_later(self, to: ActorRef[Account], n: int) -> list[int]:
        to.cast(Account.deposit, n)
        told = to.tell("later", block=False).get()
        return [to.submit(Account.deposit, 0).get(), to.call(Account.peek), told]  # type: ignore[list-item]

    def fail_after_pay(self, to: ActorRef[Account]) -> None:
        to.cast(Account.deposit, 1)
        raise ValueError("no")


class Savings(Account):
    def deposit(self, n: int = 1, *, twice: bool = False) -> int:
        return -1


class Other(Actor):
    def deposit(self, n: int) -> int:
        return n


GATE = threading.Event()


@pytest.fixture
def ref(port: FakePort) -> ActorRef[Account]:
    GATE.clear()
    made: ActorRef[Account] = port.actor(Account, "ada")
    return made


@pytest.fixture
def busy(ref: ActorRef[Account]) -> Any:
    """A reference to an actor that is at work until the end of the test."""
    ref.cast("wait")
    yield ref
    GATE.set()


# --- what it is ---


def test_it_says_what_it_refers_to(ref: ActorRef[Account]) -> None:
    assert str(ref) == f"Account/ada (urn:uuid:{ref.id})"
    assert repr(ref) == f"<ActorRef for {ref}>"
    assert (ref.actor_urn, ref.name, ref.class_name) == (f"urn:uuid:{ref.id}", "ada", f"{__name__}:Account")
    assert ref.actor_class is Account
    assert str(Account.start()).startswith("Account (urn:uuid:")


def test_a_class_that_is_not_imported_is_unknown(port: FakePort) -> None:
    with pytest.raises(UnknownTask, match="import its module first"):
        _ = ActorRef(new_id(), "no.such:Class").actor_class


@pytest.mark.parametrize(
    "again",
    [
        lambda ref: pickle.loads(pickle.dumps(ref)),
        copy.copy,
        copy.deepcopy,
        lambda ref: values.unpack(values.pack([ref]))[0],
    ],
)
def test_it_is_a_value(ref: ActorRef[Account], again: Any) -> None:
    same = again(ref)
    assert same == ref
    assert hash(same) == hash(ref)
    assert str(same) == str(ref)
    assert same.call(Account.deposit, 5) == 5
    assert ref != Account.start()
    assert ref != ref.id


def test_stored_bytes_that_are_no_reference_are_refused() -> None:
    packed = values.pack(ActorRef(new_id(), "m:A", "ada")).replace(b"ada", b"\xff\xff\xff")
    with pytest.raises(values.InvalidValue):
        values.unpack(packed)


def test_references_sort_by_the_start_of_their_actors(port: FakePort) -> None:
    refs = [Account.start() for _ in range(3)]
    assert sorted([refs[2], *refs[:2]]) == refs


def test_without_a_runtime_it_says_so() -> None:
    with pytest.raises(NoRuntime):
        ActorRef(new_id(), "m:A").tell("x")


# --- life and death ---


def test_it_is_alive_until_it_stops(ref: ActorRef[Account]) -> None:
    assert ref.is_alive()
    assert ref.stop() is True
    assert not ref.is_alive()
    assert ref.stop() is False
    assert ref.stop(block=False).get() is False
    assert ref.status().ended_already


def test_an_actor_that_never_was_is_dead(port: FakePort) -> None:
    stranger: ActorRef[Account] = ActorRef(new_id(), f"{__name__}:Account")
    assert not stranger.is_alive()
    assert stranger.stop() is False


def test_what_was_sent_before_the_stop_is_done(ref: ActorRef[Account]) -> None:
    deposits = [ref.submit(Account.deposit, 5) for _ in range(3)]
    assert ref.stop(block=False).get(timeout=PATIENCE) is True
    assert [deposit.get() for deposit in deposits] == [5, 10, 15]


def test_to_a_dead_actor_nothing_can_be_sent(ref: ActorRef[Account]) -> None:
    ref.stop()
    later = ref.ask("ping", block=False)
    told = ref.tell("x", block=False)
    for use in (
        lambda: ref.tell("x"),
        lambda: ref.ask("ping"),
        lambda: ref.call(Account.deposit),
        lambda: ref.cast(Account.deposit),
        later.get,
        told.get,
        ref.proxy,
    ):
        with pytest.raises(pykka.ActorDeadError) as caught:
            use()
        assert isinstance(caught.value, ActorDeadError)
        assert str(caught.value) == f"{ref} not found"


# --- messages ---


@pytest.mark.parametrize("message", [123, 123.456, {"a": "dict"}, ["a", "list"], None, {1, 2}])
def test_tell_delivers_any_value(ref: ActorRef[Account], message: Any) -> None:
    assert ref.tell(message) is None
    assert ref.proxy().got.get() == [message]


def test_tell_can_give_a_future(ref: ActorRef[Account]) -> None:
    assert ref.tell("x", block=False).get(timeout=PATIENCE) is None


def test_what_cannot_be_encoded_is_refused_at_the_call(ref: ActorRef[Account]) -> None:
    for use in (
        lambda: ref.tell(object()),
        lambda: ref.ask([object()]),
        lambda: ref.call(Account.deposit, object()),  # type: ignore[arg-type]
    ):
        with pytest.raises(UnencodableValue):
            use()


def test_ask_gives_the_answer(ref: ActorRef[Account]) -> None:
    assert ref.ask("ping") == "pong"
    assert ref.ask("ping", block=False).get() == "pong"


def test_ask_raises_what_the_actor_raises(ref: ActorRef[Account]) -> None:
    for use in (lambda: ref.ask({"fail": "bad"}), ref.ask({"fail": "bad"}, block=False).get):
        with pytest.raises(ValueError, match=r"^bad$") as caught:
            use()
        assert isinstance(caught.value, RemoteError)
    assert ref.is_alive()


def test_ask_waits_no_longer_than_its_timeout(busy: ActorRef[Account]) -> None:
    for use in (
        lambda: busy.ask("ping", timeout=0.01),
        lambda: busy.ask("ping", timeout=0),
        lambda: busy.ask("ping", timeout=-1),
        busy.ask("ping", block=False, timeout=0.01).get,
        lambda: busy.options(timeout=0.01).call(Account.peek),
        lambda: busy.options(timeout=0.01).submit(Account.peek).get(),
        lambda: busy.submit(Account.peek).get(timeout=0.01),
        lambda: busy.stop(timeout=0.01),
    ):
        with pytest.raises(pykka.Timeout) as caught:
            use()
        assert isinstance(caught.value, AskTimeout)
        assert isinstance(caught.value, TimeoutError)
        assert str(busy) in str(caught.value)


def test_a_timed_out_ask_is_given_up(busy: ActorRef[Account], port: FakePort) -> None:
    with pytest.raises(AskTimeout):
        busy.ask("ping", timeout=0)
    assert all(future.cancelled() for future in port.pending.values())


def test_a_timeout_of_the_wrong_type_is_refused_before_anything_is_sent(
    ref: ActorRef[Account], port: FakePort
) -> None:
    with pytest.raises(InvalidOption, match="timeout must be seconds"):
        ref.ask("ping", timeout="soon")  # type: ignore[call-overload]
    assert port.letters == []


def test_pykkas_own_messages_are_calls(ref: ActorRef[Account]) -> None:
    assert ref.ask(pykka.messages.ProxyCall(("deposit",), (5,), {"twice": True})) == 10
    ref.tell(pykka.messages.ProxySetAttr(("balance",), 3))
    assert ref.ask(pykka.messages.ProxyGetAttr(("balance",))) == 3


# --- calls of methods ---


def test_a_method_is_called_by_itself_or_by_name(ref: ActorRef[Account]) -> None:
    assert ref.call(Account.deposit, 5) == 5
    assert ref.call("deposit", 5, twice=True) == 15
    assert ref.submit(Account.deposit, n=5).get() == 20
    assert ref.cast(Account.deposit, 5) is None
    assert ref.call(Account.peek) == 25
    assert (ref.call(Account.kind), ref.call(Account.twice, 4)) == ("Account", 8)  # type: ignore[arg-type]


def test_a_method_of_a_base_class_calls_that_of_the_actor(port: FakePort) -> None:
    savings: ActorRef[Savings] = port.actor(Savings, None)
    assert savings.call(Account.deposit, 5) == -1


@pytest.mark.parametrize("wrong", [Other.deposit, len, 3, None, [], lambda self: 1])
def test_what_is_no_method_of_the_class_is_refused(ref: ActorRef[Account], wrong: Any) -> None:
    with pytest.raises(InvalidOption, match="is no method of Account"):
        ref.call(wrong)


@pytest.mark.parametrize("path", ["_secret", "", "a..b", "a b", "__class__", "deposit.__globals__"])
def test_private_and_malformed_paths_are_refused(ref: ActorRef[Account], port: FakePort, path: str) -> None:
    with pytest.raises(AttributeError, match="no public attribute"):
        ref.call(path)
    assert port.letters == []


def test_wrong_arguments_are_refused_at_the_call(ref: ActorRef[Account], port: FakePort) -> None:
    for use in (
        lambda: ref.call(Account.deposit, 1, 2),  # type: ignore[call-arg]
        lambda: ref.cast("deposit", many=3),
        lambda: ref.submit("peek", 1),
        lambda: ref.call("twice"),
    ):
        with pytest.raises(TypeError):
            use()
    assert port.letters == []


def test_a_class_that_is_not_imported_can_be_called_by_name(port: FakePort) -> None:
    known: ActorRef[Account] = port.actor(Account, None)
    stranger: ActorRef[Any] = ActorRef(known.id_bytes, "no.such:Class")
    assert stranger.call("deposit", 5) == 5
    assert stranger.call(Account.deposit, 5) == 10


def test_arguments_and_results_have_the_types_of_their_annotations(
    ref: ActorRef[Account], port: FakePort
) -> None:
    ref.submit(Account.move, Sum(3))
    assert values.unpack(port.letters[-1][1].payload or b"") == [[{"euros": 3}], {}]
    result = ref.submit(Account.move, Sum(3))
    result._raw.exception(PATIENCE)  # the fake does not make a Sum of what it gets: that is the turn's part
    assert Account(0).move(Sum(3)) == Sum(4)


def test_read_only_methods_are_marked(ref: ActorRef[Account], port: FakePort) -> None:
    ref.call(Account.peek)
    ref.call("deposit")
    assert [letter.flags & READ_ONLY for _, letter in port.letters] == [READ_ONLY, 0]


# --- options ---


def test_under_a_key_a_message_is_handled_once(ref: ActorRef[Account], port: FakePort) -> None:
    keyed = ref.options(key="order-17", timeout=PATIENCE)
    assert [keyed.call(Account.deposit, 5) for _ in range(3)] == [5, 5, 5]
    assert ref.options(key="order-18").call(Account.deposit, 5) == 10
    told = ref.options(key="order-19")
    told.cast(Account.deposit, 5)
    told.cast(Account.deposit, 5)
    assert ref.call(Account.peek) == 15
    letter = port.letters[0][1]
    assert (letter.id, letter.flags, letter.keep) == (keyed_id(ref.id_bytes, "order-17"), KEPT, 7.0)
    assert port.letters[-1][1].keep is None


def test_a_copy_is_the_same_actor(ref: ActorRef[Account]) -> None:
    assert ref.options(key="a").options(timeout=3) == ref


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"key": ""}, "key must be text"),
        ({"key": 3}, "key must be text"),
        ({"timeout": "x"}, "timeout must be"),
    ],
)
def test_wrong_options_are_refused(ref: ActorRef[Account], options: Any, complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint):
        ref.options(**options)


# --- in a method of an actor ---


def test_an_ask_in_a_method_has_an_id_that_a_rerun_makes_again(
    ref: ActorRef[Account], port: FakePort
) -> None:
    bob: ActorRef[Account] = port.actor(Account, "bob")
    assert ref.call(Account.pay, bob, 5) == 5
    (_, call), (target, inner) = port.letters
    assert target == bob.id_bytes
    assert (inner.id, inner.sender, inner.kind, waits(inner)) == (
        asked_id(call.id, what_is_asked(bob.id_bytes, Kind.ASK, Op.CALL, "deposit")),
        ref.id_bytes,
        Kind.ASK,
        True,
    )
    turn = port.live[ref.id_bytes]
    assert (turn.commits, turn.seen) == (1, [inner.id])
    assert inner.stream == turn.stream
    assert (call.sender, call.stream, waits(call)) == (None, None, False)


def test_what_a_method_tells_leaves_with_its_commit(ref: ActorRef[Account], port: FakePort) -> None:
    bob: ActorRef[Account] = port.actor(Account, "bob")
    assert ref.call(Account.pay_later, bob, 5) == [0, 0, None], "asks go at once, tells with the commit"
    assert bob.call(Account.peek) == 5
    assert bob.proxy().got.get() == ["later"]
    with pytest.raises(ValueError, match="no"):
        ref.call(Account.fail_after_pay, bob)
    assert bob.call(Account.peek) == 5, "a method that fails tells nothing"


def test_a_future_in_a_method_says_that_it_waits_when_it_does(ref: ActorRef[Account], port: FakePort) -> None:
    bob: ActorRef[Account] = port.actor(Account, "bob")
    GATE.clear()
    bob.cast("wait")
    threading.Timer(0, lambda: until_asked(port, GATE)).start()
    ref.call(Account.pay_later, bob, 5)
    asked = [
        letter for _, letter in port.letters if letter.sender == ref.id_bytes and letter.kind == Kind.ASK
    ]
    assert [waits(letter) for letter in asked[:2]] == [False, True]
    assert asked[0].id == asked[1].id, "the same letter"


def until_asked(port: FakePort, gate: threading.Event) -> None:
    deadline = threading.Event()
    while not any(waits(letter) for _, letter in port.letters):
        deadline.wait(0.001)
    gate.set()


def test_code_of_an_ended_turn_is_no_actors(ref: ActorRef[Account], port: FakePort) -> None:
    turn = port.live[ref.id_bytes]
    token = current_actor.current.set(turn)  # type: ignore[arg-type]
    try:
        turn.actor_stopped.set()
        assert ref.ask("ping") == "pong"
        assert port.letters[-1][1].sender is None
    finally:
        turn.actor_stopped.clear()
        current_actor.current.reset(token)


def test_letters_of_all_kinds(ref: ActorRef[Account], port: FakePort) -> None:
    ref.tell(1)
    ref.ask("ping")
    ref.cast(Account.deposit)
    ref.stop()
    assert [(letter.kind, letter.op, letter.path) for _, letter in port.letters] == [
        (Kind.TELL, Op.MESSAGE, None),
        (Kind.ASK, Op.MESSAGE, None),
        (Kind.TELL, Op.CALL, "deposit"),
        (Kind.STOP, Op.MESSAGE, None),
    ]
    assert id_text(port.letters[0][1].id)[14] == "7"
