"""Who makes a request: tokens, sessions, roles, and what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from understudy.actors.access import Role, has_token, new_token
from understudy.supervisor.web.failed_logins import KEPT, MOST, WINDOW, FailedLogins
from understudy.supervisor.web.identity import Identity
from understudy.supervisor.web.problems import Refused
from waiting import until
from web_client import Web, web


@pytest.fixture(scope="class")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    home: Path = tmp_path_factory.mktemp("h") / "home"
    with web(home) as served:
        yield served


def log_in(it: Web, token: str, path: str = "/") -> str:
    """The cookie of a new session."""
    answer = it.post("/login", None, headers={"Origin": it.url}, data={"token": token, "next": path})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert "; HttpOnly" in cookie
    assert "; SameSite=strict" in cookie
    return cookie.partition(";")[0]


class TestRequests:
    def test_without_a_token(self, it: Web):
        answer = it.get("/whoami", None)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        page = it.get("/whoami?x=1", None, headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=/whoami%3Fx%3D1")

    def test_a_token_until_it_is_removed_and_its_session(self, it: Web):
        text = it.rt.add_token("short-lived", role="run", tasks=["app:*"])
        cookie = log_in(it, text)
        assert it.get("/whoami", text).json() == {
            "name": "short-lived",
            "role": "run",
            "tasks": ["app:*"],
            "by": "token",
        }
        assert it.get("/whoami", None, headers={"Cookie": cookie}).json()["by"] == "session"
        assert it.rt.remove_token("short-lived")
        assert it.get("/whoami", text).status_code == 401
        assert it.get("/whoami", None, headers={"Cookie": cookie}).status_code == 401

    def test_a_token_that_expires(self, it: Web):
        text = it.rt.add_token("brief", expires=0.2)
        until(lambda: it.get("/whoami", text).status_code == 401)
        assert "expired" in it.get("/whoami", text).json()["detail"]

    def test_a_changed_session(self, it: Web):
        cookie = log_in(it, it.token)
        for changed in (
            cookie[:-2] + "xx",
            cookie.partition(".")[0],
            cookie + "x",
            cookie.partition("=")[0] + "=é",
        ):
            answer = it.get("/whoami", None, headers={"Cookie": changed.encode()})
            assert answer.status_code == 401, changed

    def test_after_the_login_the_browser_goes_on_inside(self, it: Web):
        for path, place in {
            "/tasks?q=state%3Afailed": "/tasks?q=state%3Afailed",
            "": "/",
            "//evil.example/": "/",
            "https://evil.example/": "/",
            "/\\evil.example": "/",
            "/a\r\nX: y": "/",
        }.items():
            answer = it.post(
                "/login", None, headers={"Origin": it.url}, data={"token": it.token, "next": path}
            )
            assert answer.headers["location"] == place

    def test_the_page_to_log_in_shows_no_token_and_escapes(self, it: Web):
        page = it.get('/login?next="><script>alert(1)</script>', None)
        assert page.headers["content-type"].startswith("text/html")
        assert "<script>alert" not in page.text
        assert it.get("/login/login.js", None).headers["content-type"].startswith("text/javascript")

    def test_a_logout_takes_the_cookie_away(self, it: Web):
        cookie = log_in(it, it.token)
        answer = it.post("/logout", None, headers={"Origin": it.url, "Cookie": cookie})
        assert "Max-Age=0" in answer.headers["set-cookie"]

    def test_the_audit_has_it_when_the_answer_comes(self, it: Web):
        text = it.rt.add_token("watched-over")
        log_in(it, text)
        entry = it.rt.audit(limit=1)[0]
        token = next(token for token in it.rt.tokens() if token.name == "watched-over")
        assert (entry.who, entry.token, entry.role, entry.action, entry.outcome, entry.address) == (
            "watched-over",
            token.id,
            "read",
            "POST /login",
            "303",
            "127.0.0.1",
        )

    def test_a_wrong_token_is_in_the_audit_and_too_many_are_refused(self, it: Web):
        seen = [
            it.post("/login", None, headers={"Origin": it.url}, data={"token": f"wrong {number}"}).status_code
            for number in range(MOST + 2)
        ]
        assert seen == [401] * MOST + [429] * 2
        assert sum(entry.who == "wrong token" for entry in it.rt.audit(limit=50)) == MOST
        assert it.get("/whoami", "ust_0123").status_code == 429
        # One with the right token of another id is not locked out.
        assert it.get("/whoami").status_code == 200


def test_failures_are_counted_by_address_and_id_for_a_while():
    now = [0.0]
    failures = FailedLogins(lambda: now[0])
    for _ in range(MOST):
        failures.check("a", "1")
        failures.note("a", "1")
    with pytest.raises(Refused) as caught:
        failures.check("a", "1")
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, str(int(WINDOW) + 1))
    failures.check("b", "1")
    failures.check("a", "2")
    now[0] = WINDOW
    failures.check("a", "1")
    failures.note("a", "1")
    failures.check("a", "1")
    for number in range(2 * KEPT):
        failures.note(str(number), "")
    assert len(failures._failures) == KEPT


def test_what_an_identity_may():
    reader = Identity("r", Role.READ, ("app:*",))
    assert reader.may("read")
    assert not reader.may("run")
    assert reader.sees("app:add")
    assert not reader.sees("shop:add")
    assert not reader.sees_all
    assert Identity("a", Role.ADMIN).sees_all


def test_what_looks_like_a_token():
    _, token, _ = new_token()
    assert has_token(f"/api/tasks/{token}")
    assert not any(map(has_token, ("task:trust_me", "ust_", "ust_0123456789abcdef", f"usw_{token[4:]}")))


def test_a_token_in_a_url_is_refused_wherever_it_stands_there(home: Path):
    with web(home) as it:
        for path in (f"/api/tasks/{it.token}", f"/api/tasks?q={it.token}", f"/?a=us%74_{it.token[4:]}"):
            answer = it.get(path)
            assert (answer.status_code, it.token in answer.text) == (400, False)
        assert it.get("/api/tasks?q=task:trust_me").status_code == 200
