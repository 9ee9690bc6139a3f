from __future__ import annotations

import random
import sys
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.errors import EngineAbsent, InvalidOption, UnderstudyError
from understudy.actors.task.retry import ATTEMPTS_LIMIT, GROUP_LIMIT, JITTER, Retry, leaves, lineage, lineages


class Flaky(ConnectionError):
    pass


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        ("fixed", [3, 3, 3, 3, 3, 3]),
        ("linear", [3, 6, 9, 12, 15, 18]),
        ("exponential", [3, 6, 12, 20, 20, 20]),
    ],
)
def test_delays(backoff: Any, expected: list[float]) -> None:
    retry = Retry(9, delay=3, backoff=backoff, max_delay=20)
    assert [retry.wait(n) for n in range(6)] == expected


@pytest.mark.parametrize("backoff", ["fixed", "linear", "exponential"])
@pytest.mark.parametrize("delay", [0, 1e-3, 1, 1e300])
def test_the_cap_holds_however_late(backoff: Any, delay: float) -> None:
    retry = Retry(ATTEMPTS_LIMIT, delay=delay, backoff=backoff, max_delay=300)
    for n in (63, 64, 65, 1023, 1024, 100_000, ATTEMPTS_LIMIT):
        assert 0 <= retry.wait(n) <= 300
    assert Retry(delay=1, backoff="exponential").wait(100_000) == 300
    assert Retry(delay=0, backoff="exponential").wait(100_000) == 0


@given(st.integers(0, 50), st.integers())
def test_jitter_stays_within_its_part(n: int, seed: int) -> None:
    plain = Retry(delay=2, backoff="exponential", max_delay=60)
    spread = Retry(delay=2, backoff="exponential", max_delay=60, jitter=True)
    seconds = spread.wait(n, random.Random(seed))
    assert (1 - JITTER) * plain.wait(n) <= seconds <= (1 + JITTER) * plain.wait(n)
    assert seconds == spread.wait(n, random.Random(seed))


def test_jitter_uses_its_whole_part() -> None:
    rng = random.Random(7)
    drawn = [Retry(delay=100, jitter=True).wait(0, rng) for _ in range(2_000)]
    assert 90 <= min(drawn) < 91
    assert 109 < max(drawn) <= 110
    assert abs(sum(drawn) / len(drawn) - 100) < 1


@pytest.mark.parametrize(
    ("on", "error", "wanted"),
    [
        ((Exception,), ValueError, True),
        ((Exception,), Flaky, True),
        ((Exception,), SystemExit, False),
        ((BaseException,), SystemExit, True),
        (ValueError, ValueError, True),
        (OSError, Flaky, True),
        (Flaky, ConnectionError, False),
        ([ValueError, ConnectionError], Flaky, True),
        ((ValueError, KeyError), Flaky, False),
        ("builtins:OSError", Flaky, True),
        (("builtins:ValueError", OSError), Flaky, True),
        (f"{__name__}:Flaky", Flaky, True),
        ("elsewhere:Flaky", Flaky, False),
        ((TimeoutError,), TimeoutError, True),
        ("understudy:EngineAbsent", EngineAbsent, True),
        (["understudy:BoxError", KeyError], EngineAbsent, True),
        ("understudy.actors.errors:EngineAbsent", EngineAbsent, True),
        ("understudy:BoxFailed", EngineAbsent, False),
        ((), ValueError, False),
    ],
)
def test_on(on: Any, error: type[BaseException], wanted: bool) -> None:
    retry = Retry(1, on=on)
    assert retry.wants([lineage(error)]) is wanted
    assert Retry.unpack(retry.pack()).wants([lineage(error)]) is wanted


