"""TreeCalls: the calls of a runtime about supervision trees. Those that need the supervisor are steps."""

from __future__ import annotations

from ...actors.errors import InvalidOption, TreeNotFound
from ...actors.trees.child import ChildSpec
from ...actors.trees.status import ChildStatus, TreeStatus
from ...actors.trees.supervisor import Supervisor
from ...storage.reader import Reader
from ...storage.tables.tree_rows import NodeRow
from ..wire.messages import Ask
from .deadline import Deadline
from .reconnecting import ReconnectingClient
from .start_rows import StartRows
from .steps import Steps
from .tree_views import statuses


class TreeCalls:
    """The calls of one `ReconnectingClient` about trees. Like `Calls`, it does not refer to the `Runtime`."""

    def __init__(self, client: ReconnectingClient, reader: Reader, starts: StartRows) -> None:
        self._client = client
        self._reader = reader
        self._starts = starts

    def supervise(self, deadline: Deadline, tree: Supervisor) -> Steps[str]:
        """See `Runtime.supervise`; the tree's path."""
        if not isinstance(tree, Supervisor):
            raise InvalidOption(f"supervise takes a Supervisor, not {tree!r:.80}")
        yield from self._declare(deadline, tree)
        yield from self._client.ask(deadline, Ask.SUPERVISE, tree.pack())
        return tree.id

    def start_child(self, deadline: Deadline, path: str, spec: ChildSpec | Supervisor) -> Steps[str]:
        """See `Tree.start_child`; the child's path."""
        if not isinstance(spec, ChildSpec | Supervisor):
            raise InvalidOption(f"start_child takes what child(…) makes, or a Supervisor, not {spec!r:.80}")
        yield from self._declare(deadline, spec)
        return str((yield from self._client.ask(deadline, Ask.BRANCH, path, "start", spec.pack())))

    def act(self, deadline: Deadline, path: str, what: str) -> Steps[None]:
        """Terminate, restart or delete a child, or stop or restart a tree."""
        yield from self._client.ask(deadline, Ask.BRANCH, path, what)

    def _declare(self, deadline: Deadline, spec: ChildSpec | Supervisor) -> Steps[None]:
        """Make all tasks in it known to the supervisor, and check that it can run them."""
        if isinstance(spec, Supervisor):
            for each in spec.children:
                yield from self._declare(deadline, each)
        elif spec.task.is_class:
            yield from self._starts.rows_of_actor(spec.task, deadline)
        else:
            yield from self._starts.rows_of(spec.task, deadline)

    # --- reading, directly from disk without the supervisor ---

    @property
    def _store(self) -> Reader:
        self._client.check_open()
        return self._reader

    def node(self, path: str) -> NodeRow:
        """What is on disk of a tree or a child. TreeNotFound."""
        row = self._store.tree_node(path)
        if row is None:
            raise TreeNotFound(f"there is no tree or child {path!r:.200}", path)
        return row

    def status(self, path: str) -> TreeStatus | ChildStatus:
        """A tree or a child. TreeNotFound."""
        nodes = self._store.tree_nodes(path)
        if not nodes or nodes[0].path != path:
            raise TreeNotFound(f"there is no tree or child {path!r:.200}", path)
        return statuses(nodes)[0]

    def trees(self) -> list[TreeStatus]:
        """All top trees."""
        return [each for each in statuses(self._store.tree_nodes()) if isinstance(each, TreeStatus)]


def path_of(tree: str, path: str) -> str:
    """The whole path of what is named by its path within a tree, or by its whole path."""
    return path if path == tree or path.startswith(f"{tree}/") else f"{tree}/{path}"
