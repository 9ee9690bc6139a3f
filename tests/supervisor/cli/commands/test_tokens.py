"""The command line of the web process: `serve --web`, `token` and `audit`; sockets that systemd has opened."""

from __future__ import annotations

import re
import signal
import socket
import stat
import subprocess
from typing import TYPE_CHECKING

import httpx

from understudy.supervisor.cli.exit_codes import ExitCode
from waiting import until

if TYPE_CHECKING:
    from conftest import Stage


def lines_of(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(count)]


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=15)
    assert process.returncode == ExitCode.OK


def test_the_first_token_is_shown_once_and_more_are_made(stage: Stage):
    process, _ = stage.serve("--web", "127.0.0.1:0", "--http", "127.0.0.1:0")
    web, http = lines_of(process, 2)
    shown = re.fullmatch(r"web: (http://127\.0\.0\.1:\d+)/#token=(ust_\S+)", web)
    triggers = re.fullmatch(r"triggers: (http://127\.0\.0\.1:\d+)", http)
    assert shown is not None, web
    assert triggers is not None, http
    url, token = shown.groups()
    assert (stage.home / "web.token").read_text().strip() == token
    assert stat.S_IMODE((stage.home / "web.token").stat().st_mode) == 0o600

    def status(token: str, base: str = url) -> int:
        return httpx.get(
            f"{base}/whoami", headers={"Authorization": f"Bearer {token}"}, timeout=20
        ).status_code

    assert status(token) == 200
    # Triggers alone: no API, no page to log in.
    assert status(token, triggers[1]) == 404
    assert httpx.get(f"{triggers[1]}/login", timeout=20).status_code == 404

    made = stage("token", "add", "ci", "--role", "run", "--tasks", "app:*", "--expires", "1h", "--json").json
    assert (made["name"], made["role"], made["tasks"]) == ("ci", "run", ["app:*"])
    assert status(made["token"]) == 200
    assert stage("token", "add", "ci").code == ExitCode.USAGE
    plain = stage("token", "add", "plain").out.strip()
    assert status(plain) == 200
    listed = stage("token", "list", "--json").json
    assert [each["name"] for each in listed[1:]] == ["ci", "plain"]
    assert not any(
        text in stage("token", "list", COLUMNS="200").out for text in (token, plain, made["token"])
    )
    assert "in 59m" in stage("token", "list", COLUMNS="200").out
    assert stage("token", "remove", "ci").code == ExitCode.OK
    assert stage("token", "remove", "ci").code == ExitCode.NOT_FOUND
    assert status(made["token"]) == 401
    actions = [each["action"] for each in stage("audit", "--json").json]
    assert actions[:3] == ["remove token ci", "add token plain (read)", "add token ci (run)"]
    assert "add token plain" in stage("audit", "-n", "2", COLUMNS="200").out
    assert len(stage("audit", "-n", "2", "--json").json) == 2
    assert stage("check").code == ExitCode.OK
    end(process)
    process, _ = stage.serve("--web", "127.0.0.1:0")
    (web,) = lines_of(process, 1)
    assert re.fullmatch(r"web: http://127\.0\.0\.1:\d+/", web)
    assert status(token, web[5:-1]) == 200, "tokens outlive the supervisor"
    end(process)


def test_sockets_of_systemd_outlive_the_supervisor(stage: Stage):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        listener.set_inheritable(True)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        # As systemd does it: descriptor 3, and the pid of the process itself.
        start = 'exec 3<&$FD; LISTEN_FDS=1 LISTEN_FDNAMES=web LISTEN_PID=$$ exec "$@"'
        command = [
            "bash",
            "-c",
            start,
            "bash",
            *stage.command,
            "serve",
            "app",
            "--web",
            "systemd",
            "--workers",
            "1",
        ]
        for _ in range(2):
            process = subprocess.Popen(
                command,
                env=stage.environment(FD=str(listener.fileno())),
                pass_fds=[listener.fileno()],
                cwd=stage.folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            # Nobody is refused, also before the supervisor serves.
            assert httpx.get(f"{url}/login", timeout=30).status_code == 200
            end(process)


def test_what_is_not_possible_is_said(stage: Stage):
    for options, said in (
        (("--web", "nowhere"), "address"),
        (("--web", "0.0.0.0:0", "--insecure"), "loopback"),
        (("--web", "systemd"), "no socket"),
        (("--web", "127.0.0.1:0", "--web-base", "jobs/"), "base"),
        (("--web", "127.0.0.1:0", "--web-proxy", "somebody"), "proxies"),
        (("--web", "127.0.0.1:0", "--web-origin", "app.example.com"), "origins"),
        (("--web", "127.0.0.1:0", "--web-host", "a/b"), "hosts"),
    ):
        answer = stage.shell("serve", "app", *options)
        assert (answer.code, said in answer.err) == (ExitCode.USAGE, True), answer.err


def test_everybody_is_an_admin_if_that_is_wanted(stage: Stage):
    process, _ = stage.serve("--web", "127.0.0.1:0", "--insecure", "--web-base", "/jobs")
    (line,) = lines_of(process, 1)
    url = line[5:].partition("#")[0].rstrip("/")
    assert url.endswith("/jobs")
    who = httpx.get(f"{url}/whoami", timeout=20).json()
    assert (who["name"], who["role"]) == ("insecure", "admin")
    assert httpx.get(f"{url}/whoami", headers={"Host": "evil.example"}, timeout=20).status_code == 400
    assert (
        httpx.post(f"{url}/logout", headers={"Origin": "http://evil.example"}, timeout=20).status_code == 403
    )
    until(lambda: httpx.post(f"{url}/logout", timeout=20).status_code == 303)
    end(process)