def group(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("several", errors)


@pytest.mark.parametrize(
    ("policy", "error", "wanted"),
    [
        ({"not_on": Flaky}, Flaky(), False),
        ({"not_on": Flaky}, ConnectionError(), True),
        ({"not_on": "builtins:OSError"}, Flaky(), False),
        ({"on": OSError, "not_on": [KeyError, Flaky]}, OSError(), True),
        # A group is what is in it.
        ({"on": ConnectionError}, group(Flaky()), True),
        ({"on": ConnectionError}, group(Flaky(), group(ConnectionError())), True),
        ({"on": ConnectionError}, group(Flaky(), ValueError()), False),
        ({"on": (ConnectionError, ValueError)}, group(Flaky(), group(ValueError())), True),
        ({}, group(Flaky(), ValueError()), True),
        ({}, group(Flaky(), SystemExit()), False),
        ({"not_on": ValueError}, group(Flaky(), group(ValueError())), False),
        ({"on": ExceptionGroup}, ExceptionGroup("g", [Flaky(), ValueError()]), True),
        ({"on": ExceptionGroup}, Flaky(), False),
        ({"not_on": BaseExceptionGroup}, group(Flaky()), False),
        # A function is asked about the error as it was raised.
        ({"on": lambda error: "again" in str(error)}, ValueError("try again"), True),
        ({"on": lambda error: "again" in str(error)}, ValueError("never"), False),
        ({"on": (KeyError, lambda error: error.args == (1,))}, ValueError(1), True),
        ({"on": (KeyError, lambda error: error.args == (1,))}, KeyError(2), True),
        ({"not_on": lambda error: error.args == (1,)}, ValueError(1), False),
        ({"not_on": lambda error: error.args == (1,)}, ValueError(2), True),
        ({"on": lambda error: len(error.exceptions) == 2}, group(Flaky(), ValueError()), True),
        ({"on": lambda error: error.no_such_attribute}, ValueError(), False),
    ],
)
def test_what_of_an_error_is_retried(policy: dict[str, Any], error: BaseException, wanted: bool) -> None:
    retry = Retry(1, **policy)
    names = retry.names_of(error)
    assert retry.wants(names) is wanted
    assert Retry.unpack(retry.pack()).wants(names) is wanted  # as the supervisor decides


def test_a_policy_function_that_raises_is_noted_in_the_error() -> None:
    error = ValueError("x")
    Retry(1, on=lambda error: 1 / 0).names_of(error)
    assert "raised ZeroDivisionError" in error.__notes__[0]


def test_a_policy_function_cannot_be_async() -> None:
    async def decide(error: BaseException) -> bool:
        return True

    with pytest.raises(InvalidOption, match="cannot be async"):
        Retry(1, on=decide)


def test_a_policy_of_an_earlier_release_is_read() -> None:
    assert Retry.unpack([1, 1.0, "fixed", 300.0, False, ["builtins:Exception"]]) == Retry(
        1, on="builtins:Exception"
    )


def test_the_names_of_a_group_are_told_once() -> None:
    many = group(*(ValueError(n) for n in range(5)), group(KeyError()), KeyError())
    assert [names[0] for names in lineages(many)].count("builtins:ValueError") == 1
    assert len(lineages(many)) == 2
    assert [type(leaf) for leaf in leaves(group(group(KeyError()), ValueError()))] == [KeyError, ValueError]
    kinds = [type(f"E{n}", (ValueError,), {}) for n in range(GROUP_LIMIT + 5)]
    assert len(lineages(group(*(kind() for kind in kinds)))) == GROUP_LIMIT


@pytest.mark.parametrize(
    "name", ["understudy:EngineAway", "understudy:", "understudy:ErrorInfo", "understudy:math"]
)
def test_what_would_match_nothing_of_ours_is_refused(name: str) -> None:
    with pytest.raises(InvalidOption, match="understudy has no exception of that name"):
        Retry(1, on=name)


def test_lineage_holds_the_exception_classes_only() -> None:
    assert lineage(Flaky) == [
        f"{__name__}:Flaky",
        "builtins:ConnectionError",
        "builtins:OSError",
        "builtins:Exception",
        "builtins:BaseException",
    ]


def test_an_exception_of_the_script_has_one_name_in_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("__main__", "__mp_main__"):
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
        kind = type("Own", (ValueError,), {"__module__": module})
        assert lineage(kind)[0] == "__main__:Own"
        assert Retry(on="__main__:Own").wants([lineage(kind)])
        assert Retry(on=kind).wants([["__main__:Own"]])


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": -1},
        {"attempts": ATTEMPTS_LIMIT + 1},
        {"attempts": 1.5},
        {"attempts": True},
        {"attempts": "3"},
        {"attempts": None},
        {"delay": -0.1},
        {"delay": float("nan")},
        {"delay": float("inf")},
        {"delay": 10**400},
        {"delay": "1"},
        {"delay": True},
        {"delay": None},
        {"max_delay": -1},
        {"max_delay": float("inf")},
        {"backoff": "quadratic"},
        {"backoff": None},
        {"backoff": 3},
        {"backoff": ["fixed"]},
        {"jitter": 0.5},
        {"jitter": None},
        {"on": (3,)},
        {"on": ("ValueError",)},
        {"on": "ValueError"},
        {"on": int},
        {"on": ValueError("x")},
        {"on": None},
        {"not_on": "ValueError"},
        {"not_on": (ValueError, 3)},
    ],
)
def test_what_is_out_of_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=f"retry {next(iter(options))}"):
        Retry(**options)


