"""Tokens and roles as data, and tokens that are signed."""

from __future__ import annotations

import pytest

from understudy.actors import access
from understudy.actors.access import (
    Role,
    WatchGrant,
    check_grant,
    digest,
    new_token,
    read_watch,
    sign_watch,
    token_id,
)
from understudy.actors.errors import InvalidOption
from understudy.actors.ids import new_id

KEY = b"k" * 32


def test_each_role_includes_those_before_it():
    order = [Role.READ, Role.RUN, Role.ADMIN]
    for number, role in enumerate(order):
        assert [role.includes(other) for other in order] == [place <= number for place in range(3)]


@pytest.mark.parametrize(
    ("globs", "name", "fits"),
    [
        (["*"], "app:add", True),
        (["app:*"], "app:add", True),
        (["app:*"], "shop:add", False),
        (["app:a", "shop:*"], "shop:add", True),
        (["APP:*"], "app:add", False),
    ],
)
def test_a_name_fits_one_of_the_patterns(globs: list[str], name: str, fits: bool):
    assert access.fits(globs, name) is fits


def test_a_token_has_an_id_and_a_secret_of_its_own():
    (one, text, hashed), (other, *_) = new_token(), new_token()
    assert one != other
    assert token_id(text) == one
    assert digest(text) == hashed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ust",
        "ust_",
        "ust_0123456789abcdef",
        "ust_0123456789abcdeg_x",
        "usx_0123456789abcdef_x",
        "u" * 9_999,
    ],
)
def test_other_texts_are_no_token(text: str):
    assert token_id(text) is None


@pytest.mark.parametrize(
    "bad",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "two\nlines"},
        {"name": 7},
        {"role": "root"},
        {"role": None},
        {"tasks": []},
        {"tasks": [""]},
        {"tasks": 7},
        {"expires": 0},
        {"expires": "soon"},
    ],
)
def test_the_fields_of_a_token_are_checked(bad: dict[str, object]):
    good: dict[str, object] = {"name": "ci", "role": "run", "tasks": "app:*", "expires": 60}
    assert check_grant(**good) == ("ci", Role.RUN, ("app:*",), 60.0)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption):
        check_grant(**{**good, **bad})  # type: ignore[arg-type]


def test_a_signed_token_says_what_it_was_made_for():
    grant = WatchGrant(new_id(), is_stream=False, send=True, expires=1_000)
    token = sign_watch(KEY, grant)
    assert read_watch(KEY, token, 999.9) == grant
    assert read_watch(KEY, token, 1_000) is None, "expired"
    assert read_watch(b"other" * 8, token, 0) is None


def test_no_letter_of_a_signed_token_can_be_changed():
    token = sign_watch(KEY, WatchGrant(new_id(), is_stream=True, send=False, expires=1_000))
    for place in range(len(token)):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert read_watch(KEY, changed, 0) is None
    for text in ("", "usw_", "usw_.", "usw_é.é", token[:-1], token + "A", token + ".", token.upper()):
        assert read_watch(KEY, text, 0) is None
