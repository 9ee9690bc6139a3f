"""Paths of triggers."""

from __future__ import annotations

from typing import Any

import pytest

from understudy import InvalidOption
from understudy.actors.http.path import PATH_LIMIT, Path


@pytest.mark.parametrize(
    ("template", "path", "params"),
    [
        ("/", "/", {}),
        ("/hooks", "/hooks", {}),
        ("/hooks", "/hooks/", None),
        ("/hooks/", "/hooks/", {}),
        ("/hooks/{name}", "/hooks/github", {"name": "github"}),
        ("/hooks/{name}", "/hooks/", None),
        ("/hooks/{name}", "/hooks/a/b", None),
        ("/f/{rest:path}", "/f/a/b\nc", {"rest": "a/b\nc"}),
        ("/f/{rest:path}", "/f/", None),
        ("/a.b", "/aXb", None),
        ("/{a}/{b}", "/1/2", {"a": "1", "b": "2"}),
    ],
)
def test_a_path_matches(template: str, path: str, params: dict[str, str] | None):
    assert Path.of(template).match(path) == params


@pytest.mark.parametrize(
    "template",
    [
        "", "hooks", "/a//b", "/a?b=1", "/a#b", "/a b", "/é", "/%41", "/{", "/{}", "/{1}", "/a{b}", "/{a}/{a}",
        "/{a:path}/b", "/{a:int}", "/..", "/a/./b", "/" + "a" * PATH_LIMIT, None, 7, b"/a",
    ],
)  # fmt: skip
def test_a_path_that_cannot_be_is_refused(template: Any):
    with pytest.raises(InvalidOption):
        Path.of(template)


def test_the_longest_path_is_accepted():
    assert Path.of("/" + "a" * (PATH_LIMIT - 1))


def test_the_most_exact_path_comes_first():
    paths = [Path.of(each) for each in ("/{a:path}", "/{a}", "/b/{c}", "/b", "/b/c", "/b/{c:path}")]
    ranked = [path.template for path in sorted(paths, key=lambda path: path.rank)]
    assert ranked.index("/b") < ranked.index("/{a}") < ranked.index("/{a:path}")
    assert ranked.index("/b/c") < ranked.index("/b/{c}") < ranked.index("/b/{c:path}")
