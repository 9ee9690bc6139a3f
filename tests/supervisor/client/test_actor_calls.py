"""The calls about actors, against a supervisor of paper; with a real one they are in tests/scenarios."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from actor_tasks import Account, Feed
from call_tasks import add
from desk import Desk as StoreDesk
from mimic import Mimic, Peer, mimic, welcome
from tasks import EPOCH, add_actor, add_task
from understudy import (
    ActorDeadError,
    ActorFuture,
    ActorRef,
    AskTimeout,
    AsyncActorRef,
    AsyncRuntime,
    ConnectTimeout,
    InvalidOption,
    InvalidTask,
    MailboxFull,
    NotRunning,
    RemoteError,
    Runtime,
    SupervisorLost,
    TaskNotFound,
    UnencodableValue,
    ValueTooLarge,
)
from understudy.actors import values
from understudy.actors.ids import id_text, new_id
from understudy.actors.refs.letter import KEPT, READ_ONLY, Kind, Letter, Op, keyed_id
from understudy.actors.refs.remote_error import pack_error, pack_value
from understudy.storage.store import Store
from understudy.storage.tables.actor_rows import dead_key, pack_dead
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table
from understudy.supervisor.client import connection as connection_module
from understudy.supervisor.client.connection import SEEN_LIMIT, Connection
from understudy.supervisor.settings import Settings
from understudy.supervisor.wire.messages import Answer, Ask
from waiting import until

ID = new_id()
NAME = "actor_tasks:Account"

T = TypeVar("T")


def in_thread(call: Callable[[], T]) -> Future[T]:
    """Make a blocking call in a thread."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - for the test
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


class Desk:
    """A supervisor of paper, and a runtime that is its client."""

    def __init__(self, it: Mimic, rt: Runtime) -> None:
        self.it = it
        self.rt = rt
        self.ref: ActorRef[Account] = ActorRef(ID, NAME, "ada", rt)
        rt._client.connect_now()
        self.peer = it.peer()

    def asked(self, op: Ask) -> tuple[Any, ...]:
        """The next request: (number, fields…)."""
        found, *rest = self.peer.next()
        assert found == op
        return tuple(rest)


@pytest.fixture
def desk(home: Path) -> Iterator[Desk]:
    with mimic(home) as it, Runtime.connect(home) as rt:
        yield Desk(it, rt)


def ok(value: Any) -> bytes:
    return pack_value(values.pack(value))


def letter_in(fields: tuple[Any, ...]) -> Letter:
    return Letter.unpack(fields[2])


# --- get or start ---


def test_get_or_start(desk: Desk):
    call = in_thread(lambda: desk.rt.actor(Account, "ada", "Ada Lovelace", balance=3))
    number, (id, cls, name, args, options, stream, origin) = desk.asked(Ask.ACTOR)
    assert (cls, name, options, origin) == (NAME, "ada", None, None)
    assert stream == id
    assert values.unpack(args) == [["Ada Lovelace"], {"balance": 3}]
    desk.peer.tell((Answer.OK, number, (ID, False)))
    ref = call.result(10)
    assert (ref.id_bytes, ref.name, ref.class_name) == (ID, "ada", NAME)


def test_a_start_without_a_name_is_asked_again_under_its_id(home: Path):
    with Runtime.connect(home) as rt:
        with mimic(home) as first:
            started: list[ActorRef[Any]] = []
            starting = threading.Thread(target=lambda: started.append(rt.actor(Account, None, "ada")))
            starting.start()
            _, _, row = first.peer().next()
        with mimic(home) as second:
            peer = second.peer()
            op, number, again = peer.next()
            assert (op, again) == (Ask.ACTOR, row)
            peer.tell((Answer.OK, number, (row[0], False)))
            starting.join(10)
            assert [(ref.id_bytes, ref.name) for ref in started] == [(row[0], None)]


@pytest.mark.parametrize("name", ["", "x" * 201, "ä" * 101, "a\0b", 7, "\ud800"])
def test_a_name_is_checked_at_the_call(home: Path, name: Any):
    with Runtime.connect(home) as rt:
        for call in (
            lambda: rt.actor(Account, name, "ada"),
            lambda: rt.lookup(Account, name),
            lambda: rt.lookup(NAME, name),
        ):
            with pytest.raises(InvalidOption, match="an actor's name is text of 1 to 200 bytes"):
                call()


