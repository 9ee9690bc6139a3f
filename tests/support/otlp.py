"""A receiver of spans: OTLP over HTTP, on loopback."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from waiting import until


@dataclass
class Received:
    """A span as it came."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    service: str
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    events: list[str]
    failed: bool


@dataclass
class Receiver:
    """What has come so far."""

    url: str = ""
    spans: list[Received] = field(default_factory=list)

    def one(self, name: str, when: Callable[[Received], bool] = lambda _: True) -> Received:
        """The one span of this name for which this holds, when it has come."""
        (found,) = until(
            lambda: [span for span in self.spans if span.name == name and when(span)],
            20,
            lambda: str(self.spans),
        )
        return found

    def of(self, id: str) -> list[Received]:
        """The spans of a task."""
        return [span for span in self.spans if span.attributes.get("messaging.message.id") == id]

    def take(self, data: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(data)
        for resource in request.resource_spans:
            service = _plain(resource.resource.attributes).get("service.name", "")
            for scope in resource.scope_spans:
                self.spans += [
                    Received(
                        span.name,
                        span.kind,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        service,
                        _plain(span.attributes),
                        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                        [event.name for event in span.events],
                        span.status.code == 2,
                    )
                    for span in scope.spans
                ]


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver at work."""
    received = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            received.take(gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield received
        finally:
            server.shutdown()
            thread.join()
