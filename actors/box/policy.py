"""The policy for images and mounts: refuses container engines and mounts that break isolation. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..errors import BoxRefused, InvalidOption

#: The most characters of an image's name.
IMAGE_LIMIT: Final = 512

#: Repositories, without registry and tag, that hold a container engine or a builder that needs privileges.
ENGINES: Final = frozenset({"docker", "library/docker", "moby/buildkit", "podman/stable", "buildah/stable"})
#: Parts of an image name that mean the same.
_TELLING: Final = re.compile(r"(?:^|[^a-z0-9])(?:dind|docker-in-docker|privileged)(?:[^a-z0-9]|$)")
_IMAGE: Final = re.compile(r"[a-z0-9A-Z][\w.\-/:@]*")
#: Variables and programs of an image that is made to run an engine.
_ENGINE_VARIABLES: Final = ("DIND_COMMIT=", "DOCKER_TLS_CERTDIR=")
_ENGINE_PROGRAMS: Final = frozenset({"dockerd", "containerd", "dockerd-entrypoint.sh", "buildkitd", "podman"})
_ENGINE_FOLDER: Final = "/var/lib/docker"

#: Paths in the container that cannot be mount points.
TAKEN: Final = ("/proc", "/sys", "/dev", "/data", "/tmp")  # noqa: S108 - of the container, not ours
#: Paths on the machine that cannot be mounted, because they give control of the machine.
KEPT: Final = ("/proc", "/sys", "/dev", "/run/docker.sock", "/var/run/docker.sock", "/run/containerd")


def check_image(image: object) -> str:
    """The name, if it is valid.

    Raises InvalidOption otherwise, BoxRefused if the policy does not allow the image.
    """
    if not isinstance(image, str) or len(image) > IMAGE_LIMIT or not _IMAGE.fullmatch(image):
        raise InvalidOption(
            f"image must be the name of an image, such as 'python:3.13-alpine': {image!r:.200}"
        )
    repository = _repository(image)
    if repository in ENGINES or _TELLING.search(image.lower()):
        raise BoxRefused(
            f"the image policy does not allow {image}: a container gets no engine of its own and no privileges"
        )
    return image


def check_content(image: str, config: Mapping[str, Any]) -> None:
    """Raise BoxRefused if the image's configuration (the engine's `Config`) shows an engine in it."""
    variables = config.get("Env") or []
    words = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])][:1]
    shows = (
        any(str(variable).startswith(_ENGINE_VARIABLES) for variable in variables)
        or any(posixpath.basename(str(word)) in _ENGINE_PROGRAMS for word in words)
        or _ENGINE_FOLDER in (config.get("Volumes") or {})
    )
    if shows:
        raise BoxRefused(f"the image policy does not allow {image}: it is made to run a container engine")


def _repository(image: str) -> str:
    """The name without registry, tag and digest."""
    name = image.partition("@")[0]
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        name = rest
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


def check_mount(target: object, source: object) -> tuple[str, str, bool]:
    """(path in the container, path on the machine, writable) of a mount.

    The source may end in `:ro` or `:rw`.
    """
    if not isinstance(target, str) or not isinstance(source, str):
        raise InvalidOption(
            f"mounts maps paths in the container to paths here: {target!r:.200}: {source!r:.200}"
        )
    path, _, mode = source.rpartition(":")
    if mode in {"ro", "rw"}:
        source = path
    for what, text in (("in the container", target), ("on this machine", source)):
        if not text.startswith("/") or "\0" in text or ".." in text.split("/"):
            raise InvalidOption(f"a mount's path {what} must be absolute and without '..': {text!r:.200}")
    inside, here = _clean(target), _clean(source)
    if inside == "/" or any(_within(inside, taken) for taken in TAKEN):
        raise InvalidOption(
            f"nothing can be mounted at {inside}; choose a path outside {', '.join(TAKEN)} and not /"
        )
    if here == "/" or any(_within(here, kept) for kept in KEPT):
        raise InvalidOption(f"{here} cannot be mounted: the path must not be /, nor in {', '.join(KEPT)}")
    return inside, here, mode == "rw"


def check_lent(sources: Iterable[str], socket: str) -> None:
    """Raise BoxRefused if a source is or contains the engine's socket.

    All are real paths, without symlinks.
    """
    for source in sources:
        if source == "/" or _within(socket, source):
            raise BoxRefused(
                f"{source} cannot be mounted, because it contains the engine's socket {socket}; mount another folder"
            )


def check_output(path: object) -> str:
    """The normalized path of an output in the container; InvalidOption if it is not valid."""
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise InvalidOption(
            f"an output must be an absolute path in the container, without '..': {path!r:.200}"
        )
    clean = _clean(path)
    if clean == "/" or any(_within(clean, pseudo) for pseudo in ("/proc", "/sys", "/dev", "/tmp")):  # noqa: S108
        raise InvalidOption(f"{clean} is removed when the container ends; write outputs to /data")
    return clean


def _clean(path: str) -> str:
    return "/" + posixpath.normpath(path).lstrip("/")


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")
