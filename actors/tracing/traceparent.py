"""The trace context of a start, as text: a `traceparent` header of the W3C (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import re
from typing import Final

from ..errors import InvalidOption

_FORM: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def is_traceparent(text: object) -> bool:
    """Whether this is a traceparent of version 00."""
    return isinstance(text, str) and _FORM.fullmatch(text) is not None


def checked_trace(text: object) -> str | None:
    """The text, or None. Raises InvalidOption for anything else than a traceparent."""
    if text is None or is_traceparent(text):
        return text  # type: ignore[return-value]  # it is text
    raise InvalidOption(f"the trace of a start must be a W3C traceparent of version 00: {text!r:.80}")
