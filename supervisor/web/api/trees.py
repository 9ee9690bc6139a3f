"""Supervision trees: their state, restarts and stops."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Path
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ....actors.trees.status import ChildStatus, LastExit, TreeStatus
from ...text import documents
from .call import PATIENCE, AdminAll, Call, ReadAll, json_answer, router_of
from .models import answer, answer_of, many

_EXIT: Final = answer_of("LastExit", LastExit, times=("time",)) | None
_BELOW: Final[dict[str, Any]] = {"last_exit": _EXIT, "children": list[dict[str, Any]]}
TREE: Final = answer_of("Tree", TreeStatus, **_BELOW)
NODE: Final = answer_of("Child", ChildStatus, **_BELOW) | TREE
TREES: Final = answer("Trees", "The top trees, those that have ended as well.", trees=many(TREE))

TreePath = Annotated[str, Path(description="A tree, as shop, or a child, as shop/workers/w1.")]

router = router_of("trees")


@router.get("/trees", response_model=TREES)
def list_trees(call: ReadAll) -> Response:
    """List supervision trees with all that is in them."""
    return json_answer({"trees": [documents.tree(each) for each in call.runtime.sync.trees()]})


@router.post("/trees/{path:path}/restart", response_model=NODE)
async def restart(call: AdminAll, path: TreePath) -> Response:
    """Restart a tree or a child: what runs is stopped first, and goes on with its next attempt."""
    return await run_in_threadpool(_act, call, path, "restart")


@router.post("/trees/{path:path}/stop", response_model=NODE)
async def stop(call: AdminAll, path: TreePath) -> Response:
    """Stop a tree or a child. It stays stopped until it is restarted."""
    return await run_in_threadpool(_act, call, path, "stop")


@router.get("/trees/{path:path}", response_model=NODE)
def show(call: ReadAll, path: TreePath) -> Response:
    """Show a tree or a child."""
    return json_answer(documents.tree(_status(call, path)))


def _status(call: Call, path: str) -> TreeStatus | ChildStatus:
    top, _, rest = path.partition("/")
    tree = call.runtime.sync.tree_of(top)
    return tree.child(path) if rest else tree.status()


def _act(call: Call, path: str, what: str) -> Response:
    top, _, rest = path.partition("/")
    tree = call.runtime.sync.tree_of(top)
    if not rest:
        (tree.restart if what == "restart" else tree.stop)(timeout=PATIENCE)
    else:
        (tree.restart_child if what == "restart" else tree.terminate_child)(path, timeout=PATIENCE)
    return json_answer(documents.tree(_status(call, path)))