def test_the_edges_are_allowed() -> None:
    Retry(0, delay=0, max_delay=0)
    Retry(ATTEMPTS_LIMIT, delay=1e308, max_delay=1e308, jitter=True).wait(0)
    assert isinstance(Retry(delay=3, max_delay=4).delay, float)


def test_an_int_is_short_for_attempts() -> None:
    assert Retry.of(3) == Retry(attempts=3)
    policy = Retry(2, delay=9)
    assert Retry.of(policy) is policy
    for bad in (True, "3", None, 1.0):
        with pytest.raises(InvalidOption):
            Retry.of(bad)  # type: ignore[arg-type]  # that is the point


policies = st.builds(
    Retry,
    attempts=st.integers(0, ATTEMPTS_LIMIT),
    delay=st.floats(0, 1e9),
    backoff=st.sampled_from(["fixed", "linear", "exponential"]),
    max_delay=st.floats(0, 1e9),
    jitter=st.booleans(),
    on=st.lists(st.sampled_from([Exception, OSError, Flaky, UnderstudyError, "a.b:C"]), max_size=3),
)


@given(policies)
def test_pack_and_unpack(retry: Retry) -> None:
    packed = retry.pack()
    twin = Retry.unpack(packed)
    assert twin.pack() == packed
    assert twin == Retry.unpack(packed)
    assert hash(twin) == hash(Retry.unpack(packed))
    assert [twin.wait(n, random.Random(1)) for n in range(5)] == [
        retry.wait(n, random.Random(1)) for n in range(5)
    ]


@pytest.mark.parametrize(
    "data",
    [
        None,
        7,
        [],
        {},
        "fixed!",
        [1, 1.0, "fixed", 300.0, False],
        [1, 1.0, "fixed", 300.0, False, None],
        [1, 1.0, "fixed", 300.0, False, "builtins:Exception"],
        [1, 1.0, "fixed", 300.0, 1, ["builtins:Exception"]],
        [-1, 1.0, "fixed", 300.0, False, []],
        [1, 1.0, [], 300.0, False, []],
        [1, 1.0, "fixed", 300.0, False, [[]]],
        [1, 1.0, "fixed", 300.0, False, [], [[]]],
        [1, 1.0, "fixed", 300.0, False, [], [], []],
    ],
)
def test_unpack_refuses_anything_else(data: Any) -> None:
    with pytest.raises(InvalidOption, match="not a retry policy"):
        Retry.unpack(data)
