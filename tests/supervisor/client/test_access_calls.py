"""Tokens, the audit and tokens for one task, in a runtime without processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from call_tasks import add
from understudy import InvalidOption
from understudy.actors.access import AuditEntry, Role, digest, read_watch, token_id
from understudy.storage.check_access import AccessCheck
from understudy.storage.tables.access_rows import KEPT, KEY, audit_key, token_key
from understudy.storage.tables.schema import Table
from understudy.testing import InlineRuntime


@pytest.fixture
def rt() -> Iterator[InlineRuntime]:
    with InlineRuntime() as runtime:
        yield runtime


def test_a_token_is_kept_without_its_secret(rt: InlineRuntime):
    text = rt.add_token("ci", role="run", tasks=["app:*", "shop:*"], expires=60)
    (token,) = rt.tokens()
    assert (token.name, token.role, token.tasks) == ("ci", Role.RUN, ("app:*", "shop:*"))
    assert token.id == token_id(text)
    assert token.expires == pytest.approx(token.created + 60)
    found = rt._reader.token(token.id)
    assert found == (token, digest(text))
    assert text.rpartition("_")[2] not in str(rt.tokens())


def test_names_are_unique_and_free_again(rt: InlineRuntime):
    rt.add_token("ci")
    with pytest.raises(InvalidOption, match="already"):
        rt.add_token("ci", role="admin")
    assert rt.remove_token("ci")
    assert not rt.remove_token("ci")
    rt.add_token("ci")
    assert rt.remove_token(rt.tokens()[0].id), "by its id"


def test_the_audit_says_who_did_what_newest_first(rt: InlineRuntime):
    rt.add_token("ci")
    rt.record_audit([AuditEntry(1e12, "ci", "id", "read", "POST /api/tasks", "403", "10.1.2.3")])
    rt.remove_token("ci")
    entry, *more = rt.audit()
    assert entry == AuditEntry(1e12, "ci", "id", "read", "POST /api/tasks", "403", "10.1.2.3")
    assert [each.action for each in more] == ["remove token ci", "add token ci (read)"]
    assert len(rt.audit(limit=1)) == 1


def test_the_audit_is_bounded(rt: InlineRuntime):
    for part in range(11):
        rt.record_audit(
            [
                AuditEntry(float(part * 1_000 + number), "", "", "", str(number), "", "")
                for number in range(1_000)
            ]
        )
    kept = rt.audit(limit=2 * KEPT)
    assert KEPT <= len(kept) <= KEPT + KEPT // 100
    assert (kept[0].time, kept[-1].time) == (10_999.0, 11_000.0 - len(kept))


def test_hostile_text_is_cut_and_kept(rt: InlineRuntime):
    rt.record_audit([AuditEntry(1.0, "\ud800" + "x" * 9_999, "", "", "\x1b[31m", "", "")])
    (entry,) = rt.audit()
    assert len(entry.who) == 500
    assert entry.action == "\x1b[31m"


def test_a_token_for_one_task(rt: InlineRuntime):
    info = rt.start(add, 1)
    key = rt._reader.access_key()
    token = rt.watch_token(info, expires=60, send=True)
    key = rt._reader.access_key()
    assert key is not None
    now = rt._client.clock.time()
    grant = read_watch(key, token, now)
    assert grant is not None
    assert (grant.id, grant.is_stream, grant.send) == (info.id_bytes, False, True)
    assert read_watch(key, token, now + 62) is None
    stream = rt.stream(info.stream_id)
    grant = read_watch(key, rt.watch_token(stream), now)
    assert grant is not None
    assert (grant.is_stream, grant.send) == (True, False)


def test_a_token_for_one_task_is_checked(rt: InlineRuntime):
    info = rt.start(add, 1)
    for wrong in ({"expires": 0}, {"expires": 1e9}, {"send": 1}):
        with pytest.raises(InvalidOption):
            rt.watch_token(info, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="mailbox"):
        rt.watch_token(rt.stream(info.stream_id), send=True)


def test_there_is_no_web_process(rt: InlineRuntime):
    assert rt.web_url is None


def test_damaged_rows_are_found_and_can_be_removed(rt: InlineRuntime):
    rt.add_token("ci")
    rt.record_audit([AuditEntry(1.0, "ci", "", "", "x", "", "")])
    (token,) = rt.tokens()
    check = AccessCheck()
    key = token_key(token.id)
    with rt._reader._read() as snapshot:
        rows = list(snapshot.rows(Table.META))
    assert [problem for row in rows for problem in check.problems(*row)] == []
    assert list(AccessCheck().problems(key, b"\x93abc"))
    assert list(AccessCheck().problems(audit_key(b"x" * 12), b"\x93abc"))
    assert list(AccessCheck().problems(KEY, b"short"))
