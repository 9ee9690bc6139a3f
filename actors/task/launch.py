"""`Launch`: the settings of one start of a task, beside the task's own options."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, cast
from uuid import UUID

from ..checks import check_choice, check_flag, is_number
from ..errors import InvalidOption
from ..ids import id_bytes, id_text
from .limit import checked_limit_key, checked_unique_key
from .metadata import checked as checked_metadata

#: Bytes an idempotency key may have, as UTF-8.
KEY_LIMIT: Final = 1024
#: The longest delay, in seconds: ten years.
DELAY_LIMIT: Final = 10 * 366 * 24 * 3600.0

OnEnded = Literal["return", "start"]


@dataclass(frozen=True, slots=True)
class Launch:
    """The settings of one start, beside the task's own options."""

    key: str | None = None
    """Idempotency key: a second start with the same key gives the newest task with this key."""
    delay: float | None = None
    """Seconds before the first attempt may begin."""
    at: float | None = None
    """Earliest time of the first attempt, in seconds since the epoch."""
    stream_id: str | None = None
    """Correlation id; by default that of the task that starts this one, else a new one."""
    on_ended: OnEnded = "return"
    """What a start does if the task with the same key has ended: return it, or start a new one."""
    metadata: dict[str, str] | None = None
    """Short texts by which to find the task; None for none."""
    limit_key: str | None = None
    """The key at the task's limit; None for that of `limit_by`."""
    unique_key: str | None = None
    """The key by which the task is unique; None for that of `unique_by`."""
    link: bool | None = None
    """Whether the task is cancelled when the one that starts it has ended."""

    def then(self, later: Launch) -> Launch:
        """A copy with the settings of `later` on top."""
        when = (later.delay, later.at) if later.due(0) is not None else (self.delay, self.at)
        on_ended = later.on_ended if later.key else self.on_ended
        metadata = {**(self.metadata or {}), **(later.metadata or {})} or None
        return Launch(
            later.key or self.key,
            *when,
            later.stream_id or self.stream_id,
            on_ended,
            metadata,
            later.limit_key or self.limit_key,
            later.unique_key or self.unique_key,
            self.link if later.link is None else later.link,
        )

    def extras(self) -> dict[str, Any]:
        """What a START row has among the options, although it belongs to the one start."""
        extras: dict[str, Any] = {} if self.metadata is None else {"metadata": self.metadata}
        if self.limit_key is not None:
            extras["limit_key"] = self.limit_key
        if self.unique_key is not None:
            extras["unique_key"] = self.unique_key
        if self.link:
            extras["linked"] = True
        return extras

    def packed_key(self) -> str | tuple[str, str] | None:
        """The key and `on_ended`, as in a START row."""
        return self.key if self.key is None or self.on_ended == "return" else (self.key, self.on_ended)

    def due(self, now: float) -> float | None:
        """The earliest start as a time since the epoch, or None for at once."""
        return now + self.delay if self.delay is not None else self.at


def checked_launch(
    key: str | None,
    delay: float | None,
    at: float | datetime | None,
    stream_id: str | UUID | None,
    on_ended: OnEnded,
    metadata: Mapping[str, str] | None,
    limit_key: str | None = None,
    unique_key: str | None = None,
    link: bool | None = None,
) -> Launch:
    """The settings as `.options()` takes them, checked. InvalidOption for one that is out of range."""
    if link is not None:
        check_flag("link", link)
    check_choice("on_ended", on_ended, ("return", "start"))
    if on_ended != "return" and key is None:
        raise InvalidOption("on_ended needs key=: it says what to do if the task of the key has ended")
    if key is not None:
        checked_key(key)
    if delay is not None and at is not None:
        raise InvalidOption("give delay= or at=, not both")
    if delay is not None and not (is_number(delay) and 0 <= delay <= DELAY_LIMIT):
        raise InvalidOption(f"delay must be seconds from 0 to ten years: {delay!r}")
    if at is not None and not is_number(at):
        if not isinstance(at, datetime) or at.tzinfo is None:
            raise InvalidOption(f"at must be seconds since the epoch or a datetime with a time zone: {at!r}")
        at = at.timestamp()
    if at is not None and not 0 <= cast("float", at) <= time.time() + DELAY_LIMIT:
        raise InvalidOption(f"at must be a time before ten years from now: {at!r}")
    return Launch(
        key,
        None if delay is None else float(delay),
        None if at is None else float(cast("float", at)),
        None if stream_id is None else id_text(id_bytes(stream_id)),
        on_ended,
        checked_metadata(metadata),
        checked_limit_key(limit_key),
        checked_unique_key(unique_key),
        link,
    )


def checked_key(key: object) -> str:
    """The idempotency key; InvalidOption if it is none."""
    if isinstance(key, str) and 0 < utf8_length(key) <= KEY_LIMIT:
        return key
    raise InvalidOption(f"key must be text of 1 to {KEY_LIMIT:,} bytes: {key!r:.80}")


def utf8_length(text: str) -> int:
    """Its length in bytes; 0 for text with half a surrogate pair, which is invalid."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 0
