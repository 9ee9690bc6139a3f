"""The examples run, as a user would run them, and do what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from checkout import ROOT
from engines import IMAGE, engine


def run(example: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / example), *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_the_index_is_right_although_everybody_is_killed(tmp_path: Path) -> None:
    ended = run("index_stdlib.py", "--limit", "400", "--home", str(tmp_path / "home"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("SIGKILL to the worker") == 2
    assert ended.stdout.count("SIGKILL to the supervisor") == 1
    assert "equal to the plain computation: 400 files" in ended.stdout


def test_the_words_counted_in_containers_are_right_although_the_worker_is_killed(tmp_path: Path) -> None:
    engine()
    ended = run(
        "container_pipeline.py", "--image", IMAGE, "--packages", "4", "--home", str(tmp_path / "home")
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("SIGKILL to the worker") == 1
    assert "equal to the plain computation" in ended.stdout


def test_webhooks_go_out_although_the_worker_is_killed(tmp_path: Path) -> None:
    ended = run("outgoing_webhooks.py", "--home", str(tmp_path / "home"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("SIGKILL to the worker") == 1
    assert "20 events delivered, 20 delivery ids, 20 orders, 0 signatures refused" in ended.stdout


def test_the_gateway_loses_no_trade_although_it_is_killed(tmp_path: Path) -> None:
    ended = run("market_gateway.py", "--trades", "2000", "--home", str(tmp_path / "home"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("SIGKILL to the worker") == 2
    assert ended.stdout.count("connection cut off") == 2
    assert "80 bars of 2000 trades begun 3 times: equal to the plain computation" in ended.stdout


def test_the_agent_remembers_the_conversation_although_it_is_killed(tmp_path: Path) -> None:
    ended = run("chat_agent.py", "--home", str(tmp_path / "home"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("SIGKILL to the agent's worker") == 2
    assert "6 questions, 2 tools used, begun 3 times, history intact" in ended.stdout


def test_the_bank_keeps_its_books_although_everybody_is_killed(tmp_path: Path) -> None:
    ended = run("bank.py", "--transfers", "200", "--home", str(tmp_path / "home"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for killed in ("worker", "supervisor", "teller"):
        assert ended.stdout.count(f"SIGKILL to the {killed}") == 2
    assert "exact: the bank holds 800, as before" in ended.stdout


def test_the_twins_notice_the_silence_of_their_devices_although_they_are_killed(tmp_path: Path) -> None:
    ended = run("device_twins.py", "--devices", "24", "--home", str(tmp_path / "home"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "6 devices fall silent" in ended.stdout
    assert "SIGKILL to the worker" in ended.stdout
    assert "SIGKILL to the supervisor" in ended.stdout
    assert "exact: 24 histories" in ended.stdout


def test_the_saga_pays_each_order_once_although_the_supervisor_is_killed(tmp_path: Path) -> None:
    ended = run("order_saga.py", "--home", str(tmp_path / "home"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("SIGKILL to the supervisor") == 1
    assert "alert: fulfil failed: order 4: nobody has a unicorn" in ended.stdout
    assert "each payment once, the stock is right, one alert" in ended.stdout


def test_every_night_has_its_report_although_the_machine_was_off(tmp_path: Path) -> None:
    ended = run("nightly_reports.py", "--home", str(tmp_path / "home"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "nights later" in ended.stdout
    assert "every night has its report: 8 of 8" in ended.stdout


def test_each_cause_of_failures_sends_one_alert_although_all_is_killed(tmp_path: Path) -> None:
    ended = run("failure_alerts.py", "--home", str(tmp_path / "home"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("SIGKILL to the supervisor") == 1
    assert ended.stdout.count("alert: ") == 2
    assert "30 failures of 2 causes sent 2 alerts" in ended.stdout


def test_the_screen_shows_each_word_of_the_agent_once_although_both_are_killed(tmp_path: Path) -> None:
    ended = run("watched_agent.py", "--steps", "30", "--home", str(tmp_path / "home"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("SIGKILL to the agent's worker, to the supervisor and to the screen") == 2
    assert "60 words, each once and in order" in ended.stdout


def test_services_come_back_in_order_although_one_is_killed(tmp_path: Path) -> None:
    ended = run("services.py", "--home", str(tmp_path / "home"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "both run again" in ended.stdout
    assert "prices: [101, 102, 103, 104]; the feed is the same task" in ended.stdout


def test_the_scraper_is_polite_to_each_host(tmp_path: Path) -> None:
    ended = run("polite_scraper.py", "--home", str(tmp_path / "home"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("10 pages, at most 5 in a second") == 3


def test_the_page_shows_each_step_once_although_the_web_process_is_killed(tmp_path: Path) -> None:
    ended = run("progress_page.py", "--home", str(tmp_path / "home"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("SIGKILL to the web process") == 1
    assert "30 steps shown, each once and in order: True" in ended.stdout


def test_the_agent_of_the_page_keeps_its_history_although_all_is_killed(tmp_path: Path) -> None:
    ended = run("chat_page.py", "--home", str(tmp_path / "home"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("SIGKILL to the agent") == 2
    assert "SIGKILL to the web process" in ended.stdout
    assert "4 answers, each once, the history is whole: True" in ended.stdout


def test_each_delivery_of_github_is_one_run_although_all_is_killed(tmp_path: Path) -> None:
    ended = run("github_hook.py", "--home", str(tmp_path / "home"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "SIGKILL to the web process" in ended.stdout
    assert "25 deliveries of 20 pushes: 20 runs, the forged one got 401" in ended.stdout
