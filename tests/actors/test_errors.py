from __future__ import annotations

import copy
import inspect
import pickle
import re
from typing import Any

import pytest

from understudy.actors import errors
from understudy.actors.errors import ErrorInfo, Interrupted, InvalidOption, RetryLater, UnderstudyError

CLASSES = [
    kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, BaseException)
]
OURS = [kind for kind in CLASSES if kind.__module__ == errors.__name__]

#: Data for every constructor parameter of the tree, by its name.
SAMPLES: dict[str, Any] = {
    "message": "it broke: ü",
    "query": "state:faild",
    "column": 7,
    "path": "args[0]['x']",
    "size": 70,
    "limit": 64,
    "name": "app:etl",
    "key": "reports/daily",
    "id": "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d",
    "pool": "gpu",
    "pools": ["cpu", "gpu_large"],
    "messages": 10_000,
    "bytes": 1 << 26,
    "error": ErrorInfo("ValueError", "no", "Traceback …", {"pid": 7}),
    "reason": "because",
    "delay": 2.5,
    "home": "/srv/jobs",
    "address": "127.0.0.1:8787",
    "pid": 4711,
    "remote_traceback": "Traceback (most recent call last): …",
    "found": 9,
    "supported": 1,
    "problems": ["page 3", "page 7"],
    "status": 503,
    "state": "queued",
    "final": True,
    "code": 4001,
    "details": {"exit_code": 3, "stdout": "ü"},
    "step": "app:inner",
    "outer": "app:outer",
    "steps": 3,
    "circle": ["Account/ada", "Account/bob"],
}


def example(kind: type[BaseException]) -> tuple[BaseException, dict[str, Any]]:
    parameters = [
        name
        for name, parameter in inspect.signature(kind.__init__).parameters.items()
        if name != "self" and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    data = {name: SAMPLES[name] for name in parameters}
    return (kind(**data) if data else kind("it broke: ü")), data


WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {n}": lambda e, n=n: pickle.loads(pickle.dumps(e, n))
        for n in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_survives_with_its_data(kind: type[BaseException], way: str) -> None:
    error, data = example(kind)
    error.add_note("a note")
    twin = WAYS[way](error)
    assert type(twin) is kind
    assert (str(twin), twin.args) == (str(error), error.args)
    assert vars(twin) == vars(error)
    assert twin.__notes__ == ["a note"]
    for name, value in data.items():
        if name != "message":
            assert getattr(twin, name) == value


class Own(errors.TaskFailed):
    """A user's subclass with a constructor of another shape."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


def test_a_users_subclass_survives_too() -> None:
    twin = pickle.loads(pickle.dumps(Own(7)))
    assert (type(twin), twin.code, str(twin)) == (Own, 7, "code 7")


def drawn_tree() -> dict[str, tuple[str | None, str | None]]:
    """name -> (parent in the drawing, the built-in base in brackets)."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    (?P<bars>[│ ]*)(?:[├└]── )?(?P<name>[A-Z]\w+)\b *(?:\((?P<base>\w+)\))?", line)
        if match is None:
            continue
        level = len(match["bars"]) // 4 + ("── " in line)
        parent = above[level - 1] if level else None
        tree[match["name"]] = (parent, match["base"])
        above[level:] = [match["name"]]
    return tree


def test_the_drawing_is_the_tree() -> None:
    tree = drawn_tree()
    assert set(tree) == {kind.__name__ for kind in OURS}
    for kind in OURS:
        parent, base = tree[kind.__name__]
        # Pykka's own errors are named in words.
        bases = [above.__name__ for above in kind.__bases__ if not above.__module__.startswith("pykka.")]
        expected = [name for name in (parent, base) if name is not None]
        assert bases == (expected or ["Exception"]), kind


def test_the_drawing_names_the_data() -> None:
    # "has .id, .messages, .bytes": each attribute named in a line exists on an example of that class.
    for line in (errors.__doc__ or "").splitlines():
        kind = next((kind for kind in OURS if re.search(rf"[─ ]{kind.__name__}\b", line)), None)
        if kind is not None and "has ." in line:
            error, _ = example(kind)
            for name in re.findall(r"\.(\w+)", line.split("has ", 1)[1]):
                assert hasattr(error, name), (kind, name)


def test_an_interruption_is_no_exception() -> None:
    assert not issubclass(Interrupted, Exception)
    assert not issubclass(Interrupted, UnderstudyError)


@pytest.mark.parametrize("delay", [None, 0, 0.5, 7, 1e300])
def test_retry_later(delay: float | None) -> None:
    assert RetryLater(delay).delay == delay
    assert str(RetryLater(delay)) == "retry asked for by the task"
    assert str(RetryLater(delay, "busy")) == "busy"


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), True, "5", [1]])
def test_retry_later_refuses_what_is_no_delay(delay: Any) -> None:
    with pytest.raises(InvalidOption, match="must be seconds"):
        RetryLater(delay)


def test_error_info_reads_well() -> None:
    assert str(ErrorInfo("KeyError", "'x'")) == "KeyError: 'x'"
    assert str(ErrorInfo("KeyError", "")) == "KeyError"
    assert pickle.loads(pickle.dumps(SAMPLES["error"])) == SAMPLES["error"]


def test_a_failing_app_shows_what_python_printed() -> None:
    assert str(errors.AppFailed("no app", "Traceback")) == "no app\n\nTraceback"
    assert str(errors.AppFailed("no app")) == "no app"
