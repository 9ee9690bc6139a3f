"""What follows from an exit: the whole grid, by the rules of OTP's supervisor."""

from __future__ import annotations

import itertools

import pytest

from understudy.supervisor.rules.strategy import (
    ENDED,
    GIVEN_UP,
    LEFT,
    Decision,
    Exit,
    Member,
    Step,
    after_exit,
    is_restarted,
)

NAMES = ("a", "b", "c", "d")


def members(**changes: Member) -> list[Member]:
    return [changes.get(name, Member(name)) for name in NAMES]


@pytest.mark.parametrize(
    ("restart", "how", "expected"),
    [
        ("permanent", Exit.NORMAL, True),
        ("permanent", Exit.ABNORMAL, True),
        ("permanent", Exit.SHUTDOWN, True),
        ("transient", Exit.NORMAL, False),
        ("transient", Exit.ABNORMAL, True),
        ("transient", Exit.SHUTDOWN, False),
        ("temporary", Exit.NORMAL, False),
        ("temporary", Exit.ABNORMAL, False),
        ("temporary", Exit.SHUTDOWN, False),
    ],
)
def test_who_is_started_again(restart: str, how: Exit, expected: bool):
    assert is_restarted(restart, how) is expected
    decision = after_exit(members(b=Member("b", restart)), "b", how, strategy="one_for_one")
    assert decision == (Decision(Step.RESTART, (), ("b",)) if expected else LEFT)


@pytest.mark.parametrize(
    ("strategy", "who", "stop", "start"),
    [
        ("one_for_one", "a", "", "a"),
        ("one_for_one", "d", "", "d"),
        ("one_for_all", "a", "dcb", "abcd"),
        ("one_for_all", "b", "dca", "abcd"),
        ("one_for_all", "d", "cba", "abcd"),
        ("rest_for_one", "a", "dcb", "abcd"),
        ("rest_for_one", "b", "dc", "bcd"),
        ("rest_for_one", "d", "", "d"),
    ],
)
def test_others_stop_in_reverse_and_start_in_order(strategy: str, who: str, stop: str, start: str):
    decision = after_exit(members(), who, Exit.ABNORMAL, strategy=strategy)
    assert decision == Decision(Step.RESTART, tuple(stop), tuple(start))


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_properties_of_all_cases(strategy: str):
    """Of every combination of four children: what is stopped is up, what is started is to be, each once, in order."""
    kinds = [
        Member("", restart, down=down) for restart in ("permanent", "temporary") for down in (False, True)
    ]
    for row in itertools.product(kinds, repeat=4):
        group = [Member(name, kind.restart, down=kind.down) for name, kind in zip(NAMES, row, strict=True)]
        for place, member in enumerate(group):
            if member.down or member.restart == "temporary":
                continue
            decision = after_exit(group, member.id, Exit.ABNORMAL, strategy=strategy)
            stop, start = set(decision.stop), set(decision.start)
            assert list(decision.stop) == sorted(stop, reverse=True)
            assert list(decision.start) == sorted(start)
            assert member.id in start - stop
            for other in group:
                if other.id in stop | start:
                    assert other is member or not other.down, "one that is down stays down"
                if other.id in start and other is not member:
                    assert other.id in stop, "it is up, so it is stopped before"
                    assert other.restart != "temporary"
            assert set(decision.drop) == {each.id for each in group if each.id in stop - start}
            if strategy == "rest_for_one":
                assert not stop & {each.id for each in group[:place]}
            if strategy == "one_for_one":
                assert not stop


def test_too_many_restarts():
    for how in Exit:
        assert after_exit(members(), "b", how, strategy="one_for_all", too_many=True) is GIVEN_UP
    left = after_exit(
        members(b=Member("b", "temporary")), "b", Exit.ABNORMAL, strategy="one_for_one", too_many=True
    )
    assert left is LEFT, "a child that is not restarted costs no intensity"


@pytest.mark.parametrize(
    ("auto", "other_down", "expected"),
    [
        ("never", True, LEFT),
        ("any_significant", False, ENDED),
        ("any_significant", True, ENDED),
        ("all_significant", False, LEFT),
        ("all_significant", True, ENDED),
    ],
)
def test_the_end_of_a_significant_child(auto: str, other_down: bool, expected: Decision):
    group = members(
        b=Member("b", "transient", significant=True),
        d=Member("d", "temporary", significant=True, down=other_down),
    )
    found = after_exit(group, "b", Exit.NORMAL, strategy="one_for_one", auto_shutdown=auto)
    assert found is expected


def test_a_significant_child_that_is_restarted_ends_nothing():
    group = members(b=Member("b", "transient", significant=True))
    found = after_exit(group, "b", Exit.ABNORMAL, strategy="one_for_one", auto_shutdown="any_significant")
    assert found.step is Step.RESTART
