"""A client's connection, against a supervisor of paper: whatever happens, nobody is left waiting."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mimic import Mimic, Peer, mimic, welcome
from understudy.actors.errors import (
    HomeError,
    MailboxFull,
    NotRunning,
    ProtocolError,
    SupervisorLost,
    TaskNotFound,
    UnderstudyError,
)
from understudy.supervisor.client import connection as connection_module
from understudy.supervisor.client.connection import GATHERED, GATHERED_BYTES, Connection, Reply
from understudy.supervisor.home import Home
from understudy.supervisor.wire.codec import encode
from understudy.supervisor.wire.messages import Answer, Ask
from waiting import until


class Client:
    def __init__(self, home: Path, it: Mimic) -> None:
        self.lost: list[UnderstudyError] = []
        self.connection = Connection(Home(home), lambda _connection, error: self.lost.append(error)).open()
        self.peer = it.peer()


@pytest.fixture
def client(home: Path) -> Iterator[Client]:
    with mimic(home) as it:
        made = Client(home, it)
        yield made
        made.connection.close()


def close_at_once(peer: Peer) -> None:
    peer.next()
    peer.close()


def refuse(peer: Peer) -> None:
    peer.next()
    peer.tell((Answer.ERROR, 0, "ProtocolError", "another version", {}))


def garbage(peer: Peer) -> None:
    peer.sock.sendall(b"SSH-2.0-OpenSSH\r\n")


@pytest.mark.parametrize(
    ("first", "error", "says"),
    [
        (close_at_once, NotRunning, "closed the connection"),
        (refuse, ProtocolError, "another version"),
        (garbage, ProtocolError, "not a frame"),
    ],
)
def test_a_greeting_that_fails(home: Path, first: Callable[[Peer], None], error: type[Exception], says: str):
    with mimic(home, first), pytest.raises(error, match=says):
        Connection(Home(home), lambda _connection, _error: None).open()


def test_one_that_does_not_answer(home: Path):
    with mimic(home, lambda _peer: None), pytest.raises(NotRunning, match="does not answer"):
        Connection(Home(home), lambda _connection, _error: None).open(0.05)


def test_one_whose_queue_of_callers_stays_full(home: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_home: Home, _timeout: float) -> None:
        raise TimeoutError("it accepts no connection")

    monkeypatch.setattr(Home, "connect", full)
    with pytest.raises(NotRunning, match="accepts no connection"):
        Connection(Home(home), lambda _connection, _error: None).open()


def test_nobody_there(home: Path):
    with pytest.raises(NotRunning, match="understudy serve"):
        Connection(Home(home), lambda _connection, _error: None).open()
    home.mkdir()
    (home / "supervisor.sock").mkdir()
    with pytest.raises((HomeError, NotRunning)):
        Connection(Home(home), lambda _connection, _error: None).open()


def test_answers_in_any_order_from_any_thread(client: Client):
    replies = [client.connection.request(Ask.TREE) for _ in range(3)]
    assert [client.peer.next() for _ in range(3)] == [(Ask.TREE, n) for n in (1, 2, 3)]
    client.peer.tell(
        (Answer.OK, 3, "three"),
        (Answer.ERROR, 1, "MailboxFull", "full", {"messages": 4}),
        (Answer.OK, 2, None),
    )
    assert replies[2].result(10) == "three"
    assert replies[1].result(10) is None
    with pytest.raises(MailboxFull) as caught:
        replies[0].result(10)
    assert caught.value.messages == 4
    got: list[Any] = []
    threads = [
        threading.Thread(target=lambda n=n: got.append(client.connection.request(Ask.TREE, n).result(10)))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        _, number, field = client.peer.next()
        client.peer.tell((Answer.OK, number, field))
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(20))


def test_it_may_be_closed_by_what_an_answer_calls(client: Client):
    reply = client.connection.request(Ask.TREE)
    reply.add_done_callback(lambda _: client.connection.close())
    client.peer.next()
    client.peer.tell((Answer.OK, 1, None))
    assert reply.result(10) is None
    until(lambda: not client.connection._thread.is_alive())


def test_a_send_that_ctrl_c_cuts_short_is_the_last_one(client: Client, monkeypatch: pytest.MonkeyPatch):
    class Cut:
        def send(self, data: bytes, _flags: int) -> int:
            sock.sendall(data[:-1])
            raise KeyboardInterrupt

        def __getattr__(self, name: str) -> Any:
            return getattr(sock, name)

    sock = client.connection._sock
    assert sock is not None
    monkeypatch.setattr(client.connection, "_sock", Cut())
    with pytest.raises(KeyboardInterrupt):
        client.connection.request(Ask.TREE)
    monkeypatch.undo()
    until(lambda: client.lost)
    with pytest.raises(SupervisorLost):
        client.connection.request(Ask.TREE).result(10)


def test_a_signal_handler_may_ask_while_its_thread_waits(client: Client):
    connection = client.connection
    told: list[Any] = []

    def ask(_number: int, _frame: object) -> None:
        told.append(connection.request(Ask.TREE).result(10))

    def answer() -> None:
        client.peer.next()
        until(waits.is_set)
        signal.pthread_kill(main, signal.SIGUSR1)
        client.peer.next()
        client.peer.tell((Answer.OK, 2, "two"), (Answer.OK, 1, "one"))

    waits, main = threading.Event(), threading.get_ident()
    before = signal.signal(signal.SIGUSR1, ask)
    try:
        answering = threading.Thread(target=answer)
        reply = connection.request(Ask.TREE)
        answering.start()
        waits.set()
        assert reply.result(10) == "one"
        answering.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert told == ["two"]


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (lambda peer: peer.close(), "its connection broke"),
        (lambda peer: peer.tell((Answer.GOODBYE, "it was stopped")) or peer.close(), "it was stopped"),
    ],
    ids=["broke", "goodbye"],
)
def test_its_end_is_told_to_everybody_who_waits(client: Client, end: Callable[[Peer], None], why: str):
    rows: list[Any] = []
    replies = [
        client.connection.request(Ask.TREE),
        client.connection.request(Ask.WAIT, [], on_rows=rows.append),
    ]
    end(client.peer)
    for reply in replies:
        with pytest.raises(SupervisorLost, match=why):
            reply.result(10)
    until(lambda: client.lost)
    assert client.connection.lost is client.lost[0]
    with pytest.raises(SupervisorLost):
        client.connection.request(Ask.TREE).result(10)


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1",
        encode((Answer.OK,)),
        encode((Answer.ERROR, 1)),
        encode((Answer.ERROR, 1, ["kind"], {}, 3)),
        encode((Answer.ENDED, 2, 5)),
        encode((Answer.ENDED, 2, [(1,)])),
    ],
    ids=lambda data: data.hex(),
)
def test_what_cannot_be_ends_it_and_leaves_nobody_waiting(client: Client, data: bytes):
    def on_rows(rows: Any) -> None:
        for id, _, _, _ in rows:
            assert isinstance(id, bytes)

    replies = [client.connection.request(Ask.TREE), client.connection.request(Ask.WAIT, [], on_rows=on_rows)]
    client.peer.sock.sendall(data)
    for reply in replies:
        with pytest.raises(ProtocolError):
            reply.result(10)
    until(lambda: client.lost)
    assert isinstance(client.lost[0], ProtocolError)


def test_an_error_about_the_connection(client: Client):
    reply = client.connection.request(Ask.TREE)
    client.peer.tell((Answer.ERROR, 0, "ProtocolError", "an invalid frame", {}))
    with pytest.raises(ProtocolError, match="invalid frame"):
        reply.result(10)


def test_rows_come_before_the_answer(client: Client):
    rows: list[Any] = []
    reply = client.connection.request(Ask.WAIT, [b"i"], on_rows=rows.extend)
    client.peer.tell((Answer.ENDED, 1, [(b"i", "completed", None, None)]), (Answer.OK, 1, None))
    assert reply.result(10) is None
    assert rows == [(b"i", "completed", None, None)]
    client.peer.tell((Answer.ENDED, 1, [(b"late", "completed", None, None)]), (Answer.OK, 1, None), (77,))
    assert client.connection.request(Ask.TREE).number == 2
    client.peer.tell((Answer.OK, 2, None))
    assert len(rows) == 1


def test_a_forgotten_wait_is_forgotten_on_both_sides(client: Client):
    rows: list[Any] = []
    reply = client.connection.request(Ask.WAIT, [b"i"], on_rows=rows.extend)
    client.connection.forget(reply)
    client.connection.forget(reply)
    assert [client.peer.next() for _ in range(2)] == [(Ask.WAIT, 1, (b"i",)), (Ask.UNWAIT, 1)]
    # What was on its way is of no interest, an error included.
    client.peer.tell(
        (Answer.ENDED, 1, [(b"i", "failed", None, None)]), (Answer.ERROR, 1, "TaskNotFound", "no", {})
    )
    tree = client.connection.request(Ask.TREE)
    client.peer.tell((Answer.OK, 2, "tree"))
    assert tree.result(10) == "tree"
    assert rows == []
    assert not reply.done()


@pytest.mark.parametrize("lock", ["_sending", "_mutex"])
def test_a_wait_may_be_forgotten_in_a_thread_that_holds_a_lock(client: Client, lock: str):
    # The garbage collector ends a generator that waits wherever it runs.
    reply = client.connection.request(Ask.WAIT, (b"i",))
    with getattr(client.connection, lock):
        forgets = threading.Thread(target=client.connection.forget, args=(reply,))
        forgets.start()
        forgets.join(10)
        assert not forgets.is_alive()
    client.connection.request(Ask.TREE)
    frames = [client.peer.next() for _ in range(3)]
    assert sorted(frame[0] for frame in frames) == sorted((Ask.WAIT, Ask.TREE, Ask.UNWAIT))


def test_a_subscription_is_told_when_it_is_confirmed(client: Client):
    events: list[Any] = []
    subscribed = client.connection.subscribe("task", b"stream", False, events.extend)
    assert client.peer.next() == (Ask.SUBSCRIBE, 1, "task", b"stream", False)
    assert not subscribed.done()
    client.peer.tell((Answer.OK, 1, None), (Answer.EVENT, 1, [("event",)]))
    subscribed.result(10)
    until(lambda: events == [("event",)])


def test_a_subscription_that_is_refused(home: Path):
    def no(peer: Peer) -> None:
        peer.greet()
        peer.next()
        peer.tell((Answer.ERROR, 1, "TaskNotFound", "no", {}))

    with mimic(home, no):
        connection = Connection(Home(home), lambda _connection, _error: None).open()
        with pytest.raises(TaskNotFound):
            connection.subscribe(None, None, False, lambda _: None).result(10)
        connection.close()


def test_close_tells_those_who_wait_and_nobody_else(client: Client):
    reply = client.connection.request(Ask.TREE)
    client.connection.close()
    client.connection.close()
    with pytest.raises(SupervisorLost, match="was closed"):
        reply.result(10)
    assert client.lost == []


def test_facts_are_those_of_the_supervisor(home: Path):
    with mimic(home, lambda peer: peer.tell(welcome(pid=77, embedded=True))):
        connection = Connection(Home(home), lambda _connection, _error: None).open()
        assert (connection.facts["pid"], connection.facts["embedded"]) == (77, True)
        connection.close()


def test_a_request_does_not_wait_for_a_supervisor_that_does_not_read(
    client: Client, monkeypatch: pytest.MonkeyPatch
):
    connection = client.connection
    # The first is larger than the socket takes. The others come after it, each whole.
    values = [bytes([n]) * size for n, size in enumerate((8 << 20, 1, 3 << 20, 100))]
    for value in values:
        connection.request(Ask.SEND, [(b"i" * 16, value)])
    assert connection.is_full
    room = connection.room()
    assert not room.done()
    reply = connection.request(Ask.WAIT, [b"i" * 16], on_rows=lambda _: None)
    connection.forget(reply)
    frames = [client.peer.next() for _ in range(6)]
    assert [frame[2][0][1] for frame in frames[:4]] == values
    assert [frame[0] for frame in frames[4:]] == [Ask.WAIT, Ask.UNWAIT]
    assert room.result(10) is None
    until(lambda: not connection._unsent)
    assert not connection.is_full
    assert connection.room().done()
    until(lambda: not [t for t in threading.enumerate() if t.name == "understudy-client-sends"])
    connection.request(Ask.TREE)
    assert client.peer.next()[0] == Ask.TREE


@pytest.mark.parametrize(
    "end", [lambda client: client.peer.close(), lambda client: client.connection.close()]
)
def test_its_end_wakes_who_waits_for_room(client: Client, end: Callable[[Client], None]):
    reply = client.connection.request(Ask.SEND, [(b"i" * 16, bytes(8 << 20))])
    room = client.connection.room()
    end(client)
    assert room.result(10) is None
    with pytest.raises(SupervisorLost):
        reply.result(10)
    assert client.connection.room().done()
    until(lambda: not [t for t in threading.enumerate() if t.name == "understudy-client-sends"])


def test_one_that_is_closed_while_it_is_made(home: Path):
    with mimic(home, lambda _peer: None):
        connection = Connection(Home(home), lambda _connection, _error: None)
        threading.Timer(0.01, connection.close).start()
        with pytest.raises(NotRunning):
            connection.open(30)


def test_a_dropped_reply_is_not_set(client: Client):
    reply, other = client.connection.request(Ask.TREE), client.connection.request(Ask.TREE)
    reply.drop()
    client.peer.tell((Answer.OK, 1, "one"), (Answer.OK, 2, "two"))
    assert other.result(10) == "two"
    assert not reply.done()
    other.drop()


def post(connection: Connection, field: Any) -> Reply:
    reply = Reply()
    connection.post(reply, Ask.TREE, (field,), soon=True)
    return reply


@pytest.fixture
def gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request follows the one before it, however slow the machine is."""
    monkeypatch.setattr(connection_module, "FOLLOWS", 60.0)


