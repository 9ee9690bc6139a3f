from __future__ import annotations

import os
import threading
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.errors import InvalidValue
from understudy.actors.ids import id_bytes, id_text, is_task_id, new_id


def test_new_ids_are_uuid7_and_sort_in_the_order_they_were_made() -> None:
    made = [new_id() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(is_task_id(id) and UUID(bytes=id).version == 7 for id in made[:100])


def test_threads_never_make_the_same_id() -> None:
    made: list[list[bytes]] = []
    threads = [
        threading.Thread(target=lambda: made.append([new_id() for _ in range(2_000)])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id for ids in made for id in ids}) == 16_000


@pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)  # the pipe is all we touch
def test_forked_processes_never_make_the_same_id() -> None:
    new_id()
    made: list[bytes] = []
    for _ in range(4):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writing, b"".join(new_id() for _ in range(500)))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
        os.waitpid(pid, 0)
        # The random part: ids of different moments differ in the time, which would hide a shared generator.
        made += [told[at + 8 : at + 16] for at in range(0, len(told), 16)]
    assert len(made) == len(set(made)) == 2_000


@given(st.binary(min_size=16, max_size=16))
def test_text_and_back(id: bytes) -> None:
    text = id_text(id)
    assert text == str(UUID(bytes=id))
    assert id_bytes(text) == id
    assert id_bytes(text.upper()) == id


GOOD = "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        GOOD[:-1],
        GOOD + "0",
        GOOD.replace("-", ""),
        "{" + GOOD + "}",
        "urn:uuid:" + GOOD,
        " " + GOOD,
        GOOD + "\n",
        GOOD.replace("4d", "_d"),
        GOOD.replace("4d", " d"),
        GOOD.replace("4d", "٤d"),
        GOOD[:8] + GOOD[9:13] + "-" + GOOD[13:],
        "\ud800",
        None,
        7,
        b"0" * 16,
        ["x" * 5000],
    ],
)
def test_anything_else_is_refused(text: object) -> None:
    with pytest.raises(InvalidValue, match="is not a task id") as caught:
        id_bytes(text)  # type: ignore[arg-type]  # that is the point
    assert len(str(caught.value)) < 300


def test_a_uuid_names_a_task_too() -> None:
    assert id_bytes(UUID(GOOD)) == id_bytes(GOOD) == UUID(GOOD).bytes


def test_is_task_id() -> None:
    assert is_task_id(new_id())
    assert not is_task_id(uuid4().bytes)
    assert not is_task_id(new_id()[:-1])
    assert not is_task_id(GOOD)
    assert not is_task_id(bytearray(new_id()))
