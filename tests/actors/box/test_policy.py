from __future__ import annotations

from typing import Any

import pytest

from understudy import BoxRefused, InvalidOption
from understudy.actors.box.policy import (
    KEPT,
    TAKEN,
    check_content,
    check_image,
    check_lent,
    check_mount,
    check_output,
)

GOOD = [
    "alpine",
    "python:3.13-alpine",
    "registry.example.org:5000/team/docker-tools:1",
    "ghcr.io/a/b@sha256:" + "0" * 64,
    "example.org/dockerfile-linter",
    "unprivileged/nginx",
]
ENGINES = [
    "docker",
    "docker:27",
    "docker.io/library/docker:latest",
    "localhost:5000/docker",
    "docker:27-dind",
    "example.org/my-dind",
    "moby/buildkit:v0.12",
    "x/docker-in-docker",
    "x/privileged:1",
    "quay.io/podman/stable",
]


@pytest.mark.parametrize("image", GOOD)
def test_an_image_that_may_be_run(image: str):
    assert check_image(image) == image


@pytest.mark.parametrize("image", ENGINES)
def test_an_engine_of_its_own_is_refused(image: str):
    with pytest.raises(BoxRefused, match="policy"):
        check_image(image)


@pytest.mark.parametrize("image", ["", " alpine", "-v", "a b", "a\0", "x" * 513, None, 3, "$(id)"])
def test_what_is_no_name(image: object):
    with pytest.raises(InvalidOption, match="image"):
        check_image(image)


@pytest.mark.parametrize(
    "config",
    [
        {"Env": ["PATH=/bin", "DIND_COMMIT=1"]},
        {"Env": ["DOCKER_TLS_CERTDIR=/certs"]},
        {"Entrypoint": ["dockerd-entrypoint.sh"]},
        {"Cmd": ["/usr/bin/dockerd", "--debug"]},
        {"Volumes": {"/var/lib/docker": {}}},
    ],
)
def test_the_content_is_looked_at_whatever_the_name(config: dict[str, Any]):
    with pytest.raises(BoxRefused, match="innocent"):
        check_content("innocent", config)


def test_usual_content_is_fine():
    check_content("innocent", {"Env": None, "Entrypoint": None, "Cmd": ["sh", "dockerd"], "Volumes": None})
    check_content("innocent", {})


@pytest.mark.parametrize(
    ("target", "source", "clean"),
    [
        ("/in", "/srv/in", ("/in", "/srv/in", False)),
        ("/in/", "/srv//in:ro", ("/in", "/srv/in", False)),
        ("//in", "/srv/in:rw", ("/in", "/srv/in", True)),
        ("/database", "/tmp/x:y", ("/database", "/tmp/x:y", False)),
        ("/tmpfiles", "/tmp", ("/tmpfiles", "/tmp", False)),
    ],
)
def test_a_mount(target: str, source: str, clean: tuple[str, str, bool]):
    assert check_mount(target, source) == clean


@pytest.mark.parametrize(
    "target", ["/", "//", "/./", "in", "", "/a/../b", "/a\0", None, *TAKEN, "/proc/1", "/data/x"]
)
def test_nothing_is_mounted_there(target: object):
    with pytest.raises(InvalidOption):
        check_mount(target, "/srv")


@pytest.mark.parametrize(
    "source", ["/", "srv", "../srv", "/srv/../etc", "", ":rw", None, 3, *KEPT, "/proc/1/root"]
)
def test_nothing_of_that_is_lent(source: object):
    with pytest.raises(InvalidOption):
        check_mount("/in", source)


def test_the_socket_of_the_engine_is_not_lent():
    check_lent(["/srv", "/run/docker.socks", "/ru"], "/run/docker.sock")
    for source in ("/run/docker.sock", "/run", "/"):
        with pytest.raises(BoxRefused, match="the engine's socket"):
            check_lent(["/srv", source], "/run/docker.sock")


def test_outputs():
    assert check_output("/data//out.json") == "/data/out.json"
    for path in ("out", "/", "/data/../etc", "/tmp/out", "/proc/1", None, ""):
        with pytest.raises(InvalidOption):
            check_output(path)
