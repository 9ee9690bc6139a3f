"""Messages over a packet socket, large ones and descriptors among them."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from understudy.actors.errors import ProtocolError
from understudy.supervisor.wire import packets


def test_a_message_arrives_with_its_descriptors():
    ours, theirs = packets.pair()
    reader, writer = os.pipe()
    with ours, theirs:
        (packet,) = packets.cut({"spawn": 1})
        packets.send_packet(ours, packet, [writer])
        os.close(writer)
        received = packets.Inlet(theirs).receive()
        assert received is not None
        message, (fd,) = received
        assert message == {"spawn": 1}
        assert not os.get_inheritable(fd)
        os.write(fd, b"x")
        assert os.read(reader, 1) == b"x"
        os.close(fd)
        os.close(reader)


@pytest.mark.parametrize("size", [0, packets.LIMIT - 20, packets.LIMIT, 3 * packets.LIMIT, 5_000_000])
def test_any_size_arrives_in_order(size: int):
    ours, theirs = packets.pair()
    sent: list[dict[str, Any]] = [{"load": "x" * size, "n": n} for n in range(3)]

    def send_all() -> None:
        for message in sent:
            packets.send(ours, message)

    with ours, theirs:
        sender = threading.Thread(target=send_all)
        sender.start()
        inlet = packets.Inlet(theirs)
        assert [inlet.receive() for _ in sent] == [(message, []) for message in sent]
        sender.join()


def test_file_names_that_are_no_text_survive():
    message = {"path": os.fsdecode(b"/caf\xe9")}
    ours, theirs = packets.pair()
    with ours, theirs:
        packets.send(ours, message)
        assert packets.Inlet(theirs).receive() == (message, [])


def test_half_a_message_is_none_yet():
    ours, theirs = packets.pair()
    theirs.setblocking(False)
    first, last = packets.cut({"x": "y" * packets.LIMIT})
    inlet = packets.Inlet(theirs)
    with ours, theirs:
        packets.send_packet(ours, first)
        with pytest.raises(BlockingIOError):
            inlet.receive()
        packets.send_packet(ours, last)
        assert inlet.receive() is not None


@pytest.mark.parametrize("with_unread", [False, True])
def test_the_end_is_none(with_unread: bool):
    ours, theirs = packets.pair()
    with theirs:
        if with_unread:  # The kernel calls that a reset.
            packets.send(theirs, {})
        ours.close()
        assert packets.Inlet(theirs).receive() is None


def test_too_many_descriptors_are_an_error_not_a_loss():
    ours, theirs = packets.pair()
    with ours, theirs:
        packets.send_packet(ours, packets.cut({})[0], [0] * (packets.MAX_FDS + 2))
        with pytest.raises(ProtocolError, match="cut off"):
            packets.Inlet(theirs).receive()
