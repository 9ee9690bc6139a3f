from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from understudy import BoxConf, BoxRefused, InvalidOption
from understudy.actors import values
from understudy.actors.box.conf import MB_MAX, takes_messages
from understudy.actors.box.sizes import SIZES, Size

#: Every field at something else than its default.
FULL: dict[str, Any] = {
    "image": "alpine:3",
    "size": "md",
    "cmd": ["echo", "a b", ""],
    "entrypoint": ["/bin/run"],
    "env": {"A": "1", "B": ""},
    "timeout": 90,
    "network": "internet",
    "writable": True,
    "memory": 100,
    "tmp_size": 10,
    "disk_size": 20,
    "mounts": {"/in": "/srv/in", "/out": "/srv/out:rw"},
    "stdin": True,
    "pull": "never",
    "outputs": ["/data/out.json"],
}


def test_the_defaults():
    conf = BoxConf("alpine")
    assert (conf.size, conf.network, conf.pull, conf.writable, conf.stdin) == (
        "small",
        "none",
        "missing",
        False,
        False,
    )
    assert conf.limits == SIZES["small"]
    assert conf.pack() == {"image": "alpine"}


def test_it_comes_back_as_it_was():
    conf = BoxConf(**FULL)
    packed = values.unpack(values.pack(conf.pack(), "conf", 1 << 20))
    assert BoxConf.unpack(packed) == conf
    assert set(packed) | {"script"} == {field.name for field in fields(BoxConf)}
    assert packed["size"] == "medium"
    script = BoxConf("alpine", script="echo 1")
    assert BoxConf.unpack(script.pack()) == script


def test_what_is_set_overrides_the_size():
    assert BoxConf(**FULL).limits == Size(100, 50, 10, 20, 90.0)


@pytest.mark.parametrize(
    "field",
    [
        {"image": None},
        {"size": "huge"},
        {"cmd": "echo hi"},
        {"cmd": []},
        {"cmd": ["a", 1]},
        {"cmd": ["a\0"]},
        {"entrypoint": "sh"},
        {"script": " "},
        {"script": 3},
        {"script": "true", "cmd": ["true"]},
        {"script": "true", "entrypoint": ["sh"]},
        {"env": ["A=1"]},
        {"env": {"A=B": "1"}},
        {"env": {"": "1"}},
        {"env": {"A": 1}},
        {"env": {"A": "\0"}},
        {"timeout": 0.9},
        {"timeout": 86_401},
        {"timeout": "60"},
        {"timeout": True},
        {"network": "host"},
        {"network": None},
        {"writable": 1},
        {"memory": 5},
        {"memory": MB_MAX + 1},
        {"memory": 64.0},
        {"tmp_size": 0},
        {"disk_size": 0},
        {"disk_size": True},
        {"mounts": ["/a:/b"]},
        {"mounts": {"/data": "/srv"}},
        {"mounts": {"/in": "/srv", "/in/": "/etc"}},
        {"stdin": "yes"},
        {"pull": "sometimes"},
        {"outputs": "/data/a"},
        {"outputs": ["/data/a", "/data/b/a"]},
    ],
    ids=str,
)
def test_a_field_out_of_its_range(field: dict[str, Any]):
    with pytest.raises(InvalidOption):
        BoxConf(**{"image": "alpine", **field})


def test_the_bounds_are_in_range():
    for field in ({"timeout": 1}, {"timeout": 86_400}, {"memory": 6}, {"memory": MB_MAX}, {"tmp_size": 1}):
        BoxConf("alpine", **field)  # type: ignore[arg-type]


def test_a_secret_is_not_quoted():
    with pytest.raises(InvalidOption) as caught:
        BoxConf("alpine", env={"KEY": "s3cret\0"})
    assert "s3cret" not in str(caught.value)


def test_an_image_that_is_not_allowed():
    with pytest.raises(BoxRefused):
        BoxConf("docker:dind")


@pytest.mark.parametrize("packed", [None, [], {}, {"cmd": ["x"]}, {"image": "alpine", "privileged": True}])
def test_what_is_no_conf(packed: Any):
    with pytest.raises(InvalidOption):
        BoxConf.unpack(packed)


def test_who_takes_messages():
    def packed(*args: Any) -> bytes:
        return values.pack([args, {}], "arguments", 1 << 20)

    assert takes_messages(packed({"image": "x", "stdin": True}, 10))
    for args in (None, b"", b"\xc1", packed(), packed("x"), packed({"image": "x"}), packed({"stdin": 1})):
        assert not takes_messages(args)
