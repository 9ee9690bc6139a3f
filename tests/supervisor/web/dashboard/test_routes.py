"""The pages of the dashboard in a real browser, over a real supervisor and a server process of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import shop_tasks as shop
from browsers import Watched, login
from checkout import ROOT
from understudy import Runtime, State
from waiting import until

EVIL = "<img src=x onerror=alert(1)></script><b>\"'&{{7*7}}\u202e\x1b[31m"
WIDE, NARROW = (1280, 800), (360, 740)
#: Each is checked in light and dark, wide and narrow.
PAGES = [
    "overview", "tasks", "failed", "mistake", "task", "running", "stack", "no stack", "hostile", "log", "errors",
    "schedules", "schedule", "events", "event", "streams", "stream", "system", "start", "bulk",
]  # fmt: skip
#: With it every page is tried in all four ways by axe-core. Without it in two, which have both themes and both widths.
THOROUGH = "UNDERSTUDY_PAGES" in os.environ
#: With it the pictures of docs/dashboard.md are taken anew.
WITH_PICTURES = "UNDERSTUDY_PICTURES" in os.environ
PICTURES = [
    "overview-light", "tasks-light", "running-dark", "errors-light", "schedule-light", "stream-light", "bulk-light",
    "tasks-narrow-dark", "overview-narrow-light",
]  # fmt: skip


class Stage:
    """A shop in which everything has happened that a page can show."""

    def __init__(self, home: Path, *, filled: bool = True) -> None:
        self.rt = Runtime(home, app="shop_schedules", workers=2 if filled else 1, web="127.0.0.1:0")
        url = self.rt.web_url
        assert url is not None
        self.url = url
        until(lambda: self.rt.tree()["workers"])
        httpx.get(f"{url}/login", timeout=20)
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
        for each in (order, hostile):
            rt.wait(each, timeout=30)
        until(lambda: rt.status(running).checkpoint_time, message="the stocktake has counted")
        until(lambda: not rt.search("state:queued task:*mail"))
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
            "system": "/system",
            "start": "/start?task=shop_tasks:charge",
            "bulk": "/bulk?q=state:failed&do=retry",
        }

    def get(self, address: str, **headers: str) -> httpx.Response:
        headers["Authorization"] = f"Bearer {self.token}"
        return httpx.get(self.url + address, headers=headers, timeout=20)

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
        assert f"{count} tasks were cancelled" in page.inner_text(".notice")
        assert stage.rt.status(made[0]).state is State.CANCELLED
        assert stage.rt.status(late).state is State.QUEUED

    def test_ten_thousand(self, stage: Stage, watched: Watched):
        stage.rt.start_many(shop.later.options(delay=3600), range(10_000))
        watched.page.goto(f"{watched.url}/tasks?q=task:*later&limit=10000")
        assert watched.page.locator("tr[id^='t-']").count() == 10_000
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
        shown = watched.page.inner_text("#page table")
        first = stage.web_pid
        os.kill(first, signal.SIGKILL)
        assert watched.page.inner_text("#page table") == shown
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
