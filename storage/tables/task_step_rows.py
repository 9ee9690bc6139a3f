"""The rows of steps: what a task, or an actor for one of its messages, has done and need not do again.

They are in the table of class actors, beside the rows that an actor has.

============================ ===========================================================================
key                          value
============================ ===========================================================================
01, id, 02, label            msgpack of [time, name, encoded value]: a step of a task
01, id, 02, letter's id,     the same: a step of an actor, for this letter
label
============================ ===========================================================================

The label says by what the step is known; see `actors/step_label.py`. Times are seconds since the epoch. The rows go
with the record of the task or actor. Those of a letter go once it is handled; those of a dead letter stay for its
redrive.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgpack

from .actor_rows import OWN, Range
from .schema import ID_BYTES, after_prefix

#: The byte after the id.
STEP: Final = b"\x02"

_HEAD: Final = 1 + ID_BYTES + 1


class StepRow(NamedTuple):
    """A step that is done."""

    time: float
    name: str
    #: The encoded value.
    value: bytes


def step_key(id: bytes, label: bytes, letter: bytes = b"") -> bytes:
    """The key of a step's row. `letter`: of an actor, the id of the letter that it handles."""
    return OWN + id + STEP + letter + label


def steps_of(id: bytes, letter: bytes = b"") -> Range:
    """The steps of a task or actor, or those of one letter."""
    prefix = OWN + id + STEP + letter
    return prefix, after_prefix(prefix)


def label_in(key: bytes) -> bytes:
    """The label in the key of a row; of an actor with the letter's id before it."""
    return key[_HEAD:]


def pack_step(time: float, name: str, value: bytes) -> bytes:
    """The value of a row."""
    packed: bytes = _PACK((time, name, value))
    return packed


def unpack_step(row: bytes) -> StepRow:
    """The step of a row; ValueError if the bytes are none."""
    try:
        fields: Any = msgpack.unpackb(row, use_list=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"not a step: {error}") from error
    if type(fields) is not tuple or len(fields) != 3:
        raise ValueError("not a step: it has not 3 fields")
    time, name, value = fields
    if type(time) not in (float, int) or type(name) is not str or type(value) is not bytes:
        raise ValueError("not a step: a field of the wrong type")
    return StepRow(time, name, value)


_PACK: Final = msgpack.Packer(autoreset=True).pack