@pytest.mark.usefixtures("gathers")
def test_requests_gather_until_one_goes_at_once(client: Client, monkeypatch: pytest.MonkeyPatch):
    connection, sent = client.connection, []
    monkeypatch.setattr(connection, "_wake_sender", lambda: None)
    send = connection._send

    def note(data: bytes) -> None:
        sent.append(len(data))
        send(data)

    monkeypatch.setattr(connection, "_send", note)
    replies = [post(connection, n) for n in range(10)]
    replies.append(connection.request(Ask.TREE, 10))
    assert [client.peer.next()[2] for _ in replies] == list(range(11))
    # The first one follows none.
    assert len(sent) == 2
    client.peer.tell(*((Answer.OK, reply.number, n) for n, reply in enumerate(replies)))
    assert [reply.result(10) for reply in replies] == list(range(11))
    del sent[:]
    for n in range(GATHERED):
        post(connection, n)
    assert [client.peer.next()[2] for _ in range(GATHERED)] == list(range(GATHERED))
    assert len(sent) == 1, "they are many"
    post(connection, 1)
    post(connection, bytes(GATHERED_BYTES))
    assert [client.peer.next()[2] for _ in range(2)] == [1, bytes(GATHERED_BYTES)]
    post(connection, 2)
    connection.close()
    assert client.peer.next()[2] == 2


@pytest.mark.usefixtures("gathers")
def test_what_gathers_is_sent_also_if_nobody_waits_for_it(client: Client):
    for n in range(3):
        post(client.connection, n)
        assert client.peer.next()[2] == n
    client.connection.close()
    until(lambda: not [t for t in threading.enumerate() if t.name == "understudy-client-gathers"])


@pytest.mark.usefixtures("gathers")
def test_what_gathers_is_lost_with_its_connection(client: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client.connection, "_wake_sender", lambda: None)
    replies = [post(client.connection, n) for n in range(3)]
    client.peer.close()
    for reply in replies:
        with pytest.raises(SupervisorLost):
            reply.result(10)
    with pytest.raises(SupervisorLost):
        post(client.connection, 3).result(10)
    client.connection.flush()