def test_arguments_are_checked_at_the_call(desk: Desk):
    with pytest.raises(TypeError, match="missing a required argument: 'owner'"):
        desk.rt.actor(Account, "ada")  # type: ignore[call-arg]  # that is the point
    with pytest.raises(UnencodableValue) as caught:
        desk.rt.actor(Account, "ada", object())  # type: ignore[arg-type]
    assert caught.value.path == "args[0]"


def test_a_class_known_by_name_only_is_checked_by_what_the_supervisor_knows_of_it(desk: Desk):
    call = in_thread(lambda: desk.rt.actor("elsewhere:Account", "ada"))
    number, name = desk.asked(Ask.PARAMETERS)
    assert name == "elsewhere:Account"
    desk.peer.tell((Answer.OK, number, [("owner", 1, False)]))
    with pytest.raises(TypeError, match="owner"):
        call.result(10)


def test_actors_and_tasks_are_started_each_in_their_own_way(desk: Desk):
    with pytest.raises(InvalidTask, match="Actor"):
        desk.rt.actor(dict, "ada")  # type: ignore[type-var]  # that is the point
    with pytest.raises(InvalidTask, match="is a function"):
        desk.rt.actor(add.name, "ada")
    with pytest.raises(InvalidOption, match=r"Runtime\.actor"):
        desk.rt.start(Account, "ada")  # type: ignore[call-overload]
    with pytest.raises(InvalidTask, match=r"Runtime\.actor"):
        desk.rt.start(NAME, "ada")


# --- asking ---


def test_a_call(desk: Desk):
    call = in_thread(lambda: desk.ref.call(Account.deposit, 5))
    number, *fields = desk.asked(Ask.ASK)
    assert fields[0] == ID
    letter = Letter.unpack(fields[1])
    assert (letter.kind, letter.flags, letter.op, letter.path) == (Kind.ASK, 0, Op.CALL, "deposit")
    desk.peer.tell((Answer.OK, number, ok(5)))
    assert call.result(10) == 5


def test_an_error_of_the_method_and_one_of_the_supervisor(desk: Desk):
    call = in_thread(lambda: desk.ref.call(Account.refuse, "no"))
    number = desk.asked(Ask.ASK)[0]
    desk.peer.tell((Answer.OK, number, pack_error(("LookupError", "no", "Traceback", []))))
    with pytest.raises(RemoteError, match="no"):
        call.result(10)
    for kind, expected in (("ActorDeadError", ActorDeadError), ("MailboxFull", MailboxFull)):
        call = in_thread(lambda: desk.ref.call(Account.refuse, "no"))
        desk.peer.tell((Answer.ERROR, desk.asked(Ask.ASK)[0], kind, "it is so", {}))
        with pytest.raises(expected, match="it is so"):
            call.result(10)


def test_an_ask_survives_a_restart_under_its_id(home: Path):
    with Runtime.connect(home) as rt:
        ref: ActorRef[Account] = ActorRef(ID, NAME, "ada", rt)
        with mimic(home) as first:
            future = ref.submit(Account.deposit, 5)
            _, _, id, letter, _ = first.peer().next()
        with mimic(home) as second:
            peer = second.peer()
            op, number, *again = peer.next()
            assert (op, again) == (Ask.ASK, [id, letter, ()])
            peer.tell((Answer.OK, number, ok(5)))
            assert future.get(timeout=10) == 5


def test_after_the_deadline_the_supervisor_is_told(desk: Desk):
    with pytest.raises(AskTimeout, match=r"within 0\.01 s"):
        desk.ref.options(timeout=0.01).call(Account.deposit, 5)
    number = desk.asked(Ask.ASK)[0]
    assert desk.asked(Ask.UNASK) == (number,)
    connection = until(lambda: desk.rt._client.connection)
    assert connection._requests == {}
    assert not desk.rt._client._waits
    # An answer that comes all the same is nobody's.
    desk.peer.tell((Answer.OK, number, ok(5)))
    with pytest.raises(AskTimeout):
        desk.rt.call(desk.ref, "deposit", 5, timeout=0.01)


