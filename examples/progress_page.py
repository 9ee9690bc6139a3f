"""A page that shows the progress of a task, with a token for this task alone.

    python examples/progress_page.py [--steps 30] [--home FOLDER] [--stay]

Each visit of the page starts a task. The page follows it at Understudy's web process, by a signed token in the address,
and needs no other code on the server. With `--stay` the program goes on, so that you can open the page in a browser.
Without it, the program reads its own page as a browser does: it comes back with the id of the last event when the web
process is killed in the middle. In the end every step must have been shown once and in order.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from understudy import Runtime, checkpoint, restore, sleep, task

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Rendering</title>
<link rel="icon" href="data:,">
<h1>Rendering</h1>
<p><progress id="bar" aria-label="pages" max="%(steps)d" value="0"></progress> <span id="text">waiting</span></p>
<script>
  const events = new EventSource(%(url)s);
  events.addEventListener("item", (event) => {
    const done = JSON.parse(event.data).value;
    document.getElementById("bar").value = done;
    document.getElementById("text").textContent = `${done} pages`;
  });
  events.addEventListener("end", (event) => {
    document.getElementById("text").textContent = JSON.parse(event.data).state;
    events.close();
  });
</script>
</html>
"""
#: Seconds that anything may take here.
PATIENCE = 40


@task(timeout=None)
def render(steps: int) -> int:
    """Render so many pages."""
    done: int = restore() or 0
    while done < steps:
        sleep(0.05)  # here a page would be rendered
        done += 1
        checkpoint(done, publish=[("page", done)])
    return done


class Site(BaseHTTPRequestHandler):
    """The application: one page."""

    rt: ClassVar[Runtime]
    steps: ClassVar[int]

    def do_GET(self) -> None:
        if self.path != "/":
            self.send_error(404)
            return
        info = self.rt.start(render, self.steps)
        url = f"{self.rt.web_url}/api/tasks/{info.id}/watch?token={self.rt.watch_token(info, expires=600)}"
        body = (PAGE % {"steps": self.steps, "url": json.dumps(url)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def events(url: str) -> Iterator[dict[str, Any]]:
    """What an `EventSource` gets, over all of its connections."""
    last, end = "", time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, headers={"Last-Event-ID": last})
            ) as answer:
                if answer.status == 204:
                    return
                fields: dict[str, str] = {}
                for line in answer:
                    name, _, value = line.decode().rstrip("\n").partition(": ")
                    if name:
                        fields[name] = value
                    elif "data" in fields:
                        last = fields["id"]
                        yield json.loads(fields["data"])
                        fields = {}
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError):
            pass
        time.sleep(0.1)  # a browser waits a second
    sys.exit(f"the task has not ended within {PATIENCE} s")


def demonstrate(rt: Runtime, page: str, steps: int) -> int:
    """Read the page as a browser does; 0 if all is well."""
    with urllib.request.urlopen(page) as answer:
        url = json.loads(re.findall(r"EventSource\((.*)\)", answer.read().decode())[0])
    seen: list[int] = []
    killed = False
    for entry in events(url):
        if entry["kind"] == "item":
            seen.append(entry["value"])
        if len(seen) == steps // 2 and not killed:
            killed = True
            os.kill(rt.tree()["web"], signal.SIGKILL)
            print("SIGKILL to the web process")
    print(f"{len(seen)} steps shown, each once and in order: {seen == list(range(1, steps + 1))}")
    return 0 if seen == list(range(1, steps + 1)) else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--home", type=Path, help="the home folder; by default a new one that is removed")
    parser.add_argument("--stay", action="store_true", help="serve the page until Ctrl-C")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        page = f"http://127.0.0.1:{server.server_port}"
        # The page is of another origin than the web process, because it comes from another port.
        web = {"web": "127.0.0.1:0", "origins": [page]}
        with Runtime(options.home or Path(folder, "home"), workers=1, web=web) as rt:
            Site.rt, Site.steps = rt, options.steps
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                if not options.stay:
                    return demonstrate(rt, page + "/", options.steps)
                print(f"open {page}/", flush=True)
                threading.Event().wait()
            except KeyboardInterrupt:
                pass
            finally:
                server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
