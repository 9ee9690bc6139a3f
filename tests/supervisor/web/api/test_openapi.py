"""The document describes what is served: Schemathesis makes requests from it, and compares the answers with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from web_client import web

#: Requests of each operation that are made at random. `make api` sets more.
EXAMPLES = os.environ.get("API_EXAMPLES", "3")


@pytest.mark.timeout(int(os.environ.get("API_TIMEOUT", "90")))
def test_no_request_finds_a_failure(home: Path, tmp_path: Path):
    with web(home, "api_app") as it:
        assert it.rt.run("call_tasks:add", 1, timeout=20) == 2
        it.rt.start("call_tasks:refuse")
        it.rt.start("call_tasks:collect")
        it.rt.actor("kit_tasks:Account", "ada", "Ada")
        it.rt.emit("order.closed", {"order": 1}, id="order-1")
        found = subprocess.run(
            [
                *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
                *("--config-file", Path(__file__).with_name("schemathesis.toml"), "run"),
                f"{it.url}/api/openapi.json",
                *("--header", f"Authorization: Bearer {it.token}"),
                # Wrong tokens get 429 after a while. test_routes.py looks at each route without a token.
                *("--checks", "all", "--exclude-checks", "ignored_auth"),
                *("--max-examples", EXAMPLES, "--seed", "1", "--no-color"),
                # Not "stateful": in 13 s it goes along one of the 118 links that it infers. The tests of each noun make
                # such sequences themselves.
                *("--phases", "coverage,fuzzing"),
                # It would remove its own token, which it has seen in the list.
                *("--exclude-operation-id", "remove_api_tokens__name__delete"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stdout[-20_000:] + found.stderr[-2_000:]
        # The process that served all this is still the first one.
        assert "defect" not in found.stdout
        assert it.get("/api/tasks").status_code == 200
