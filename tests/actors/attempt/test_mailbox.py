from __future__ import annotations

import threading

import pytest
from pykka._envelope import Envelope

from understudy.actors.attempt.mailbox import PERFORM, Mailbox


def test_the_first_envelope_is_the_order_to_perform_the_rest_is_mail() -> None:
    mailbox = Mailbox()
    mailbox.put(Envelope((1, b"a")))
    assert mailbox.get() is PERFORM
    mailbox.put(Envelope((2, b"b")))
    assert list(mailbox.messages) == [(1, b"a"), (2, b"b")]
    assert [mailbox.get().message, mailbox.get().message] == [(1, b"a"), (2, b"b")]


def test_empty_means_that_nothing_is_left_to_clear_away() -> None:
    mailbox = Mailbox()
    assert not mailbox.empty()
    mailbox.get()
    assert mailbox.empty()
    mailbox.put(Envelope((1, b"a")))
    assert not mailbox.empty()
    mailbox.get()
    assert mailbox.empty()


def test_every_change_rings_for_all_who_listen() -> None:
    mailbox, rung = Mailbox(), []

    def one() -> None:
        rung.append(1)

    def two() -> None:
        rung.append(2)

    mailbox.wake()
    mailbox.listen(one)
    mailbox.listen(two)
    mailbox.put(Envelope((1, b"a")))
    assert rung == [1, 2]
    mailbox.put_all([(2, b"b"), (3, b"c")])
    assert rung == [1, 2, 1, 2]
    assert list(mailbox.messages) == [(1, b"a"), (2, b"b"), (3, b"c")]
    mailbox.unlisten(one)
    mailbox.close()
    assert mailbox.closed
    mailbox.unlisten(two)
    mailbox.wake()
    assert rung == [1, 2, 1, 2, 2]
    assert mailbox.rings == ()


def test_one_who_stops_listening_while_it_rings() -> None:
    mailbox = Mailbox()

    def once() -> None:
        mailbox.unlisten(once)

    for _ in range(3):
        mailbox.listen(once)
    mailbox.wake()
    assert mailbox.rings == ()


def test_letters_of_one_thread_stay_in_order() -> None:
    mailbox = Mailbox()
    threads = [
        threading.Thread(target=lambda n=n: [mailbox.put(Envelope((i, b"%d" % n))) for i in range(2_000)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(4):
        assert [i for i, who in mailbox.messages if who == b"%d" % n] == list(range(2_000))


def test_listeners_come_and_go_on_many_threads() -> None:
    mailbox = Mailbox()

    def come_and_go() -> None:
        def ring() -> None: ...

        for _ in range(2_000):
            mailbox.listen(ring)
            mailbox.wake()
            mailbox.unlisten(ring)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mailbox.rings == ()


def test_a_closed_one_is_open_for_a_message_that_is_asked_for() -> None:
    mailbox = Mailbox()
    with mailbox.opened():
        assert not mailbox.closed
    mailbox.close()
    with mailbox.opened():
        pass
    assert not mailbox.closed, "its host closes it after the message"
    mailbox.close()
    rung: list[int] = []
    mailbox.listen(lambda: rung.append(1))
    with pytest.raises(LookupError), mailbox.opened():
        raise LookupError
    assert mailbox.closed
    assert rung == [1]
