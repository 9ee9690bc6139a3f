"""The container engine, by way of the docker SDK: the one place that speaks to it, and that translates its errors.

The engine is the one that `DOCKER_HOST` names, or the one on the usual socket. The SDK is imported when the first
container is asked for: who has none does not pay for it.
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

#: Seconds that an answer of the engine may take.
PATIENCE: Final = 60.0
#: The engine's status codes.
NOT_FOUND: Final = 404
CONFLICT: Final = 409
NOT_MODIFIED: Final = 304

#: What the address of a socket in the file system begins with.
_UNIX: Final = frozenset({"unix", "http+unix"})

_shared: list[DockerEngine] = []
_sharing = threading.Lock()


class Missing(Exception):
    """What was asked about does not exist in the engine."""


class Taken(Exception):
    """A container of this name exists."""


class DockerEngine:
    """Any thread may call; each call is a request of its own. EngineAbsent and EngineError everywhere."""

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
        """This process's own, made when first asked for. EngineAbsent, and then it is tried again the next time."""
        with _sharing:
            if not _shared:
                _shared.append(cls())
            return _shared[0]

    @property
    def socket(self) -> str | None:
        """The real path of its socket; None for an engine that is reached in another way."""
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
        """What the engine knows of an image; None if it has none of that name."""
        try:
            with self._translated(f"look for image {name}"):
                found: dict[str, Any] = self._api.inspect_image(name)
                return found
        except Missing:
            return None

    def pull(self, name: str) -> Iterator[dict[str, Any]]:
        """Fetch an image: the engine's news of it, as they come. Close the iterator to give up. ImageAbsent."""
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
        """Make a container; its id. Taken if there is one of this name; ImageAbsent."""
        try:
            with self._translated("make the container"):
                made = self._api.create_container_from_config(dict(spec), name)
                return str(made["Id"])
        except Missing as error:
            raise ImageAbsent(f"the image {spec['Image']} is not there: {error}") from error

    def start(self, id: str) -> None:
        """Start it. EngineError if its program cannot be run. One that runs already is left alone."""
        with self._translated("start the container"):
            self._api.start(id)

    def inspect(self, id: str) -> dict[str, Any]:
        """All that the engine knows of a container. Missing."""
        with self._translated("tell how the container is"):
            found: dict[str, Any] = self._api.inspect_container(id)
            return found

    def find(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """The containers with all of these labels, running or not, each as a row with `Id`, `State`, `Labels`."""
        wanted = [f"{name}={value}" for name, value in labels.items()]
        with self._translated("list containers"):
            rows: list[dict[str, Any]] = self._api.containers(all=True, filters={"label": wanted})
            return rows

    def kill(self, id: str, signal: str) -> None:
        """Send it a signal; nothing happens if it does not run."""
        with suppress(Missing):
            try:
                with self._translated(f"send {signal} to the container"):
                    self._api.kill(id, signal)
            except (Taken, EngineError):
                if self.inspect(id)["State"].get("Running"):
                    raise

    def remove(self, id: str) -> None:
        """Remove it with what it has on disk, killed if it runs. Fine if it is gone, or going."""
        with suppress(Missing):
            try:
                with self._translated("remove the container"):
                    self._api.remove_container(id, v=True, force=True)
            except EngineError as error:
                if "already in progress" not in str(error):
                    raise

    def wait(self, id: str, seconds: float) -> bool:
        """Wait for its end; whether that came within so many seconds."""
        from requests.exceptions import ConnectionError as NoConnection
        from requests.exceptions import Timeout

        with self._translated("wait for the container"):
            try:
                self._api.wait(id, timeout=seconds)
            except (Timeout, NoConnection) as error:
                # What the SDK makes of a wait that takes longer than its timeout; or the engine is gone.
                if not isinstance(error, Timeout) and not _timed_out(error):
                    raise
                return False
        return True

    def logs(self, id: str) -> Logs:
        """Its output from the beginning, and then on as it comes."""
        with self._translated("read the container's output"):
            # Not the SDK's `logs`, which does not tell which stream an entry is of; and not `attach`, which misses
            # what was said before.
            url = f"{self._api.base_url}/v{self._api.api_version}/containers/{id}/logs"
            asked = {"stdout": "1", "stderr": "1", "follow": "1", "timestamps": "1"}
            response = self._api.get(url, params=asked, stream=True, timeout=(PATIENCE, None))
            self._api._raise_for_status(response)
        return Logs(response)

    def stdin(self, id: str) -> Any:
        """A socket that leads to its standard input."""
        with self._translated("attach to the container"):
            stream = self._api.attach_socket(id, params={"stdin": 1, "stream": 1})
            return getattr(stream, "_sock", stream)

    # --- files ---

    def unpack(self, id: str, path: str, archive: bytes) -> None:
        """Unpack a tar archive at a path of a container."""
        with self._translated(f"write to {path} of the container"):
            self._api.put_archive(id, path, archive)

    def pack(self, id: str, path: str) -> Iterator[bytes]:
        """A path of a container as a tar archive, in pieces. Missing."""
        with self._translated(f"read {path} of the container"):
            pieces, _ = self._api.get_archive(id, path)
            yield from pieces


class Logs:
    """A container's output: iterate for (number of the stream, entry). `close` ends that, from any thread."""

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
            # The connection is gone, or was closed in the middle: whoever reads looks at the container next.
            return
        finally:
            self._response.close()

    def close(self) -> None:
        """Let the iteration end."""
        with suppress(OSError, AttributeError):
            self._pieces.close()


def _knock(where: str) -> None:
    """OSError if nobody listens on that socket: of one that it cannot open, the SDK would not let go."""
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
