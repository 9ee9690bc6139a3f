"""`DockerEngine`, the container engine by way of the docker SDK.

Only this module calls the SDK and translates its errors. The engine is the one that `DOCKER_HOST` names, else
the one on the default socket. The SDK is imported with the first container task, so that other homes do not
pay for it.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from ...actors.errors import EngineAbsent, EngineError, ImageAbsent
from .output import Frames

if TYPE_CHECKING:
    import docker

#: Seconds within which the engine has to answer.
PATIENCE: Final = 60.0
#: The engine's status codes.
NOT_FOUND: Final = 404
CONFLICT: Final = 409

#: Schemes of the addresses of Unix sockets.
_UNIX: Final = frozenset({"unix", "http+unix"})

_shared: list[DockerEngine] = []
_sharing = threading.Lock()


class Missing(Exception):
    """The engine has no such container, image or path."""


class Taken(Exception):
    """A container of this name exists."""


class DockerEngine:
    """A client of the engine. Any thread may call. Each method may raise EngineAbsent and EngineError."""

    def __init__(self, patience: float = PATIENCE) -> None:
        import docker

        where = os.environ.get("DOCKER_HOST") or docker.constants.DEFAULT_UNIX_SOCKET.removeprefix("http+")
        try:
            _knock(where)
            self._api: docker.APIClient = docker.APIClient(
                **docker.utils.kwargs_from_env(), version="auto", timeout=patience
            )
        except (docker.errors.DockerException, OSError) as error:
            raise EngineAbsent(_absent(where, error)) from error
        self._where = where
        self._docker = docker

    @classmethod
    def shared(cls) -> DockerEngine:
        """This process's engine, made at the first call. After EngineAbsent the next call tries again."""
        with _sharing:
            if not _shared:
                _shared.append(cls())
            return _shared[0]

    @property
    def socket(self) -> str | None:
        """The real path of the engine's Unix socket; None for any other kind of address."""
        scheme, _, path = self._where.partition("://")
        return os.path.realpath("/" + path.lstrip("/")) if scheme in _UNIX else None

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        errors = self._docker.errors
        from requests.exceptions import ConnectionError as NoConnection
        from requests.exceptions import RequestException, Timeout

        try:
            yield
        except errors.NotFound as error:
            raise Missing(_said(error)) from error
        except errors.APIError as error:
            if error.status_code == CONFLICT and "already in use" in _said(error):
                raise Taken(_said(error)) from error
            raise EngineError(f"the engine could not {what}: {_said(error)}") from error
        except Timeout as error:
            raise EngineAbsent(_late(self._where, what)) from error
        except NoConnection as error:
            raise EngineAbsent(
                _late(self._where, what) if _timed_out(error) else _absent(self._where, error)
            ) from error
        except (errors.DockerException, RequestException, OSError) as error:
            raise EngineError(f"the engine could not {what}: {error}") from error

    # --- images ---

    def image(self, name: str) -> dict[str, Any] | None:
        """The engine's data on an image; None if it has no image of this name."""
        try:
            with self._translated(f"look for image {name}"):
                found: dict[str, Any] = self._api.inspect_image(name)
                return found
        except Missing:
            return None

    def pull(self, name: str) -> Iterator[dict[str, Any]]:
        """Pull an image and yield the engine's events. Close the iterator to give up. ImageAbsent."""
        from docker.utils import parse_repository_tag

        repository, tag = parse_repository_tag(name)
        try:
            with self._translated(f"pull image {name}"):
                for event in self._api.pull(repository, tag=tag or "latest", stream=True, decode=True):
                    if "error" in event:
                        raise ImageAbsent(_no_pull(name, str(event["error"])))
                    yield event
        except (Missing, EngineError) as error:
            why = str(error).removeprefix(f"the engine could not pull image {name}: ")
            raise ImageAbsent(_no_pull(name, why)) from error

    # --- containers ---

    def create(self, name: str, spec: Mapping[str, Any]) -> str:
        """Make a container and return its id. Taken if the name is in use; ImageAbsent."""
        try:
            with self._translated("make the container"):
                made = self._api.create_container_from_config(dict(spec), name)
                return str(made["Id"])
        except Missing as error:
            raise ImageAbsent(f"the image {spec['Image']} is absent: {error}") from error

    def start(self, id: str) -> None:
        """Start a container. EngineError if its program cannot be run. A running container stays as it is."""
        with self._translated("start the container"):
            self._api.start(id)

    def inspect(self, id: str) -> dict[str, Any]:
        """The engine's data on a container. Missing."""
        with self._translated("report the container's state"):
            found: dict[str, Any] = self._api.inspect_container(id)
            return found

    def find(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """The containers with all of these labels, running or not: rows with `Id`, `State`, `Labels`."""
        wanted = [f"{name}={value}" for name, value in labels.items()]
        with self._translated("list containers"):
            rows: list[dict[str, Any]] = self._api.containers(all=True, filters={"label": wanted})
            return rows

    def kill(self, id: str, signal: str) -> None:
        """Send a container a signal. Does nothing if it does not run."""
        with suppress(Missing):
            try:
                with self._translated(f"send {signal} to the container"):
                    self._api.kill(id, signal)
            except (Taken, EngineError):
                if self.inspect(id)["State"].get("Running"):
                    raise

    def remove(self, id: str) -> None:
        """Kill a container and remove it with its volumes. No error if it is gone or being removed."""
        with suppress(Missing):
            try:
                with self._translated("remove the container"):
                    self._api.remove_container(id, v=True, force=True)
            except EngineError as error:
                if "already in progress" not in str(error):
                    raise

    def wait(self, id: str, seconds: float) -> bool:
        """Wait for a container's end. Returns whether it came within `seconds`."""
        from requests.exceptions import ConnectionError as NoConnection
        from requests.exceptions import Timeout

        with self._translated("wait for the container"):
            try:
                self._api.wait(id, timeout=seconds)
            except (Timeout, NoConnection) as error:
                # The SDK raises these if the wait exceeds its timeout, or if the engine is gone.
                if not isinstance(error, Timeout) and not _timed_out(error):
                    raise
                return False
        return True

    def logs(self, id: str) -> Logs:
        """A container's output from the beginning, and further output as it comes."""
        with self._translated("read the container's output"):
            # The SDK's `logs` does not tell the stream of an entry, and `attach` misses earlier output.
            url = f"{self._api.base_url}/v{self._api.api_version}/containers/{id}/logs"
            asked = {"stdout": "1", "stderr": "1", "follow": "1", "timestamps": "1"}
            response = self._api.get(url, params=asked, stream=True, timeout=(PATIENCE, None))
            self._api._raise_for_status(response)
        return Logs(response)

    def stdin(self, id: str) -> Any:
        """A socket connected to a container's standard input."""
        with self._translated("attach to the container"):
            stream = self._api.attach_socket(id, params={"stdin": 1, "stream": 1})
            return getattr(stream, "_sock", stream)

    # --- files ---

    def unpack(self, id: str, path: str, archive: bytes) -> None:
        """Unpack a tar archive at a path in a container."""
        with self._translated(f"write to {path} of the container"):
            self._api.put_archive(id, path, archive)

    def pack(self, id: str, path: str) -> Iterator[bytes]:
        """A file or folder of a container as a tar archive, in pieces. Missing."""
        with self._translated(f"read {path} of the container"):
            pieces, _ = self._api.get_archive(id, path)
            yield from pieces


class Logs:
    """A container's output as an iterator of (stream number, entry). Any thread may `close` it."""

    def __init__(self, response: Any) -> None:
        from docker.types import CancellableStream

        self._frames = Frames()
        self._pieces = CancellableStream(response.iter_content(None), response)
        self._response = response

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        from requests.exceptions import RequestException

        try:
            for piece in self._pieces:
                yield from self._frames.feed(piece)
        except (RequestException, AttributeError, ValueError):
            # The connection was lost or closed. The caller inspects the container next.
            return
        finally:
            self._response.close()

    def close(self) -> None:
        """End the iteration."""
        with suppress(OSError, AttributeError):
            self._pieces.close()


def _knock(where: str) -> None:
    """OSError if no process listens on this socket. The SDK would leak a socket that it cannot open."""
    scheme, _, path = where.partition("://")
    if scheme in _UNIX:
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(PATIENCE)
            door.connect("/" + path.lstrip("/"))


def _timed_out(error: Exception) -> bool:
    return "timed out" in str(error).lower()


def _late(where: str, what: str) -> str:
    return f"the engine at {where} did not answer in time when asked to {what}"


def _said(error: Any) -> str:
    return str(getattr(error, "explanation", None) or error)


def _absent(where: str, error: Exception) -> str:
    cause = str(error).partition("\n")[0][:300]
    return f"no container engine answers at {where}: start one there, or set DOCKER_HOST ({cause})"


def _no_pull(name: str, why: str) -> str:
    return f"the image {name} cannot be pulled: {why}"
