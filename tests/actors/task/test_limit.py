"""Limits and rates: what they are made of, and what is refused where it is written."""

from __future__ import annotations

from typing import Any

import pytest

from understudy import Actor, InvalidOption, Limit, Rate, task
from understudy.actors.task.options import LIMITS, Options


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10/s", Rate(10, 1)),
        ("100/m", Rate(100, 60)),
        (" 5 / h ", Rate(5, 3600)),
        (Rate(2, 0.5), Rate(2, 0.5)),
    ],
)
def test_a_rate_is_written_as_text(text: Any, rate: Rate):
    assert Rate.of(text) == rate
    assert Rate.of([rate.count, rate.per]) == rate
    assert Limit("api", rate=text).rate == rate


@pytest.mark.parametrize("rate", [Rate(10), Rate(100, 60), Rate(5, 3600)])
def test_a_rate_is_its_text(rate: Rate):
    assert Rate.of(str(rate)) == rate


@pytest.mark.parametrize("wrong", ["10", "10/d", "s/10", "-1/s", "0/s", 10, None, (1, 2, 3), ["a", 1]])
def test_what_is_no_rate_is_refused(wrong: Any):
    with pytest.raises(InvalidOption):
        Rate.of(wrong)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: Rate(0), "count of a rate"),
        (lambda: Rate(1.5), "count of a rate"),  # type: ignore[arg-type]
        (lambda: Rate(1, per=0), "per must be"),
        (lambda: Rate(1, per=-1), "per must be"),
        (lambda: Limit("api"), "'api' limits nothing"),
        (lambda: Limit("", 1), "name of a limit"),
        (lambda: Limit("a\nb", 1), "name of a limit"),
        (lambda: Limit(1, 1), "name of a limit"),  # type: ignore[arg-type]
        (lambda: Limit("api", 0), "concurrency must be"),
        (lambda: Limit("api", True), "concurrency must be"),
        (lambda: Limit("api", rate="often"), "rate must be"),
        (lambda: Options(concurrency=0), "concurrency must be"),
        (lambda: Options(rate="often"), "rate must be"),  # type: ignore[arg-type]
        (lambda: Options(limit="api"), "limit must be a Limit"),  # type: ignore[arg-type]
        (lambda: Options(limit=Limit("api", 1), concurrency=2), "not both"),
        (lambda: Options(limit_by=("host",)), "limit_by needs a limit"),
        (lambda: Options(concurrency=1, limit_by=()), "limit_by must be"),
        (lambda: Options(concurrency=1, limit_by=(1,)), "limit_by must be"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_limit_is_refused_where_it_is_written(made: Any, says: str):
    with pytest.raises(InvalidOption, match=says):
        made()


def test_limit_by_names_parameters():
    with pytest.raises(
        InvalidOption, match=r"limit_by names 'hots', and .*fetch has the parameters host, path"
    ):

        @task(concurrency=1, limit_by="hots")
        def fetch(host: str, path: str) -> None: ...


def test_a_limit_is_declared_and_not_given_to_one_start():
    @task(concurrency=1)
    def limited() -> None: ...

    with pytest.raises(InvalidOption, match="concurrency= holds for all starts"):
        limited.options(concurrency=2)
    with pytest.raises(InvalidOption, match="limit_key must be"):
        limited.options(limit_key="")
    assert limited.options(limit_key="a").launch.limit_key == "a"

    @task
    def free() -> None: ...

    with pytest.raises(InvalidOption, match="limit_key= is for a task with a limit"):
        free.options(limit_key="a")


def test_an_actor_has_no_limit():
    with pytest.raises(InvalidOption, match="unknown option 'concurrency'"):

        class Limited(Actor, concurrency=1):  # type: ignore[call-arg]
            pass


@pytest.mark.parametrize(
    "options",
    [
        Options(concurrency=2, rate="5/m", limit_by="host"),  # type: ignore[arg-type]
        Options(limit=Limit("api", 3, Rate(2, 7)), limit_by=("a", "b")),
        Options(),
    ],
)
def test_options_come_back_as_they_were_packed(options: Options):
    again = Options.unpack(options.pack())
    assert [getattr(again, name) for name in LIMITS] == [getattr(options, name) for name in LIMITS]


def test_a_task_has_a_limit_of_its_own_or_a_shared_one():
    assert Options().limit_of("t") is None
    assert Options(concurrency=2).limit_of("t") == Limit("t", concurrency=2)
    assert Options(rate=Rate(1)).limit_of("t") == Limit("t", rate=Rate(1))
    shared = Limit("api", concurrency=1)
    assert Options(limit=shared).limit_of("t") is shared
    assert (str(shared), str(Limit("b", 2, "3/m"))) == ("1 at once", "2 at once, 3/m")
