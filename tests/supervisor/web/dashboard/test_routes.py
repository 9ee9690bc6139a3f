"""The pages of the dashboard in a real browser, over a real supervisor and a server process of their own."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import shop_tasks as shop
import tie_tasks as ties
from browsers import Watched, login
from checkout import ROOT
from understudy import Runtime, State, Supervisor, child
from understudy.actors.access import AuditEntry
from understudy.supervisor.web.dashboard.routes import ACTIONS, ADMIN_ACTIONS, ADMIN_PAGES
from waiting import until
from web_client import PLAIN, web

EVIL = "<img src=x onerror=alert(1)></script><b>\"'&{{7*7}}\u202e\x1b[31m"
WIDE, NARROW = (1280, 800), (360, 740)
#: Each is checked in light and dark, wide and narrow.
PAGES = [
    "overview", "tasks", "failed", "mistake", "task", "running", "stack", "no stack", "hostile", "log", "errors",
    "schedules", "schedule", "events", "event", "streams", "stream", "trees", "limits", "system", "start", "audit",
    "bulk", "bulk job",
]  # fmt: skip
#: With it every page is tried in all four ways by axe-core. Without it in two, which have both themes and both widths.
THOROUGH = "UNDERSTUDY_PAGES" in os.environ
#: With it the pictures of docs/dashboard.md are taken anew.
WITH_PICTURES = "UNDERSTUDY_PICTURES" in os.environ
PICTURES = [
    "overview-light", "tasks-light", "running-dark", "errors-light", "schedule-light", "stream-light", "bulk-light",
    "tasks-narrow-dark", "overview-narrow-light",
]  # fmt: skip


def shop_tree() -> Supervisor:
    back = Supervisor("back", children=[child("till", shop.counter, EVIL[:20])])
    return Supervisor("shop", children=[child("door", shop.counter, "door"), back])


class Stage:
    """A shop in which everything has happened that a page can show."""

    def __init__(self, home: Path, *, filled: bool = True) -> None:
        self.rt = Runtime(home, app="shop_schedules", workers=2 if filled else 1, web="127.0.0.1:0")
        url = self.rt.web_url
        assert url is not None
        self.url = url
        until(lambda: self.rt.tree()["workers"])
        httpx.get(f"{url}/login", timeout=20, verify=PLAIN)
        self.token = (home / "web.token").read_text().strip()
        if filled:
            self.addresses = self._fill(self.rt)

    def _fill(self, rt: Runtime) -> dict[str, str]:
        rt.start_many(shop.charge, range(120))
        order = rt.start(shop.order, 7)
        running = rt.start(shop.stocktake.options(metadata={"tenant": "acme"}), 12)
        hostile = rt.start(shop.hostile.options(key=EVIL[:20]), EVIL)
        rt.start_many(shop.mail, ["ada@example.org", "bob@example.org"])
        rt.start_many(shop.later.options(delay=3600), range(3))
        rt.actor(shop.Basket, "ada").proxy().add("A-17").get(timeout=30)
        rt.emit("nobody.cares", {"sku": "A-17"})
        rt.schedule(shop.later, 7, after=5000, key=f"later/{EVIL[:12]}")
        rt.run_schedule("shop_schedules:sweep")
        rt.pause_schedule("shop_schedules:report")
        tree = rt.supervise(shop_tree())
        rt.start_many(shop.deliver, range(4))
        for each in (order, hostile):
            rt.wait(each, timeout=30)
        until(lambda: rt.status(running).checkpoint_time, message="the stocktake has counted")
        until(lambda: not rt.search("state:queued task:*mail"))
        until(lambda: tree.status().state == "running", 30)
        rt.send(tree.info("back/till").id, EVIL)
        until(lambda: tree.child("back/till").restarts == 1 and tree.status().state == "running", 30)
        until(lambda: any(info.waiting == 2 for info in rt.limits()), 30)
        ended = rt.start_many(shop.later.options(delay=3600), range(3))
        job = rt.wait_bulk(rt.start_bulk("cancel", f"task:{EVIL[:12]}", ids=ended, by=EVIL).id, timeout=30)
        event = rt.events(name="order.closed")[0]
        self.running = running
        return {
            "overview": "/",
            "tasks": "/tasks",
            "failed": "/tasks?q=state:failed",
            "mistake": "/tasks?q=state:faild",
            "task": f"/tasks/{order.id}",
            "running": f"/tasks/{running.id}",
            "stack": f"/tasks/{running.id}/stack",
            "no stack": f"/tasks/{order.id}/stack",
            "hostile": f"/tasks/{hostile.id}",
            "log": f"/tasks/{hostile.id}/log",
            "errors": "/errors",
            "schedules": "/schedules",
            "schedule": "/schedules/shop_schedules:sweep",
            "events": "/events",
            "event": f"/events/{event.id}",
            "streams": "/streams",
            "stream": f"/streams/{order.stream_id}",
            "trees": "/trees",
            "limits": "/limits",
            "audit": "/audit",
            "system": "/system",
            "start": "/start?task=shop_tasks:charge",
            "bulk": "/bulk?q=state:failed&do=retry",
            "bulk job": f"/bulk/{job.id}",
        }

    def get(self, address: str, **headers: str) -> httpx.Response:
        headers["Authorization"] = f"Bearer {self.token}"
        return httpx.get(self.url + address, headers=headers, timeout=20, verify=PLAIN)

    def post(self, address: str, form: dict[str, str]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.post(self.url + address, data=form, headers=headers, timeout=20, verify=PLAIN)

    def context(self, chromium: Any, **options: Any) -> Any:
        """A context of the browser that is logged in."""
        made = chromium.new_context(**options)
        login(made, self.url, self.token)
        return made

    @property
    def web_pid(self) -> int:
        return int(self.rt.tree()["web"] or 0)


@pytest.fixture(scope="class")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("h") / "home")
    yield stage
    stage.rt.close()


@pytest.fixture(scope="class")
def watched(chromium: Any, stage: Stage) -> Iterator[Watched]:
    context = stage.context(chromium, viewport={"width": WIDE[0], "height": WIDE[1]})
    yield Watched(context, stage.url)
    context.close()


class TestPages:
    """All on one runtime, with one browser."""

    @pytest.mark.parametrize("name", PAGES)
    def test_is_sound(self, stage: Stage, watched: Watched, name: str):
        watched.complaints.clear()
        watched.open(stage.addresses[name])
        for theme in ("light", "dark"):
            watched.page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            for size in (WIDE, NARROW):
                watched.page.set_viewport_size({"width": size[0], "height": size[1]})
                assert not watched.is_wider_than_its_window(), (theme, size)
                if THOROUGH or (theme == "light") == (size == WIDE):
                    assert watched.found_by_axe() == [], (theme, size)
                picture = f"{name}-{theme}" if size == WIDE else f"{name}-narrow-{theme}"
                if WITH_PICTURES and picture in PICTURES:
                    watched.page.screenshot(path=ROOT / f"docs/dashboard/{picture}.png")
        assert watched.complaints == []

    def test_hostile_data_is_text(self, stage: Stage, watched: Watched):
        for name in ("overview", "tasks", "hostile", "log", "errors", "events", "schedules"):
            watched.open(stage.addresses[name])
            assert watched.page.locator("#page img, #page b:text-is('b')").count() == 0
            assert "<img src=x" in watched.page.inner_text("#page"), name
            assert "\u202e" not in watched.page.content()
        assert watched.complaints == []

    def test_policy_is_strict_and_nothing_is_inline(self, stage: Stage):
        for address in stage.addresses.values():
            answer = stage.get(address)
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'"), address
            assert "unsafe" not in policy
            assert "http" not in policy
            assert " style=" not in answer.text
            assert " onclick=" not in answer.text

    def test_page_that_is_the_same_is_not_sent_again(self, stage: Stage):
        address = stage.addresses["task"]
        tag = stage.get(address).headers["etag"]
        assert stage.get(address, **{"If-None-Match": tag}).status_code == 304

    def test_missing_things_are_said_to_be_missing(self, stage: Stage):
        for address in (
            "/tasks/nonsense",
            "/events/none",
            "/schedules/none",
            "/streams/0",
            "/static/../page.py",
        ):
            assert stage.get(address).status_code in (400, 404, 409), address

    def test_new_rows_announce_themselves(self, stage: Stage, watched: Watched):
        watched.open("/tasks?q=task:*later")
        rows = watched.page.locator("tr[id^='t-']")
        before = rows.evaluate_all("rows => rows.map(row => row.id)")
        made = stage.rt.start(shop.later.options(delay=3600), 99)
        watched.page.wait_for_selector(".new a:text('1 new task')")
        assert rows.evaluate_all("rows => rows.map(row => row.id)") == before
        watched.page.keyboard.press("n")
        watched.page.wait_for_selector(f"#t-{made.id}")
        stage.rt.cancel(made)
        watched.page.wait_for_selector(f"#t-{made.id} .cancelled")

    def test_row_that_fits_no_more_stays(self, stage: Stage, watched: Watched):
        made = stage.rt.start(shop.later.options(delay=3600), 98)
        watched.open("/tasks?q=state:queued")
        watched.page.wait_for_selector(f"#t-{made.id}")
        stage.rt.cancel(made)
        watched.page.wait_for_selector(f"#t-{made.id}.gone")

    def test_task_ends_in_mid_view(self, stage: Stage, watched: Watched):
        made = stage.rt.start(shop.stocktake, 4)
        watched.open(f"/tasks/{made.id}")
        watched.page.wait_for_selector(".head .running")
        stage.rt.send(made, "enough")
        watched.page.wait_for_selector(".head .completed")

    def test_hidden_tab_holds_no_connection(self, watched: Watched):
        watched.open("/")
        hide = """hidden => {
            Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
            document.dispatchEvent(new Event('visibilitychange'));
        }"""
        watched.page.evaluate(hide, True)
        watched.page.wait_for_selector("#link-state[data-state='off']", state="attached")
        watched.page.evaluate(hide, False)
        watched.page.wait_for_selector("#link-state[data-state='live']", state="attached")

    def test_keys(self, watched: Watched):
        page = watched.page
        watched.open("/")
        page.keyboard.press("?")
        assert page.locator("#help").is_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("g")
        page.keyboard.press("t")
        page.wait_for_url("**/tasks")
        page.wait_for_selector("#link-state[data-state='live']", state="attached")
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "query"
        page.keyboard.press("Escape")
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url("**/tasks/*")

    def test_views_are_kept_by_the_browser(self, watched: Watched):
        watched.open("/tasks?q=state:failed")
        watched.page.click("text=Save view")
        watched.open("/tasks")
        assert watched.page.inner_text("#views a") == "state:failed"

    @pytest.fixture
    def plain(self, chromium: Any, stage: Stage) -> Iterator[Watched]:
        context = stage.context(chromium, java_script_enabled=False)
        yield Watched(context, stage.url)
        context.close()

    def test_task_is_started_sent_to_and_cancelled(self, stage: Stage, plain: Watched):
        page = plain.page
        page.goto(f"{plain.url}/start?task=shop_tasks:stocktake")
        page.fill("[name='p.shelves']", "5")
        page.click("button.main")
        id = page.url.rpartition("/")[2]
        until(lambda: stage.rt.status(id).state is State.RUNNING)
        page.reload()
        page.fill("[name=message]", '{"stop": true}')
        page.click("text=Send")
        assert stage.rt.result(id, timeout=30) == 5
        page.reload()
        page.click("text=Retry from scratch")
        again = page.url.rpartition("/")[2]
        assert again != id
        page.click("button:text('Cancel')")
        assert stage.rt.wait(again, timeout=30).state is State.CANCELLED
        page.click("summary:text('Run again')")
        page.fill("[name=kwargs]", '{"shelves": 6}')
        page.fill("[name=args]", "")
        page.click("text=Start a new task")
        third = page.url.rpartition("/")[2]
        assert stage.rt.status(third).kwargs == {"shelves": 6}
        stage.rt.cancel(third)

    def test_mistakes_are_told(self, plain: Watched):
        page = plain.page
        page.goto(f"{plain.url}/start?task=shop_tasks:stocktake")
        page.fill("[name='p.shelves']", "{")
        page.click("button.main")
        assert "shelves is no JSON" in page.inner_text("#page")

    def test_stack_of_what_runs(self, stage: Stage, plain: Watched):
        page = plain.page
        page.goto(plain.url + stage.addresses["running"])
        page.click("text=Stack")
        assert "stocktake" in page.inner_text(".calls")
        assert "shop_tasks.py" in page.inner_text(".calls")
        page.click("text=Take it again")
        assert "The task" in page.inner_text("#page h2")
        page.goto(plain.url + stage.addresses["no stack"])
        assert "has no stack any more: it is completed" in page.inner_text("#page")

    def test_trees_are_restarted_and_stopped(self, stage: Stage, plain: Watched):
        page = plain.page
        page.goto(f"{plain.url}/trees")
        assert "cannot read" in page.inner_text("tr[id='b-shop/back/till'] .error")
        tree = stage.rt.tree_of("shop")
        door = tree.info("door").id
        before = len(stage.rt.attempts(door))
        page.click("tr[id='b-shop/door'] button:text('Restart')")
        assert "shop/door is restarted" in page.inner_text(".notice")
        until(lambda: len(stage.rt.attempts(door)) > before and tree.child("door").state == "running")
        page.click("tr[id='b-shop/back'] button:text('Stop')")
        until(lambda: tree.child("back").state == "stopped")
        page.reload()
        assert page.locator("tr[id='b-shop/back'] button:text('Stop')").count() == 0
        page.click("tr[id='b-shop/back'] button:text('Restart')")
        until(lambda: tree.status().state == "running")
        page.goto(f"{plain.url}/audit?find=/trees/")
        assert "POST /trees/shop/back/stop" in page.inner_text("#page table")
        answer = stage.post("/trees/nobody/stop", {})
        assert answer.status_code == 404

    def test_limits_are_changed(self, stage: Stage, plain: Watched):
        page = plain.page
        page.goto(f"{plain.url}/limits")
        row = page.inner_text("tr:has-text('carrier')").split()
        assert row[:4] == ["carrier", "2", "100/s", "2"]
        page.select_option("[name=name]", "carrier")
        page.fill("[name=concurrency]", "3")
        page.fill("[name=rate]", "none")
        page.click("button.main")
        assert "has these numbers now" in page.inner_text(".notice")
        (info,) = [each for each in stage.rt.limits() if each.name == "carrier"]
        assert (info.concurrency, info.rate) == (3, None)
        page.check("[name=reset]")
        page.select_option("[name=name]", "carrier")
        page.click("button.main")
        (info,) = [each for each in stage.rt.limits() if each.name == "carrier"]
        assert (info.concurrency, str(info.rate)) == (2, "100/s")
        for wrong in ({"concurrency": "few"}, {"rate": "often"}, {}, {"concurrency": "0"}):
            answer = stage.post("/limits", {"name": "carrier", **wrong})
            assert answer.status_code == 400, wrong
        assert stage.post("/limits", {"name": "nobody", "rate": "none"}).status_code == 404

    def test_audit_pages_and_is_searched(self, stage: Stage, plain: Watched):
        stage.rt.record_audit(
            [AuditEntry(1.0 + n, f"ada {n}", "", "run", f"POST /x/{n}", "200", "") for n in range(450)]
        )
        page = plain.page
        seen: set[str] = set()
        page.goto(f"{plain.url}/audit?find=ADA")
        for _ in range(3):
            rows = page.locator("tbody tr").evaluate_all("rows => rows.map(row => row.innerText)")
            seen |= {row.split("\t")[1].strip() for row in rows}
            if page.locator("a[rel=next]").count():
                page.goto(plain.url + page.locator("a[rel=next]").get_attribute("href"))
        assert seen == {f"ada {n}" for n in range(450)}
        assert stage.get("/audit?before=zz").status_code == 400

    def test_what_only_admins_may(self, stage: Stage):
        for role in ("read", "run"):
            token = stage.rt.add_token(f"of {role}", role=role)
            asked = {"Authorization": f"Bearer {token}"}
            for path in ADMIN_PAGES:
                assert httpx.get(stage.url + path, headers=asked, timeout=20, verify=PLAIN).status_code == 403
            for path in ADMIN_ACTIONS:
                there = stage.url + path.replace("{path:path}", "shop")
                assert httpx.post(there, headers=asked, timeout=20, verify=PLAIN).status_code == 403
            for page in ("/trees", "/limits"):
                text = httpx.get(stage.url + page, headers=asked, timeout=20, verify=PLAIN).text
                assert "<h1>" in text
                assert 'method="post"' not in text
                assert "/audit" not in text
            for path in ACTIONS:
                there = stage.url + path.replace("{id}", "x").replace("{key:path}", "x").replace(
                    "{id:path}", "x"
                )
                status = httpx.post(there, headers=asked, timeout=20, verify=PLAIN).status_code
                assert (status == 403) == (role == "read"), path
        assert stage.rt.tree_of("shop").status().state == "running"

    def test_starts_and_deploys_are_marked(self, stage: Stage, plain: Watched):
        plain.page.goto(plain.url)
        assert plain.page.locator("svg.bars line.start").count() == 1
        assert "1 start of the supervisor" in plain.page.inner_text("#page")

    def test_schedule(self, stage: Stage, plain: Watched):
        page = plain.page
        page.goto(f"{plain.url}/schedules/shop_schedules:report")
        page.click("button:text('Resume')")
        assert stage.rt.schedule_info("shop_schedules:report").state == "active"
        page.click("button:text('Pause')")
        assert stage.rt.schedule_info("shop_schedules:report").state == "paused"
        page.click("button:text('Run now')")
        assert (
            stage.rt.wait(page.url.rpartition("/")[2], timeout=30).trigger.schedule == "shop_schedules:report"
        )
        page.goto(f"{plain.url}/schedules/shop_schedules:report")
        page.fill("[name=start]", "2026-03-02T00:00")
        page.fill("[name=end]", "2026-03-04T00:00")
        page.click("button:text('Backfill')")
        assert "2 runs were made" in page.inner_text(".notice")

    def test_event_is_replayed(self, stage: Stage, plain: Watched):
        before = len(stage.rt.events(name="order.closed")[0].runs)
        plain.page.goto(plain.url + stage.addresses["event"])
        plain.page.click("button:text-is('Replay')")
        assert len(stage.rt.events(name="order.closed")[0].runs) == before + 1

    def test_many_are_cancelled_after_a_dry_run_and_a_typed_number(self, stage: Stage, plain: Watched):
        made = stage.rt.start_many(shop.later.options(delay=3600, metadata={"bulk": "yes"}), range(101))
        page = plain.page
        query = "task:*later state:queued"
        page.goto(f"{plain.url}/bulk?{httpx.QueryParams(q=query, do='cancel')}")
        count = int(page.inner_text("h2").split()[0])
        assert count >= 101
        page.fill("[name=count]", str(count - 1))
        page.click("button.danger")
        assert "Nothing was changed" in page.inner_text("#page")
        page.goto(f"{plain.url}/bulk?{httpx.QueryParams(q=query, do='cancel')}")
        late = stage.rt.start(shop.later.options(delay=3600), 1)
        page.fill("[name=count]", str(count))
        page.click("button.danger")
        assert f"{count} tasks are being cancelled" in page.inner_text(".notice")
        id = page.url.rpartition("/")[2]
        info = stage.rt.wait_bulk(id, timeout=30)
        assert (info.state, info.outcomes) == ("completed", {"cancelled": count})
        assert stage.rt.status(made[0]).state is State.CANCELLED
        assert stage.rt.status(late).state is State.QUEUED, "it came after the dry run"
        page.reload()
        assert "cancelled" in page.inner_text(f"#t-{stage.rt.bulk_outcomes(id)[0].id}")
        assert page.locator("a[rel=next]").count() == 1
        page.goto(f"{plain.url}/bulk")
        assert query in page.inner_text(f"#k-{id}")
        (entry,) = [each for each in stage.rt.audit(limit=500) if f"({id})" in each.action]
        assert info.by.startswith("first"), "the name of the token"
        assert (entry.who, entry.outcome) == (info.by, f"completed: {count} cancelled of {count}")
        # Sent twice, it is one bulk; what is no dry run is refused.
        again = stage.post("/bulk", {"run": id, "count": str(count)})
        assert (again.status_code, again.headers["location"]) == (303, f"/bulk/{id}")
        assert stage.rt.status(late).state is State.QUEUED
        assert stage.post("/bulk", {"run": "x", "count": str(count)}).status_code == 404

    def test_a_list_under_five_thousand_tasks_a_second_stays_still_and_right(
        self, stage: Stage, watched: Watched
    ):
        rt = stage.rt
        rt.start_many(shop.scan, range(30))
        until(lambda: rt.counts()["shop_tasks:scan"].get(State.COMPLETED) == 30, 30)
        watched.complaints.clear()
        watched.open("/tasks?q=task:*scan")
        rows = watched.page.locator("tr[id^='t-']")
        before = rows.evaluate_all("rows => rows.map(row => row.id)")
        assert len(before) == 30
        for _ in range(3):
            rt.start_many(shop.scan, range(5000))
            assert rows.evaluate_all("rows => rows.map(row => row.id)") == before
        until(lambda: rt.counts()["shop_tasks:scan"].get(State.COMPLETED) == 15_030, 60)
        watched.page.wait_for_selector(".new a:text('more than 200 new tasks')")
        assert rows.evaluate_all("rows => rows.map(row => row.id)") == before
        assert set(rows.locator(".state").all_inner_texts()) == {"completed"}
        watched.page.keyboard.press("n")
        newest = rt.search("task:*scan", limit=1)[0].id
        watched.page.wait_for_selector(f"tbody tr:first-child[id='t-{newest}']")
        assert watched.complaints == []

    def test_ten_thousand(self, stage: Stage, watched: Watched):
        stage.rt.start_many(shop.later.options(delay=3600), range(10_000))
        address = "/tasks?q=task:*later&limit="
        assert stage.get(f"{address}10000").text.count('<tr id="t-') == 10_000
        # So many take the browser a quarter of a minute.
        shown = 10_000 if THOROUGH else 1_500
        watched.page.goto(f"{watched.url}{address}{shown}")
        assert watched.page.locator("tr[id^='t-']").count() == shown
        assert "more than" in watched.page.inner_text(".count")
        assert watched.complaints == []


class TestKilled:
    @pytest.fixture
    def stage(self, home: Path) -> Iterator[Stage]:
        stage = Stage(home, filled=False)
        yield stage
        stage.rt.close()

    @pytest.fixture
    def watched(self, chromium: Any, stage: Stage) -> Iterator[Watched]:
        context = stage.context(chromium)
        yield Watched(context, stage.url)
        context.close()

    def test_web_process_is_killed_in_mid_view(self, stage: Stage, watched: Watched):
        stage.rt.start_many(shop.later.options(delay=3600), range(3))
        watched.open("/tasks?q=task:*later")

        def shown() -> list[str]:
            rows = watched.page.locator("#page tr[id^='t-']")
            return list(rows.evaluate_all("rows => rows.map(row => row.id)"))

        before, first = shown(), stage.web_pid
        assert len(before) == 3
        os.kill(first, signal.SIGKILL)
        assert shown() == before
        until(lambda: stage.web_pid not in (0, first), 20)
        made = stage.rt.start(shop.later.options(delay=3600), 97)
        watched.page.wait_for_selector(".new")
        stage.rt.cancel(made)
        # The browser says that a connection was lost.
        assert not [each for each in watched.complaints if each.startswith("uncaught")]

    def test_supervisor_is_killed_in_mid_view(self, stage: Stage, watched: Watched):
        watched.open("/")
        os.kill(stage.rt.supervisor_pid, signal.SIGKILL)
        watched.page.keyboard.press("r")
        made = stage.rt.start(shop.charge, 5)
        stage.rt.wait(made, timeout=30)
        watched.page.wait_for_function("!document.querySelector('.warning')")
        assert not [each for each in watched.complaints if each.startswith("uncaught")]


def test_links_monitors_and_pools_are_shown(home: Path):
    with web(home, "tie_tasks") as it:
        parent = it.rt.start(ties.parent, 1)
        child = until(lambda: it.rt.list(task="ties:rest"), 20)[0].id
        watch = it.rt.start(ties.watch, [child], 1)
        until(
            lambda: it.rt.status(watch).state is State.RUNNING and watch.id in it.get(f"/tasks/{child}").text,
            20,
        )
        page = it.get(f"/tasks/{child}").text
        assert re.search(rf"<dt>Linked to</dt><dd><a [^>]*{parent.id}", page)
        assert re.search(rf"<dt>Monitored by</dt><dd><a [^>]*{watch.id}", page)
        assert re.search(rf"<dt>Linked</dt><dd><a [^>]*{child}", it.get(f"/tasks/{parent.id}").text)
        assert re.search(rf"<dt>Monitors</dt><dd><a [^>]*{child}", it.get(f"/tasks/{watch.id}").text)
        (pool,) = it.rt.pools()
        assert re.search(rf"tasks without a pool.*of {pool.slots} <meter", it.get("/system").text)
        parent.cancel()
