"""Task ids. They are UUIDv7: ids sort by the time they were made, so that inserts into the store append."""

from __future__ import annotations

from uuid import UUID

import uuid_utils

from .errors import InvalidValue


def new_id() -> bytes:
    """A new id of 16 bytes. Ids that one process makes in turn sort in that order. Safe after a fork."""
    made: bytes = uuid_utils.uuid7().bytes
    return made


def id_text(id: bytes) -> str:
    """The canonical text form, as users see it."""
    digits = id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def id_bytes(text: str | UUID) -> bytes:
    """The 16 bytes of a canonical text or of a UUID; InvalidValue for anything else."""
    if isinstance(text, UUID):
        return text.bytes
    try:
        # fromhex ignores blanks, so the text made from the result is compared; capitals are allowed.
        id = bytes.fromhex(text.replace("-", ""))
        if id_text(id) == text.lower():
            return id
    except (ValueError, AttributeError, TypeError):
        pass
    raise InvalidValue(f"{text!r:.80} is not a task id (a UUID such as 0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d)")


def is_task_id(id: object) -> bool:
    """Whether this is 16 bytes with UUID version 7."""
    return isinstance(id, bytes) and len(id) == 16 and id[6] >> 4 == 7
