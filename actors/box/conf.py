"""BoxConf, the configuration of a container: its fields, their ranges and their form as plain data. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

from .. import values
from ..checks import check_choice, check_flag, check_names, check_seconds, check_whole
from ..errors import InvalidOption, InvalidValue
from .policy import check_image, check_mount, check_output
from .sizes import DEFAULT_SIZE, SIZES, Size, size_name

#: The task name of containers.
BOX: Final = "understudy.box"

#: The shortest and the longest timeout of a container, in seconds.
TIMEOUT_MIN: Final = 1.0
TIMEOUT_MAX: Final = 86_400.0
#: The least memory that a container engine accepts, in MB.
MEMORY_MIN: Final = 6
#: The largest memory, /tmp or /data, in MB: 1 TiB.
MB_MAX: Final = 1_048_576

Network = Literal["none", "internet"]
Pull = Literal["missing", "always", "never"]

_VARIABLE: Final = re.compile(r"[^=\0\s]+")


@dataclass(frozen=True, slots=True)
class BoxConf:
    """One container.

    Raises InvalidOption for a field out of range, BoxRefused for an image that is not allowed.
    """

    image: str
    """The name of the image, as for `docker run`."""
    size: str = DEFAULT_SIZE
    """A size of `box.sizes()`, or its alias."""
    cmd: Sequence[str] | None = None
    """The command and its arguments; by default the image's own."""
    script: str | None = None
    """Lines for `sh -e`, in place of `cmd`."""
    entrypoint: Sequence[str] | None = None
    """In place of the image's entrypoint."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables."""
    timeout: float | None = None
    """Seconds that the container may run; by default the size's."""
    network: Network = "none"
    """"none", or "internet"."""
    writable: bool = False
    """Whether the container gets a writable root, the image's own user and some of root's rights."""
    memory: int | None = None
    """MB of memory; by default the size's."""
    tmp_size: int | None = None
    """MB of /tmp; by default the size's."""
    disk_size: int | None = None
    """MB of /data; by default the size's."""
    mounts: Mapping[str, str] = field(default_factory=dict)
    """Path in the container -> path on this machine; read-only unless it ends in `:rw`."""
    stdin: bool = False
    """Whether messages to the task go to the container's standard input, each as a line of JSON."""
    pull: Pull = "missing"
    """When the image is pulled: "missing", "always" or "never"."""
    outputs: Sequence[str] = ()
    """Paths in the container that are copied to the task's folder under home after its end."""

    def __post_init__(self) -> None:
        changed: dict[str, Any] = {
            "image": check_image(self.image),
            "size": size_name(self.size),
            "cmd": _words("cmd", self.cmd),
            "entrypoint": _words("entrypoint", self.entrypoint),
            "env": _variables(self.env),
            "timeout": check_seconds("timeout", self.timeout, TIMEOUT_MAX, least=TIMEOUT_MIN, optional=True),
            "mounts": _mounts(self.mounts),
            "outputs": _outputs(self.outputs),
        }
        for name, value in changed.items():
            object.__setattr__(self, name, value)
        if self.script is not None:
            if not isinstance(self.script, str) or not self.script.strip() or "\0" in self.script:
                raise InvalidOption("script must be text with at least one command")
            if self.cmd is not None or self.entrypoint is not None:
                raise InvalidOption("give script, or cmd and entrypoint, not both")
        for name in ("memory", "tmp_size", "disk_size"):
            if (megabytes := getattr(self, name)) is not None:
                check_whole(f"{name} in MB", megabytes, MEMORY_MIN if name == "memory" else 1, MB_MAX)
        for name in ("writable", "stdin"):
            check_flag(name, getattr(self, name))
        check_choice("network", self.network, ("none", "internet"))
        check_choice("pull", self.pull, ("missing", "always", "never"))

    @property
    def limits(self) -> Size:
        """The container's limits: those of its size, unless a field here sets another."""
        usual = SIZES[self.size]
        return Size(
            self.memory or usual.memory,
            usual.cpu,
            self.tmp_size or usual.tmp,
            self.disk_size or usual.data,
            self.timeout or usual.timeout,
        )

    def pack(self) -> dict[str, Any]:
        """The image and the fields that differ from their defaults, as plain data."""
        packed = {name: getattr(self, name) for name in _NAMES}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in packed.items()
            if name == "image" or value not in (None, False, (), {}, _DEFAULTS.get(name))
        }

    @classmethod
    def unpack(cls, packed: Any) -> BoxConf:
        """The inverse of `pack`. Raises InvalidOption and BoxRefused."""
        if not isinstance(packed, dict) or "image" not in packed:
            raise InvalidOption("a container task takes a BoxConf; start it with box.start(BoxConf(image=…))")
        check_names(packed, _NAMES, "a BoxConf")
        return cls(**packed)


_NAMES: Final = tuple(field.name for field in fields(BoxConf))
_DEFAULTS: Final = {"size": DEFAULT_SIZE, "network": "none", "pull": "missing"}


def takes_messages(args: bytes | None) -> bool:
    """Whether the encoded arguments of a container task ask for a standard input."""
    try:
        positional, _ = ((), {}) if args is None else values.unpack(args)
    except (InvalidValue, TypeError, ValueError):
        return False
    return bool(positional) and isinstance(positional[0], dict) and positional[0].get("stdin") is True


def _words(name: str, words: object) -> tuple[str, ...] | None:
    if words is None:
        return None
    if isinstance(words, str | bytes) or not isinstance(words, Sequence):
        raise InvalidOption(f"{name} must be a list of texts, one for each argument: {words!r:.80}")
    for word in words:
        if not isinstance(word, str) or "\0" in word:
            raise InvalidOption(f"{name} must hold texts only: {word!r:.80}")
    if not words:
        raise InvalidOption(f"{name} must not be empty; leave it out for the image's own")
    return tuple(words)


def _variables(env: object) -> dict[str, str]:
    if not isinstance(env, Mapping):
        raise InvalidOption(f"env must map names to texts: {env!r:.80}")
    for name, value in env.items():
        # Messages never show the value, which may be secret.
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise InvalidOption(f"env has a name that is invalid for an environment variable: {name!r:.80}")
        if not isinstance(value, str) or "\0" in value:
            raise InvalidOption(f"the value of env[{name!r}] must be text")
    return dict(env)


def _mounts(mounts: object) -> dict[str, str]:
    if not isinstance(mounts, Mapping):
        raise InvalidOption(f"mounts must map paths in the container to paths here: {mounts!r:.80}")
    checked = [check_mount(target, source) for target, source in mounts.items()]
    if len({target for target, _, _ in checked}) < len(checked):
        raise InvalidOption("mounts names one path in the container twice")
    return {target: f"{source}:{'rw' if writable else 'ro'}" for target, source, writable in checked}


def _outputs(outputs: object) -> tuple[str, ...]:
    if isinstance(outputs, str | bytes) or not isinstance(outputs, Sequence):
        raise InvalidOption(f"outputs must be a list of paths in the container: {outputs!r:.80}")
    paths = tuple(check_output(path) for path in outputs)
    names = [path.rpartition("/")[2] for path in paths]
    if len(set(names)) < len(names):
        raise InvalidOption("two outputs have the same name, so one copy would overwrite the other")
    return paths
