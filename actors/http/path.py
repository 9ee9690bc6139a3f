"""The path of a trigger: text, with parameters in braces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from ..errors import InvalidOption

#: Characters of a declared path.
PATH_LIMIT: Final = 500

#: What a segment may consist of: the characters that RFC 3986 allows there unescaped.
_TEXT: Final = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@]+")
_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")


@dataclass(frozen=True, slots=True)
class Path:
    """A declared path, as "/hooks/{name}"; "{rest:path}" as its last segment takes all that follows."""

    template: str
    pattern: re.Pattern[str]
    shape: tuple[str, ...]
    """Its segments, without the names of parameters: two triggers may not have the same."""

    @classmethod
    def of(cls, template: object) -> Self:
        """InvalidOption for text that is no such path."""
        if not isinstance(template, str) or not template.startswith("/") or len(template) > PATH_LIMIT:
            raise InvalidOption(
                f'a path is text of at most {PATH_LIMIT} characters that begins with "/": {template!r:.80}'
            )
        segments = template.split("/")[1:]
        names: list[str] = []
        shape: list[str] = []
        parts: list[str] = []
        for number, segment in enumerate(segments):
            is_last = number == len(segments) - 1
            if (parameter := _PARAMETER.fullmatch(segment)) is not None:
                name, rest = parameter.groups()
                if name in names:
                    raise InvalidOption(f"the path {template} has two parameters {name}")
                if rest and not is_last:
                    raise InvalidOption(f"in the path {template}, {segment} must be the last segment")
                names.append(name)
                shape.append("{:path}" if rest else "{}")
                parts.append(f"(?P<{name}>{'.+' if rest else '[^/]+'})")
            elif (_TEXT.fullmatch(segment) and segment not in (".", "..")) or (not segment and is_last):
                shape.append(segment)
                parts.append(re.escape(segment))
            else:
                raise InvalidOption(
                    f"the path {template!r:.80} has the segment {segment!r:.80}: a segment is a parameter in braces, "
                    "{name} or at the end {name:path}, or text of letters, digits and -._~!$&'()*+,;=:@"
                )
        return cls(template, re.compile("/" + "/".join(parts), re.DOTALL), tuple(shape))

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters in a request's path, which is decoded; None if it is another path."""
        found = self.pattern.fullmatch(path)
        return None if found is None else found.groupdict()

    @property
    def rank(self) -> tuple[tuple[int, str], ...]:
        """Sorts paths so that the first one that matches is the most exact one."""
        return tuple((len(segment) if segment in ("{}", "{:path}") else 0, segment) for segment in self.shape)
