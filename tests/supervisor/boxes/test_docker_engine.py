"""The way to an engine: against one that says whatever it is told to. Real ones are in the scenarios."""

from __future__ import annotations

import gc
import json
import socketserver
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from understudy import EngineAbsent, EngineError, ImageAbsent
from understudy.supervisor.boxes import docker_engine as module
from understudy.supervisor.boxes.docker_engine import DockerEngine, Missing, Taken
from understudy.supervisor.boxes.output import HEAD

Answer = tuple[int, Any]


class Server(socketserver.ThreadingUnixStreamServer):
    """An engine's socket. `answers` maps "METHOD path" to (status, body); a list is sent piece by piece."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Handler)
        self.answers: dict[str, Answer] = {"GET /version": (200, {"ApiVersion": "1.41"})}
        self.asked: list[str] = []
        #: Pieces of a body wait for this.
        self.go_on = threading.Event()
        self.go_on.set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def answer(self) -> None:
        path = self.path.partition("?")[0].removeprefix("/v1.41")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with suppress(BrokenPipeError):  # who has asked may not wait for the answer
            self.reply(path)

    def reply(self, path: str) -> None:
        self.server.asked.append(f"{self.command} {self.path.removeprefix('/v1.41')}")
        status, body = self.server.answers.get(f"{self.command} {path}", (404, {"message": "page not found"}))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if isinstance(body, list):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in body:
                data = piece if isinstance(piece, bytes) else json.dumps(piece).encode()
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.server.go_on.wait(10)
            self.wfile.write(b"0\r\n\r\n")
        else:
            data = b"" if body is None else json.dumps(body).encode()
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    do_GET = do_POST = do_DELETE = do_PUT = answer

    def address_string(self) -> str:
        return "somebody"

    def log_message(self, *_args: Any) -> None:
        return


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    path = home.parent / "engine"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with Server(path) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.go_on.set()
        made.shutdown()
        thread.join()


@pytest.fixture
def engine(server: Server) -> Iterator[DockerEngine]:
    made = DockerEngine(patience=5)
    yield made
    made._api.close()


def refusal(status: int, message: str) -> Answer:
    return status, {"message": message}


@pytest.mark.parametrize("where", ["unix:///nowhere/at/all", "tcp://127.0.0.1:1", "nonsense://x"])
def test_no_engine(where: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOCKER_HOST", where)
    with pytest.raises(
        EngineAbsent, match=r"no container engine answers at .*: start one there, or set DOCKER_HOST"
    ):
        DockerEngine()


def test_where_its_socket_lies(engine: DockerEngine, home: Path, monkeypatch: pytest.MonkeyPatch):
    assert engine.socket == str((home.parent / "engine").resolve())
    monkeypatch.setattr(engine, "_where", "tcp://127.0.0.1:1")
    assert engine.socket is None


def test_one_that_goes_away(engine: DockerEngine, server: Server):
    server.answers["GET /images/a/json"] = (200, {"Id": "1"})
    assert engine.image("a") == {"Id": "1"}
    server.server_close()
    server.shutdown()
    engine._api.close()
    with warnings.catch_warnings():
        # The SDK does not close a socket that cannot be connected.
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(EngineAbsent) as caught:
            engine.image("a")
        del caught
        gc.collect()


def test_one_that_does_not_answer(server: Server):
    hasty = DockerEngine(patience=0.2)
    server.go_on.clear()
    server.answers["GET /containers/json"] = (200, [b"[", b"]"])
    with pytest.raises(EngineAbsent, match="list containers"):
        hasty.find({})
    hasty._api.close()


def test_the_shared_one_is_made_once_and_only_if_there_is_an_engine(
    server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_shared", [])
    version = server.answers.pop("GET /version")
    with pytest.raises(EngineAbsent):
        DockerEngine.shared()
    server.answers["GET /version"] = version
    assert DockerEngine.shared() is DockerEngine.shared()
    DockerEngine.shared()._api.close()


def test_images(engine: DockerEngine, server: Server):
    assert engine.image("a") is None
    server.answers["GET /images/a/json"] = refusal(500, "disk on fire")
    with pytest.raises(EngineError, match="look for image a: disk on fire"):
        engine.image("a")


def test_a_pull(engine: DockerEngine, server: Server):
    news = [{"status": "Pulling fs layer", "id": "a"}, {"status": "Pull complete", "id": "a"}]
    server.answers["POST /images/create"] = (200, news)
    assert list(engine.pull("localhost:5000/a")) == news
    assert list(engine.pull("a:2")) == news
    assert [line.partition("?")[2] for line in server.asked[1:]] == [
        "tag=latest&fromImage=localhost%3A5000%2Fa",
        "tag=2&fromImage=a",
    ]


@pytest.mark.parametrize(
    "answer",
    [(200, [{"error": "denied"}]), refusal(404, "denied"), refusal(500, "denied")],
    ids=["late", "404", "500"],
)
def test_a_pull_that_fails(engine: DockerEngine, server: Server, answer: Answer):
    server.answers["POST /images/create"] = answer
    with pytest.raises(ImageAbsent, match=r"^the image a:1 cannot be pulled: .*denied"):
        list(engine.pull("a:1"))


def test_making_one(engine: DockerEngine, server: Server):
    server.answers["POST /containers/create"] = (201, {"Id": "abc", "Warnings": []})
    assert engine.create("name", {"Image": "a"}) == "abc"
    server.answers["POST /containers/create"] = refusal(409, 'The name "/name" is already in use')
    with pytest.raises(Taken):
        engine.create("name", {"Image": "a"})
    server.answers["POST /containers/create"] = refusal(404, "No such image: a")
    with pytest.raises(ImageAbsent, match="the image a is absent"):
        engine.create("name", {"Image": "a"})
    server.answers["POST /containers/create"] = refusal(400, "bad mount")
    with pytest.raises(EngineError, match="the engine could not make the container: bad mount"):
        engine.create("name", {"Image": "a"})


def test_what_is_gone_is_missing_or_fine(engine: DockerEngine):
    with pytest.raises(Missing):
        engine.inspect("x")
    with pytest.raises(Missing):
        engine.logs("x")
    with pytest.raises(Missing):
        list(engine.pack("x", "/data"))
    engine.kill("x", "SIGTERM")
    engine.remove("x")


def test_to_kill_what_has_ended_is_fine(engine: DockerEngine, server: Server):
    server.answers["POST /containers/x/kill"] = refusal(409, "Container x is not running")
    server.answers["GET /containers/x/json"] = (200, {"State": {"Running": False}})
    engine.kill("x", "SIGKILL")
    server.answers["GET /containers/x/json"] = (200, {"State": {"Running": True}})
    with pytest.raises(EngineError, match="send SIGKILL"):
        engine.kill("x", "SIGKILL")


def test_to_remove_what_somebody_removes_is_fine(engine: DockerEngine, server: Server):
    server.answers["DELETE /containers/x"] = refusal(409, "removal of container x is already in progress")
    engine.remove("x")
    server.answers["DELETE /containers/x"] = refusal(500, "device busy")
    with pytest.raises(EngineError, match="device busy"):
        engine.remove("x")


def test_waiting(engine: DockerEngine, server: Server):
    server.answers["POST /containers/x/wait"] = (200, {"StatusCode": 0})
    assert engine.wait("x", 5)
    server.go_on.clear()
    server.answers["POST /containers/x/wait"] = (200, [b"{", b"}"])
    assert not engine.wait("x", 0.1)


def frame(number: int, body: bytes) -> bytes:
    return HEAD.pack(number, len(body)) + body


def test_output_comes_as_it_is_said_and_can_be_left(engine: DockerEngine, server: Server):
    server.answers["GET /containers/x/logs"] = (200, [frame(1, b"one"), frame(2, b"two")])
    assert list(engine.logs("x")) == [(1, b"one"), (2, b"two")]
    assert "follow=1&timestamps=1" in server.asked[-1]
    server.go_on.clear()
    logs = engine.logs("x")
    reader = iter(logs)
    assert next(reader) == (1, b"one")
    leaving = threading.Timer(0.05, logs.close)
    leaving.start()
    assert list(reader) == []
    leaving.join()
