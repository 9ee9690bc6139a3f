"""Webhooks that go out, as durable tasks: signed, retried, and told apart by the receiver.

    python examples/outgoing_webhooks.py [--events 20]

A program announces events. Each one is a task, on disk before the program goes on. The receiver here is a small server
in the same program that fails now and then, as real ones do. The worker is killed on the way. In the end every event
has arrived, its signature was right each time, and the receiver can tell what came twice by the delivery id.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import signal
import tempfile
import threading
import time
import urllib.request
from base64 import b64decode, b64encode
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from understudy import Retry, Runtime, current, task

SECRET = "whsec_" + b64encode(b"of this example, 24 byte").decode()


def signature(secret: str, id: str, at: int, body: bytes) -> str:
    """As https://www.standardwebhooks.com says."""
    message = f"{id}.{at}.".encode() + body
    mac = hmac.new(b64decode(secret.removeprefix("whsec_")), message, hashlib.sha256)
    return "v1," + b64encode(mac.digest()).decode()


@task(retry=Retry(attempts=50, delay=0.05, max_delay=1, backoff="exponential"), timeout=30)
def deliver(url: str, event: dict[str, Any]) -> int:
    """POST an event. The task's id is the same for all attempts; so is that of the delivery."""
    body, at, id = json.dumps(event).encode(), int(time.time()), current().id
    headers = {
        "Content-Type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": str(at),
        "webhook-signature": signature(os.environ["WEBHOOK_SECRET"], id, at, body),
    }
    # An answer that is no 2xx raises, and the next attempt follows.
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
        status: int = answer.status
        return status


class Receiver(BaseHTTPRequestHandler):
    """Fails every third time; the first time after it has acted, so that the same delivery comes again."""

    requests = 0
    seen: ClassVar[Counter[str]] = Counter()
    orders: ClassVar[set[int]] = set()
    forged = 0
    lock = threading.Lock()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        id, at = self.headers["webhook-id"], int(self.headers["webhook-timestamp"])
        with Receiver.lock:
            Receiver.requests += 1
            status = 503 if Receiver.requests % 3 == 0 else 204
            if not hmac.compare_digest(self.headers["webhook-signature"], signature(SECRET, id, at, body)):
                Receiver.forged += 1
                status = 401
            elif status == 204 or Receiver.requests == 3:
                Receiver.seen[id] += 1
                Receiver.orders.add(json.loads(body)["order"])
        self.send_response(status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--home", type=Path)
    options = parser.parse_args()
    os.environ["WEBHOOK_SECRET"] = SECRET
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/hooks"
    with (
        tempfile.TemporaryDirectory() as folder,
        Runtime(options.home or Path(folder, "home"), workers=1, durability="os") as rt,
    ):
        infos = [rt.start(deliver, url, {"type": "order.paid", "order": n}) for n in range(options.events)]
        rt.result(infos[0].id, timeout=60)
        worker = next(worker["pid"] for worker in rt.tree()["workers"] if worker["pid"])
        os.kill(worker, signal.SIGKILL)
        print("SIGKILL to the worker")
        answers = [rt.result(info.id, timeout=60) for info in infos]
    server.shutdown()
    server.server_close()
    print(
        f"{len(answers)} events delivered, {len(Receiver.seen)} delivery ids, {len(Receiver.orders)} orders, "
        f"{Receiver.forged} signatures refused"
    )
    whole = set(answers) == {204} and len(Receiver.seen) == len(Receiver.orders) == options.events
    return 0 if whole and not Receiver.forged else 1


if __name__ == "__main__":
    raise SystemExit(main())
