"""Random bytes for all code that reads bytes: a round trip gives the same, or a named error refuses them.

    python tests/torture/fuzz.py --seconds 60 [--seed 1]

Coverage guides it if atheris is installed (`pip install atheris`); otherwise it only mutates valid bytes. The
first byte selects the reader of the rest. At the first fault it prints the bytes in hexadecimal and exits
with code 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgpack

try:
    import atheris
except ImportError:
    atheris = None

with atheris.instrument_imports() if atheris else nullcontext():
    from understudy.actors import values
    from understudy.actors.errors import InvalidOption, InvalidValue, ProtocolError
    from understudy.actors.task.options import Options
    from understudy.storage.tables.record import Record, state_of
    from understudy.supervisor.rules import report_checks
    from understudy.supervisor.text import escape, value_json
    from understudy.supervisor.wire.codec import Decoder, encode

#: Bytes of memory that reading one input may take; an input has at most 4,096 bytes.
MEMORY = 64 << 20


def frames(data: bytes) -> None:
    """The same frames in any chunks; no error but ProtocolError."""
    step = 1 + data[0] % 50 if data else 1
    whole, pieces = [], []
    try:
        whole += list(Decoder(1024).feed(data))
    except ProtocolError:
        whole.append(None)
    decoder = Decoder(1024)
    try:
        for start in range(0, len(data), step):
            pieces += list(decoder.feed(data[start : start + step]))
    except ProtocolError:
        pieces.append(None)
    good = [frame for frame in whole if frame is not None]
    assert repr(pieces[: len(good)]) == repr(good), "chunks make a difference"
    for frame in good:
        assert repr(list(Decoder(1 << 20).feed(encode(frame)))) == repr([frame])


def a_value(data: bytes) -> None:
    """A value that can be written again, or InvalidValue."""
    try:
        value = values.unpack(data)
    except InvalidValue:
        return
    again = values.pack(value)
    assert values.pack(values.unpack(again)) == again


def a_record(data: bytes) -> None:
    """A record or ValueError; `state_of` gives the same state or also refuses."""
    try:
        state_of(data)
    except ValueError:
        pass
    try:
        Record.unpack(bytes(16), data)
    except ValueError:
        return


def json_of(data: bytes) -> None:
    """The command line's text for a stored value is printable."""
    try:
        text = value_json.dumps(value_json.unpack(data), indent=True)
    except InvalidValue:
        return
    assert all(char.isprintable() or char == "\n" for char in text)
    assert escape.one_line(text).isprintable()


def a_report(data: bytes) -> None:
    """Fields of a worker's frames are accepted or refused; accepted ones can be stored and read again."""
    for _, *fields in _frames_of(data):
        stored: list[Any] = []
        with suppress(ProtocolError, ValueError, TypeError, LookupError):
            report_checks.check_done(fields[0])
            stored += [row[3] for row in fields[0]]
        with suppress(ProtocolError, ValueError, TypeError):
            report_checks.check_checkpoint(*fields, 1024)
            stored.append(fields[1])
        with suppress(ProtocolError, ValueError, TypeError):
            report_checks.check_progress(*fields)
            stored.append(fields)
        with suppress(ProtocolError, ValueError, TypeError, LookupError):
            report_checks.check_lines(fields[0])
            stored.append(list(fields[0]))
        msgpack.unpackb(msgpack.packb(stored))


def options(data: bytes) -> None:
    """The options of a start: Options or InvalidOption."""
    for frame in _frames_of(data):
        for field in frame[1:]:
            try:
                Options.unpack(field)
            except InvalidOption:
                continue


def _frames_of(data: bytes) -> list[Any]:
    try:
        return list(Decoder(1024).feed(data))
    except ProtocolError:
        return []


READERS: list[Callable[[bytes], None]] = [frames, a_value, a_record, json_of, a_report, options]

ERROR = ("ValueError", "wrong", "Traceback", ["ValueError"])
SEEDS: list[bytes] = [
    encode(
        (1, 2, [(bytes(16), "app:task", b"\x92\x90\x80", {"timeout": 5.0, "retry": [3, 1.0]}, "key", 1e9)])
    ),
    encode((2, bytes(16), b"value", ERROR, 0.5, 1, 1.0, 2.0)),
    encode((7, 0.5, 1.0, "note")) + encode((9, (1.0, "info", "text"), (2.0, "error", "\x1b[2J"))),
    encode(
        (3, {"timeout": 1, "grace": 2.5, "priority": 5, "isolate": True, "retry": [1, 2.0, "fixed", 3.0, 0]})
    ),
    values.pack(
        [datetime(2030, 1, 2, tzinfo=UTC), Decimal("1.5"), {1, 2}, {"a": [None, True, 2**70]}, b"x", 1.5]
    ),
    values.pack({frozenset({1}): {"deep": [[[[[]]]]]}, "text": "\x1b[31m\u202e"}),
    Record(bytes(16), "app:task", 1.0, bytes(16)).pack(),
    b"\xdc\x9c\x40" * 100,
    b"\xc7\x10\x06" + b"\x91" * 16,
]


def one_input(data: bytes) -> None:
    """Give the rest to the reader that the first byte selects."""
    if data:
        READERS[data[0] % len(READERS)](data[1:4097])


def mutated(rng: random.Random) -> bytes:
    """Valid bytes, with some of them changed, moved, doubled or cut off."""
    data = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randrange(8)):
        if not data:
            break
        at = rng.randrange(len(data))
        match rng.randrange(5):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                del data[at : at + rng.randrange(1, 9)]
            case 3:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 4:
                other = rng.choice(SEEDS)
                data[at:at] = other[rng.randrange(len(other)) :]
    return bytes((rng.randrange(len(READERS)),)) + bytes(data)


def by_mutation(seconds: float, seed: int) -> int:
    """Fuzz without coverage; returns the number of inputs."""
    rng = random.Random(seed)
    deadline = time.monotonic() + seconds
    count = 0
    while time.monotonic() < deadline:
        data = mutated(rng)
        measured = count % 50 == 0
        if measured:
            tracemalloc.start()
        try:
            one_input(data)
            assert not measured or tracemalloc.get_traced_memory()[1] < MEMORY, "it took too much memory"
        except BaseException:
            print(f"input {count}: {data.hex()}", file=sys.stderr)
            raise
        finally:
            if measured:
                tracemalloc.stop()
        count += 1
    return count


def main() -> None:
    """Fuzz for the given time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if atheris is None:
        print(f"{by_mutation(asked.seconds, asked.seed):,} inputs, by mutation of sound bytes: no fault")
        return
    # Begin with valid bytes for each reader, before the inputs that atheris finds.
    by_mutation(min(5, asked.seconds), asked.seed)
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={asked.seconds}",
            f"-seed={asked.seed}",
            "-max_len=4096",
            "-rss_limit_mb=1024",
        ],
        one_input,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