def test_the_calls_of_references_have_the_limit_of_their_runtime(home: Path):
    with mimic(home) as it, Runtime.connect(home, call_timeout=0.2) as rt:
        rt._client.connect_now()
        peer = it.peer()
        done = threading.Event()

        def serve() -> None:
            _, number, row = peer.next()
            peer.tell((Answer.OK, number, (row[0], True)))
            done.set()

        threading.Thread(target=serve, daemon=True).start()
        ref = rt.actor(Account, "ada", "Ada")
        assert done.wait(10)
        with pytest.raises(AskTimeout, match=r"within 0\.2 s"):
            ref.call(Account.deposit, 5)


def test_received_replies_are_confirmed_with_the_next_ask(desk: Desk):
    def ask(ref: ActorRef[Account]) -> tuple[bytes, tuple[bytes, ...]]:
        future = ref.submit(Account.deposit, 1)
        number, _, letter, seen = desk.asked(Ask.ASK)
        desk.peer.tell((Answer.OK, number, ok(1)))
        assert future.get(timeout=10) == 1
        return Letter.unpack(letter).id, seen

    first, seen = ask(desk.ref)
    assert seen == ()
    second, seen = ask(desk.ref)
    assert seen == (first,)
    # A reply under a key stays for others that ask under it.
    third, seen = ask(desk.ref.options(key="order-17"))
    assert (third, seen) == (keyed_id(ID, "order-17"), (second,))
    assert ask(desk.ref)[1] == ()
    # What an actor's method has asked is confirmed by the commit of its turn.
    letter = Letter(Kind.ASK, 0, new_id(), ID, Op.CALL, "deposit")
    reply = desk.rt.ask(ID, letter.pack())
    number, *_ = desk.asked(Ask.ASK)
    desk.peer.tell((Answer.OK, number, ok(1)))
    assert reply.result(10) == ok(1)
    assert ask(desk.ref)[1] == ()


def test_confirmations_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    for _ in range(2 * SEEN_LIMIT):
        desk.rt._client.seen.append(new_id())
    desk.ref.submit(Account.deposit, 1)
    assert len(desk.asked(Ask.ASK)[3]) == SEEN_LIMIT


