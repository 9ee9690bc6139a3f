"""Metadata of a task: short texts by which a program finds its tasks again. The runtime does nothing else with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..errors import InvalidOption

#: Entries that one task may have.
ENTRIES_LIMIT: Final = 32
#: Characters of a key, and of a value.
KEY_LIMIT: Final = 64
VALUE_LIMIT: Final = 1_024


def checked(metadata: object) -> dict[str, str] | None:
    """A copy of the mapping; None if it is None or empty. Raises InvalidOption."""
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping) or len(metadata) > ENTRIES_LIMIT:
        raise InvalidOption(
            f"metadata must be a mapping of texts with at most {ENTRIES_LIMIT} entries: {metadata!r:.80}"
        )
    for key, value in metadata.items():
        if not (isinstance(key, str) and 0 < len(key) <= KEY_LIMIT and _is_utf8(key)):
            raise InvalidOption(f"a key of metadata must be text of 1 to {KEY_LIMIT} characters: {key!r:.80}")
        if not (isinstance(value, str) and len(value) <= VALUE_LIMIT and _is_utf8(value)):
            raise InvalidOption(
                f"metadata[{key!r}] must be text of at most {VALUE_LIMIT:,} characters: {value!r:.80}. Larger or "
                "other data are arguments"
            )
    return {str(key): str(value) for key, value in metadata.items()} or None


def _is_utf8(text: str) -> bool:
    """Whether it can be stored: lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
