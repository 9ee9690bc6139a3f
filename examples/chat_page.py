"""A chat in a browser with an agent that keeps its history through every kill.

    python examples/chat_page.py [--home FOLDER] [--stay]

The agent is one long task. The page talks with it over a WebSocket of Understudy's web process, by a signed token for
this task: what the page sends comes into the mailbox, and what the agent publishes comes to the page. An answer is on
disk together with the history that it belongs to. With `--stay` the program goes on, so that you can open the page in a
browser. Without it, the program talks as the page does, and kills the agent's worker and the web process in between.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from understudy import Retry, Runtime, checkpoint, receive, restore, task

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Chat</title>
<link rel="icon" href="data:,">
<h1>Chat</h1>
<ol id="said" role="log"></ol>
<form id="form"><label>You: <input id="text" autocomplete="off"></label> <button>Send</button></form>
<script>
  const address = %(url)s;
  const unsent = new Map();  // by their ids: what the agent has not answered is sent again
  let socket, after = "";
  function talk() {
    socket = new WebSocket(address + after);
    socket.onopen = () => unsent.forEach((message) => socket.send(JSON.stringify(message)));
    socket.onmessage = ({data}) => {
      const entry = JSON.parse(data);
      if (entry.cursor) after = `&after=${entry.cursor}`;
      if (entry.kind !== "item") return;
      unsent.delete(entry.value.id);
      for (const text of [entry.value.asked, entry.value.answer])
        document.getElementById("said").appendChild(document.createElement("li")).textContent = text;
    };
    socket.onclose = ({code}) => { if (code === 1006 || code === 1012) setTimeout(talk, 300); };
  }
  document.getElementById("form").onsubmit = (event) => {
    event.preventDefault();
    const message = {id: String(Math.random()), text: document.getElementById("text").value};
    unsent.set(message.id, message);
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
    document.getElementById("text").value = "";
  };
  talk();
</script>
</html>
"""
CONVERSATION = [
    ("Hello, my name is Ada.", "Hello, Ada."),
    ("What is my name?", "You are Ada."),
    ("How often have I spoken?", "3 times."),
    ("And now, what is my name?", "You are Ada."),
]
#: Seconds that an answer may take.
PATIENCE = 30


@task(timeout=None, retry=Retry(attempts=100, delay=0))
def agent() -> int:
    """Answers until its mailbox is closed. A few rules stand in for a model: like one, they see the history."""
    history: list[dict[str, Any]] = restore() or []
    while (message := receive()) is not None:
        if any(entry["id"] == message["id"] for entry in history):
            continue  # the page was not sure that it had arrived
        history.append(
            {"id": message["id"], "asked": message["text"], "answer": answer(message["text"], history)}
        )
        checkpoint(history, publish=[("said", history[-1])])
    return len(history)


def answer(text: str, history: list[dict[str, Any]]) -> str:
    """The next thing to say."""
    names = [found[1] for entry in history if (found := re.search(r"my name is (\w+)", entry["asked"]))]
    if found := re.search(r"my name is (\w+)", text):
        return f"Hello, {found[1]}."
    if "my name" in text:
        return f"You are {names[-1]}." if names else "You have not told me."
    return f"{len(history) + 1} times."


class Site(BaseHTTPRequestHandler):
    """The application: one page, and a new agent for each visit."""

    rt: ClassVar[Runtime]

    def do_GET(self) -> None:
        if self.path != "/":
            self.send_error(404)
            return
        info = self.rt.start(agent)
        token = self.rt.watch_token(info, expires=3600, send=True)
        url = f"ws{(self.rt.web_url or '').removeprefix('http')}/ws/tasks/{info.id}?token={token}"
        body = (PAGE % {"url": json.dumps(url)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Page:
    """Talks as the page does."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._after = ""
        self.answers: list[str] = []

    def say(self, id: str, text: str) -> str:
        """Send it, again if need be, until there is an answer."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                with connect(self._url + self._after) as socket:
                    socket.send(json.dumps({"id": id, "text": text}))
                    while True:
                        entry = json.loads(socket.recv(timeout=PATIENCE))
                        if "cursor" in entry:
                            self._after = f"&after={entry['cursor']}"
                        if entry["kind"] == "item":
                            self.answers.append(entry["value"]["answer"])
                            if entry["value"]["id"] == id:
                                return self.answers[-1]
            except (ConnectionClosed, InvalidHandshake, OSError):
                time.sleep(0.1)
        sys.exit(f"no answer within {PATIENCE} s")


def demonstrate(rt: Runtime, site: str) -> int:
    """Hold the conversation; 0 if all answers were right."""
    with urllib.request.urlopen(site) as found:
        url = json.loads(re.findall(r"const address = (.*);", found.read().decode())[0])
    id = re.findall(r"/ws/tasks/([^?]*)", url)[0]
    page = Page(url)
    for number, (text, _) in enumerate(CONVERSATION):
        print(f"  you: {text}\nagent: {page.say(str(number), text)}")
        pid = rt.status(id).worker_pid if number % 2 == 0 else rt.tree()["web"]
        if pid:
            os.kill(pid, signal.SIGKILL)
            print(f"       (SIGKILL to the {'agent' if number % 2 == 0 else 'web process'})")
    rt.close_mailbox(id)
    count = rt.result(id, timeout=PATIENCE)
    right = page.answers == [expected for _, expected in CONVERSATION] and count == len(CONVERSATION)
    print(f"{count} answers, each once, the history is whole: {right}")
    return 0 if right else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, help="the home folder; by default a new one that is removed")
    parser.add_argument("--stay", action="store_true", help="serve the page until Ctrl-C")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        site = f"http://127.0.0.1:{server.server_port}"
        # The page is of another origin than the web process, because it comes from another port.
        web = {"web": "127.0.0.1:0", "origins": [site]}
        with Runtime(options.home or Path(folder, "home"), workers=1, web=web) as rt:
            Site.rt = rt
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                if not options.stay:
                    return demonstrate(rt, site + "/")
                print(f"open {site}/", flush=True)
                threading.Event().wait()
            except KeyboardInterrupt:
                pass
            finally:
                server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