def test_letters_that_follow_each_other_are_one_request(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """Each gets an answer of its own. On the next connection the asks come again, each by itself."""
    monkeypatch.setattr(connection_module, "FOLLOWS", 60.0)
    monkeypatch.setattr(Connection, "_wake_sender", lambda _: None)
    first = desk.ref.submit(Account.deposit, 0)
    number, _, letter, _ = desk.asked(Ask.ASK)
    desk.peer.tell((Answer.OK, number, ok(0)))
    assert first.get(timeout=10) == 0
    asks = [desk.ref.submit(Account.deposit, n) for n in range(3)]
    told = desk.ref.tell(1, block=False)
    kept = desk.ref.options(key="k").submit(Account.deposit, 4)
    late = [desk.ref.submit(Account.deposit, n) for n in (5, 6)]
    thread = in_thread(lambda: [future.get(timeout=10) for future in (*asks, kept, *late)])
    number, rows, seen = desk.asked(Ask.LETTERS)
    assert [row[0] for row in rows] == [number + n for n in range(4)]
    assert {row[1] for row in rows} == {ID}
    assert [Letter.unpack(row[2]).kind for row in rows] == [Kind.ASK] * 3 + [Kind.TELL]
    kept_number, _, kept_letter, confirmed = desk.asked(Ask.ASK)
    assert (*seen, *confirmed) == (Letter.unpack(letter).id,)
    assert Letter.unpack(kept_letter).id == keyed_id(ID, "k")
    _, later_rows, _ = desk.asked(Ask.LETTERS)
    desk.peer.tell(
        (Answer.ANSWERS, [(number, ok(0)), (number + 1, ok(1)), (number + 3, None), (999, ok(9))]),
        (Answer.OK, kept_number, ok(4)),
    )
    assert told.get(timeout=10) is None
    until(lambda: not asks[2].done() and kept.done())
    unanswered = [rows[2][2], *(row[2] for row in later_rows)]
    desk.peer.close()
    peer = desk.it.peer()
    for letter in unanswered:
        op, number, _, again, _ = peer.next()
        assert (op, again) == (Ask.ASK, letter)
        peer.tell((Answer.OK, number, ok(7)))
    assert thread.result(10) == [0, 1, 7, 4, 7, 7]


def test_read_only_methods_say_so(desk: Desk):
    desk.ref.submit(Account.peek)
    assert letter_in(desk.asked(Ask.ASK)).flags == READ_ONLY


# --- telling ---


def test_a_tell_returns_once_it_is_taken_in(desk: Desk):
    call = in_thread(lambda: desk.ref.tell({"note": 1}))
    number, letters = desk.asked(Ask.TELL)
    ((id, letter),) = letters
    assert id == ID
    unpacked = Letter.unpack(letter)
    assert (unpacked.kind, unpacked.op, values.unpack(unpacked.payload or b"")) == (
        Kind.TELL,
        Op.MESSAGE,
        {"note": 1},
    )
    assert not call.done()
    desk.peer.tell((Answer.OK, number, None))
    assert call.result(10) is None


def test_a_tell_is_repeated_only_with_a_key(home: Path):
    with Runtime.connect(home) as rt:
        ref: ActorRef[Account] = ActorRef(ID, NAME, "ada", rt)
        with mimic(home) as first:
            lost = ref.tell(1, block=False)
            kept = ref.options(key="k").tell(2, block=False)
            peer = first.peer()
            sent = {Letter.unpack(peer.next()[2][0][1]).flags: None for _ in range(2)}
            assert sent.keys() == {0, KEPT}
        with pytest.raises(SupervisorLost):
            lost.get(timeout=10)
        with mimic(home) as second:
            peer = second.peer()
            op, number, ((_, letter),) = peer.next()
            assert (op, Letter.unpack(letter).id) == (Ask.TELL, keyed_id(ID, "k"))
            peer.tell((Answer.OK, number, None))
            assert kept.get(timeout=10) is None
            rt._client.connection.request(Ask.TREE)  # type: ignore[union-attr]
            assert peer.next()[0] == Ask.TREE, "the other one did not come"


def test_many_letters_are_sent_in_parts(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    letter = Letter(Kind.TELL, 0, new_id(), None).pack()
    sent = desk.rt.post([(ID, letter)] * 25_000)
    numbers = []
    for size in (10_000, 10_000, 5_000):
        number, letters = desk.asked(Ask.TELL)
        assert len(letters) == size
        numbers.append(number)
    desk.peer.tell(*((Answer.OK, number, None) for number in numbers[:2]))
    assert not sent.done()
    desk.peer.tell((Answer.OK, numbers[2], None))
    assert sent.result(10) is None
    refused = desk.rt.post([(ID, letter)] * 10_001)
    desk.asked(Ask.TELL)
    desk.peer.tell((Answer.ERROR, desk.asked(Ask.TELL)[0], "MailboxFull", "full", {}))
    with pytest.raises(MailboxFull):
        refused.result(10)
    given_up = desk.rt.post([(ID, letter)] * 10_001)
    assert given_up.cancel()
    assert len(desk.rt._client._waits) == 1, "the one of the part that was not answered"


def test_a_message_that_the_supervisor_would_not_take(home: Path):
    def small(peer: Peer) -> None:
        peer.next()
        peer.tell(welcome(settings=Settings(value_limit=1024).pack()))

    with mimic(home, small), Runtime.connect(home) as rt:
        ref: ActorRef[Account] = ActorRef(ID, NAME, "ada", rt)
        for call in (lambda: ref.tell("x" * 200_000), lambda: ref.ask("x" * 200_000)):
            with pytest.raises(ValueTooLarge) as caught:
                call()
            assert caught.value.limit == 1024


def test_where_it_may_wait_a_sender_waits_for_room(desk: Desk):
    big = Letter(Kind.TELL, 0, new_id(), None, payload=b"x" * 4_000_000).pack()
    desk.rt.post([(ID, big)])
    connection = until(lambda: desk.rt._client.connection)
    assert connection.is_full
    waiting = in_thread(lambda: desk.rt.post([(ID, big)]))

    async def on_loop() -> None:
        desk.rt.post([(ID, big)])  # It must not block the event loop.

    asyncio.run(on_loop())
    assert not waiting.done()
    for _ in range(3):
        desk.asked(Ask.TELL)
    waiting.result(10)


def test_a_closed_runtime_refuses(home: Path):
    rt = Runtime.connect(home)
    rt.close()
    ref: ActorRef[Account] = ActorRef(ID, NAME, "ada", rt)
    for call in (
        lambda: ref.tell(1),
        lambda: ref.ask(1),
        lambda: rt.actor(Account, "ada", "Ada"),
        lambda: rt.lookup(Account, "ada"),
        rt.actors,
        lambda: rt.dead_letters(ref),
        lambda: rt.redrive(ref),
    ):
        with pytest.raises(NotRunning, match="closed"):
            call()


def test_redrive(desk: Desk):
    call = in_thread(lambda: desk.rt.redrive(desk.ref))
    number, *fields = desk.asked(Ask.REDRIVE)
    assert fields == [ID, None]
    desk.peer.tell((Answer.OK, number, 3))
    assert call.result(10) == 3


# --- reading ---


@pytest.fixture
def troupe(home: Path) -> list[Record]:
    """Living actors: two classes of one short name, and one renamed since."""
    actors: list[Record] = []
    desk = StoreDesk(Store, home, map_size=1 << 20)
    for number, (class_name, name) in enumerate(
        [
            (NAME, "ada"),
            (NAME, "both"),
            ("n:Account", "both"),
            ("n:Account", ""),
            ("old-news-feed", "news/today"),
        ]
    ):
        actors.append(add_actor(desk.store, name, class_name, EPOCH + number))
    calls = Letter(Kind.TELL, 0, new_id(), None, Op.CALL, "deposit", values.pack([[5], {}]))
    for number, letter in enumerate(
        [
            calls,
            Letter(Kind.TELL, 0, new_id(), None, payload=values.pack({"note": 1})),
            Letter(Kind.ASK, 0, new_id(), None, Op.GET, "balance"),
            Letter(Kind.ASK, 0, new_id(), None, Op.SET, "balance", values.pack(7)),
            Letter(Kind.REMINDER, 0, new_id(), None, Op.CALL, "report"),
        ]
    ):
        row = pack_dead(EPOCH + number, letter.pack(), ("LookupError", "no", "Traceback"))
        desk.store.put(Table.ACTORS, dead_key(actors[0].id, bytes([number]) * 16), row)
    desk.flush()
    assert desk.store.close(10) is None
    return actors


def test_look_ups_need_no_supervisor(home: Path, troupe: list[Record]):
    ada, both, theirs, nobody, feed = troupe
    with Runtime.connect(home) as rt:
        for cls in (Account, NAME, "Account"):
            found = rt.lookup(cls, "ada")
            assert found is not None
            assert (found.id_bytes, found.name, found.class_name) == (ada.id, "ada", NAME)
        assert rt.lookup(Account, "bob") is None
        assert rt.lookup("Account", "bob") is None
        # The class has had another name when the actor was started.
        for cls in (Feed, "news-feed", "old-news-feed"):
            found = rt.lookup(cls, "news/today")
            assert found is not None
            assert found.id_bytes == feed.id
        with pytest.raises(
            InvalidOption, match=f"may be any of {NAME}/both, n:Account/both: give the full name"
        ):
            rt.lookup("Account", "both")
        assert [ref.id_bytes for ref in rt.actors()] == [actor.id for actor in troupe]
        first, second, *_ = rt.actors()
        assert [ref.name for ref in rt.actors("Account", after=second)] == ["both", None]
        assert [ref.id_bytes for ref in rt.actors(Account)] == [ada.id, both.id]
        assert [ref.id_bytes for ref in rt.actors(prefix="bo", after=id_text(both.id))] == [theirs.id]
        assert rt.actors(prefix="bo", limit=1) == [second]
        with pytest.raises(InvalidOption, match="must be an actor that has a name"):
            rt.actors(prefix="bo", after=id_text(nobody.id))
        with pytest.raises(InvalidOption, match="limit"):
            rt.actors(limit=-1)
        assert first.status().state == "idle"
        assert first.is_alive()


def test_dead_letters(home: Path, troupe: list[Record]):
    with Runtime.connect(home) as rt:
        for actor in ("Account/ada", id_text(troupe[0].id), rt.actors()[0]):
            dead = rt.dead_letters(actor)
            assert [letter.message for letter in dead] == [
                {"method": "deposit", "args": [5], "kwargs": {}},
                {"note": 1},
                {"get": "balance"},
                {"set": "balance", "value": 7},
                {"method": "report", "args": [], "kwargs": {}},
            ]
        assert (dead[1].id, dead[1].time) == (id_text(bytes([1]) * 16), EPOCH + 1)
        assert str(dead[1].error) == "LookupError: no"
        assert dead[1].error.traceback == "Traceback"


def test_a_call_without_the_class(home: Path, troupe: list[Record]):
    ada, _, theirs, nobody, feed = troupe
    with Runtime.connect(home) as rt, mimic(home) as it:
        rt._client.connect_now()
        peer = it.peer()
        for actor, id in (
            ("Account/ada", ada.id),
            (f"{NAME}/ada", ada.id),
            ("n:Account/both", theirs.id),
            ("news-feed/news/today", feed.id),
            (id_text(nobody.id), nobody.id),
        ):
            call = in_thread(partial(rt.call, actor, "deposit", 5, timeout=10))
            op, number, asked, letter, _ = peer.next()
            assert (op, asked) == (Ask.ASK, id)
            unpacked = Letter.unpack(letter)
            assert (unpacked.path, values.unpack(unpacked.payload or b"")) == ("deposit", [[5], {}])
            peer.tell((Answer.OK, number, ok(5)))
            assert call.result(10) == 5
        with pytest.raises(InvalidOption, match="give the full name"):
            rt.call("Account/both", "deposit", 5)
        with pytest.raises(ActorDeadError, match=r"no actor is alive under the name 'Account/bob'"):
            rt.call("Account/bob", "deposit", 5)
        with pytest.raises(TaskNotFound, match="no actor has the id"):
            rt.call(id_text(new_id()), "deposit", 5)
        with pytest.raises(TaskNotFound):
            rt.call("Account", "deposit", 5)


def test_a_task_is_no_actor(home: Path):
    desk = StoreDesk(Store, home, map_size=1 << 20)
    record = add_task(desk.store)
    desk.flush()
    assert desk.store.close(10) is None
    with Runtime.connect(home) as rt, pytest.raises(InvalidOption, match="is no actor"):
        rt.dead_letters(id_text(record.id))


# --- asyncio ---


def test_look_ups_of_an_async_runtime(home: Path, troupe: list[Record]):
    async def main() -> None:
        rt = AsyncRuntime.connect(home)
        found = await rt.lookup(Account, "ada")
        assert isinstance(found, AsyncActorRef)
        assert await rt.lookup(Account, "bob") is None
        assert await found.is_alive()
        assert (await found.status()).state == "idle"
        refs = await rt.actors(Account)
        assert refs[0] == found
        assert len(await rt.dead_letters(found)) == 5
        with pytest.raises(ActorDeadError):
            await rt.call("Account/bob", "deposit", 5)
        with pytest.raises(ConnectTimeout):
            await rt.redrive(found, timeout=0.01)
        await rt.close()

    asyncio.run(main())


def test_the_references_of_an_async_runtime(desk: Desk):
    async def main() -> None:
        rt = AsyncRuntime.connect(desk.rt.home)
        starting = asyncio.ensure_future(rt.actor(Account, "ada", "Ada"))
        peer = await asyncio.to_thread(desk.it.peer)
        _, number, row = await asyncio.to_thread(peer.next)
        peer.tell((Answer.OK, number, (row[0], True)))
        ref = await starting
        assert isinstance(ref, AsyncActorRef)
        assert (ref.id, ref.name, ref.class_name) == (ref.sync.id, "ada", NAME)

        calling = asyncio.ensure_future(ref.call(Account.deposit, 5))
        _, number, *_ = await asyncio.to_thread(peer.next)
        peer.tell((Answer.OK, number, ok(5)))
        assert await calling == 5

        later = ref.submit(Account.deposit, 5)
        assert isinstance(later, ActorFuture)
        _, number, *_ = await asyncio.to_thread(peer.next)
        peer.tell((Answer.OK, number, ok(10)))
        assert await later == 10

        for telling in (ref.tell(1), ref.cast(Account.deposit, 5)):
            told = asyncio.ensure_future(telling)
            op, number, _ = await asyncio.to_thread(peer.next)
            assert op == Ask.TELL
            peer.tell((Answer.OK, number, None))
            assert await told is None

        asking = asyncio.ensure_future(ref.ask(1))
        _, number, *_ = await asyncio.to_thread(peer.next)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await asyncio.to_thread(peer.next) == (Ask.UNASK, number)
        with pytest.raises(AskTimeout):
            await ref.options(timeout=0.01).ask(1)
        _, number, *_ = await asyncio.to_thread(peer.next)
        assert await asyncio.to_thread(peer.next) == (Ask.UNASK, number)
        assert not rt.sync._client._waits
        await rt.close()

    asyncio.run(main())
