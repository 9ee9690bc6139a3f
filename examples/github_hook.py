"""A GitHub webhook that is never lost and never handled twice.

    python examples/github_hook.py [--deliveries 20] [--home FOLDER]

GitHub signs each delivery with a secret, names it by an id, and wants an answer within 10 s. Here the answer is 202 as
soon as the delivery is on disk; the work follows as a durable run. This program sends deliveries as GitHub does, some
of them twice, as by "Redeliver", and one that somebody else has forged. It kills the worker and the web process on the
way. In the end there is one run for every delivery.

In GitHub's settings of the repository: the payload URL is https://your.host/hooks/github, the content type is
application/json, and the secret is the one in GITHUB_SECRET.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from understudy import Request, Runtime, github, http

SECRET = "the secret of this example"
#: Seconds that a delivery may take.
PATIENCE = 30


@http(
    "POST",
    "/hooks/github",
    verify=github("env:GITHUB_SECRET"),
    ack=True,
    dedupe="X-GitHub-Delivery",
    retry=50,
)
def pushed(request: Request) -> str | None:
    """What to do for a push."""
    if request.headers["X-GitHub-Event"] != "push":
        return None
    push = request.json()
    time.sleep(0.02)  # here the branch would be built
    return f"{push['repository']['full_name']} {push['after']}"


def deliver(url: str, id: str, push: dict[str, Any], secret: str = SECRET) -> int:
    """Send a delivery as GitHub does; the status of the answer."""
    body = json.dumps(push).encode()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": id,
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
                status: int = answer.status
                return status
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return error.code
        except OSError:
            pass  # the web process was killed, and the delivery may be on disk or not
        time.sleep(0.1)
    sys.exit(f"a delivery was not taken within {PATIENCE} s")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--deliveries", type=int, default=20)
    parser.add_argument("--home", type=Path, help="the home folder; by default a new one that is removed")
    options = parser.parse_args()
    os.environ["GITHUB_SECRET"] = SECRET
    with (
        tempfile.TemporaryDirectory() as folder,
        Runtime(options.home or Path(folder, "home"), workers=1, web="127.0.0.1:0") as rt,
    ):
        url = f"{rt.web_url}/hooks/github"
        answers = Counter[int]()
        for number in range(options.deliveries):
            push = {"repository": {"full_name": "ada/shop"}, "after": f"{number:040x}"}
            for _ in range(2 if number % 4 == 0 else 1):
                answers[deliver(url, f"delivery-{number}", push)] += 1
            if number == options.deliveries // 3:
                for worker in rt.tree()["workers"]:
                    if worker["pid"]:
                        os.kill(worker["pid"], signal.SIGKILL)
                        print("SIGKILL to the worker")
            if number == options.deliveries * 2 // 3 and (pid := rt.tree()["web"]):
                os.kill(pid, signal.SIGKILL)
                print("SIGKILL to the web process")
        forged = deliver(url, "delivery-forged", {"after": "x"}, secret="a guess")
        runs = rt.list(task=pushed, limit=10_000)
        values = {rt.result(run.id, timeout=PATIENCE) for run in runs}
    expected = {f"ada/shop {number:040x}" for number in range(options.deliveries)}
    print(
        f"{answers.total()} deliveries of {options.deliveries} pushes: {len(runs)} runs, the forged one got {forged}"
    )
    return (
        0
        if set(answers) == {202} and len(runs) == len(expected) and values == expected and forged == 401
        else 1
    )


if __name__ == "__main__":
    sys.exit(main())
