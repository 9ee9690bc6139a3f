"""What the guard refuses, with a real web process that the tests of a class share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from understudy.supervisor.web.guard import SECURITY, Hosts
from understudy.supervisor.web.problems import Refused
from understudy.supervisor.web_settings import WebSettings
from web_client import Web, web


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    home: Path = tmp_path_factory.mktemp("h") / "home"
    with web(home, body_bytes=10_000) as served:
        yield served


class TestRequests:
    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "[", ""]
    )
    def test_a_wrong_host(self, it: Web, host: str):
        assert it.get("/whoami", headers={"Host": host}).status_code == 400

    def test_the_usual_hosts(self, it: Web):
        for host in ("localhost", "127.0.0.1:1", "[::1]:8787", "LOCALHOST."):
            assert it.get("/whoami", headers={"Host": host}).status_code == 200

    def test_a_change_from_another_origin(self, it: Web):
        for headers in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": it.url.replace("http:", "https:")},
            {"Origin": it.url, "Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Cookie": "x=y"},
        ):
            refused = it.post("/login", None, headers=headers, data={"token": it.token})
            assert refused.status_code == 403, headers
        for headers in ({"Origin": it.url}, {"Sec-Fetch-Site": "same-origin"}, {}):
            assert it.post("/login", None, headers=headers, data={"token": it.token}).status_code == 303

    def test_a_token_in_the_wrong_place(self, it: Web):
        assert it.get(f"/whoami?token={it.token}", None).status_code == 400
        assert it.get(f"/whoami?x={it.token}").status_code == 400
        assert it.get("/whoami", None, headers={"Cookie": f"token={it.token}"}).status_code == 401
        assert it.get("/whoami", None, headers={"Authorization": f"Basic {it.token}"}).status_code == 401
        assert it.get("/whoami", it.token + "x").status_code == 401

    def test_every_answer_has_the_headers(self, it: Web):
        for answer in (
            it.get("/whoami"),
            it.get("/whoami", None),
            it.get("/nothing-here"),
            it.get("/login", None),
            it.get("/", headers={"Host": "evil.example"}),
        ):
            for name, value in SECURITY.items():
                assert answer.headers[name] == value
        assert "default-src 'none'" in SECURITY["Content-Security-Policy"]
        assert "unsafe" not in SECURITY["Content-Security-Policy"]

    def test_a_body_that_says_it_is_too_large(self, it: Web):
        assert it.post("/login", None, content=b"x" * 10_001).status_code == 413

    def test_a_body_that_does_not_say_how_large_it_is(self, it: Web):
        assert it.post("/login", None, content=iter([b"x" * 6_000] * 2)).status_code == 413


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    home: Path = tmp_path_factory.mktemp("h") / "home"
    with web(home, proxies=["127.0.0.1", "10.0.0.0/8"], hosts=["jobs.example.com"]) as served:
        yield served


class TestProxies:
    @staticmethod
    def _login(proxied: Web, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return proxied.post("/login", None, headers=named, data={"token": proxied.token})

    def test_the_address_is_the_last_one_that_no_proxy_has_written(self, proxied: Web):
        for chain, address in {
            "203.0.113.9": "203.0.113.9",
            "198.51.100.7, 203.0.113.9": "203.0.113.9",
            "203.0.113.9, 10.1.2.3": "203.0.113.9",
            "203.0.113.9,, 10.1.2.3, 127.0.0.1": "203.0.113.9",
            "10.1.2.3": "10.1.2.3",
        }.items():
            assert self._login(proxied, X_Forwarded_For=chain).status_code == 303
            assert proxied.rt.audit(limit=1)[0].address == address, chain

    def test_the_cookie_is_secure_if_the_client_came_over_https(self, proxied: Web):
        assert "Secure" in self._login(proxied, X_Forwarded_Proto="https").headers["set-cookie"]
        for proto in ("http", "", "ftp"):
            assert "Secure" not in self._login(proxied, X_Forwarded_Proto=proto).headers["set-cookie"]

    def test_the_host_is_checked_and_is_that_of_the_origin(self, proxied: Web):
        forwarded = {"X_Forwarded_Host": "jobs.example.com", "X_Forwarded_Proto": "https"}
        assert self._login(proxied, **forwarded, Origin="https://jobs.example.com").status_code == 303
        assert self._login(proxied, **forwarded, Origin=proxied.url).status_code == 403
        assert self._login(proxied, X_Forwarded_Host="evil.example").status_code == 400


def test_nobody_is_believed_who_is_no_proxy(it: Web):
    headers = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "jobs.example.com",
    }
    answer = it.post("/login", None, headers=headers, data={"token": it.token})
    assert answer.status_code == 303
    assert "Secure" not in answer.headers["set-cookie"]
    assert it.rt.audit(limit=1)[0].address == "127.0.0.1"


def test_names_of_hosts():
    def accepted(bound: str, *names: str, any_name: bool = False) -> set[str]:
        hosts = Hosts(WebSettings(hosts=names), bound, any_name=any_name)
        found = set()
        for host in ("localhost", "127.0.0.1", "[::1]", "10.0.0.7:80", "jobs.example.com", "evil.example"):
            try:
                hosts.check(host)
            except Refused:
                continue
            found.add(host)
        return found

    local = {"localhost", "127.0.0.1", "[::1]"}
    assert accepted("127.0.0.1") == local
    assert accepted("") == local
    assert accepted("10.0.0.7") == {"10.0.0.7:80"}
    assert accepted("10.0.0.7", "jobs.example.com") == {"10.0.0.7:80", "jobs.example.com"}
    assert accepted("0.0.0.0") == {*local, "10.0.0.7:80"}, "a page can rebind a name, not an address"
    assert accepted("0.0.0.0", any_name=True) == {*local, "10.0.0.7:80", "jobs.example.com", "evil.example"}
