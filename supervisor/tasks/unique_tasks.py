"""UniqueTasks: which task has the text of a unique one, and what follows from that for the next start.

A text is the name of a task and its key. Its row names the newest task that has it. Every change of a row goes with the
change of the task: its start, its new arguments, its end. So a crash leaves both or neither, and nothing is in memory.

At most one task that has begun has a text, and at most one more that waits for it (`on_conflict="replace"`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ...actors.errors import InvalidOption, NotUnique, StoreCorrupt
from ...actors.ids import id_text
from ...actors.schedules.cron import LATEST
from ...actors.task.limit import checked_unique_key
from ...actors.task.options import UNIQUE, Options
from ...storage.tables.record import EXTRAS, Record
from ...storage.tables.schema import Table
from ...storage.tables.unique_rows import UniqueRow, key_in, row_key, unique_text
from ..rules.unique_texts import key_of
from ..rules.uniqueness import There, Wanted, judge
from .commit_loop import CommitLoop
from .live_task import LiveTask

if TYPE_CHECKING:
    from .task_table import TaskTable

#: What a start may have among its options that has to do with this.
GIVEN: Final = frozenset((*UNIQUE, "unique_key"))


class Decision(NamedTuple):
    """What the start of a unique task is to do."""

    text: str
    options: Options
    wanted: Wanted
    #: The row of the task that has the text, and that task's name.
    row: UniqueRow | None
    name: str

    @property
    def id(self) -> bytes:
        """The task that has the text."""
        assert self.row is not None
        return self.row.id

    @property
    def is_free(self) -> bool:
        """Whether no task keeps the start from its text."""
        return self.wanted is Wanted.START

    def freed(self) -> Decision:
        """As if the task that has the text did not keep the start from it."""
        return self._replace(wanted=Wanted.START)


class UniqueTasks:
    """The texts of all unique tasks of a home."""

    def __init__(self, commits: CommitLoop, table: TaskTable) -> None:
        self._commits = commits
        self._table = table
        table.ends.follow("unique", self._ended)

    # --- before a start ---

    def concerns(self, name: str, changes: dict[str, Any] | None) -> bool:
        """Whether a start of this task with these changed options may be unique."""
        given = isinstance(changes, dict) and not GIVEN.isdisjoint(changes)
        return given or name in self._table.declared.unique

    def decide(
        self,
        name: str,
        args: bytes | None,
        changes: dict[str, Any] | None,
        *,
        key: str | None = None,
        start: bytes | None = None,
    ) -> Decision | None:
        """What a start is to do; None if its task is not unique. `start` is the id in its row.

        `changes` may have `unique_key` among them, which `key` stands for as well.
        """
        options = self._options_of(name, changes)
        if options is None:
            return None
        if key is None and changes is not None:
            key = checked_unique_key(changes.get("unique_key"))
        if key is None:
            key = key_of(args, self._table.declared.parameters.get(name), options.unique_by)
        return self._judged(unique_text(name, key), options, name, start)

    def _options_of(self, name: str, changes: dict[str, Any] | None) -> Options | None:
        declared = self._table.declared
        found = declared.tasks.get(name)
        if found is None:
            return None
        options = found[0]
        if changes is not None and not GIVEN.isdisjoint(changes):
            own = {option: value for option, value in changes.items() if option not in EXTRAS}
            options = Options.unpack(own, options)
            if options.unique is False:
                if GIVEN.isdisjoint(changes.keys() - {"unique"}):
                    return None
                raise InvalidOption(
                    f"unique_key=, unique_by= and on_conflict= are for a unique task, and {name} is none: give "
                    "unique=, too"
                )
            _check_names(name, options, declared.parameters.get(name))
        return options if options.unique is not False else None

    def _judged(self, text: str, options: Options, name: str, start: bytes | None) -> Decision:
        now = self._commits.clock.time()
        for each in self._texts(text, name):
            row = self._row(each)
            if row is None:
                continue
            if start is not None and row.by == start:
                # The request is repeated, because its first answer was lost.
                return Decision(text, options, Wanted.RETURN, row, name)
            row = self._anchored(row, now)
            wanted = judge(self._there(row), options.unique, options.on_conflict, now)
            if wanted is not Wanted.START or each == text:
                return Decision(text, options, wanted, row, name)
        return Decision(text, options, Wanted.START, None, name)

    def _texts(self, text: str, name: str) -> list[str]:
        """The text, and those that it had under former names of the task."""
        if not self._table.declared.aliases:
            return [text]
        names = self._table.declared.all_names(name)
        return [*(unique_text(former, key_in(text)) for former in names if former != name), text]

    def _anchored(self, row: UniqueRow, now: float) -> UniqueRow:
        """The row, whose window begins no later than now, unless its task waits: the clock may have been set back."""
        if row.until is None or row.behind is not None or row.since <= now:
            return row
        anchored = row._replace(since=now, until=now + row.until - row.since)
        self._put(anchored, row)
        return anchored

    def _there(self, row: UniqueRow) -> There:
        record = self._record(row.id)
        if record is None:
            return There(True, True, row.since)
        task = self._table.tasks.get(row.id)
        is_aside = task is not None and task.key is None
        begun = record.started is not None or record.retry_of is not None or is_aside
        return There(record.ended is not None, begun, row.since)

    def refusal(self, decision: Decision) -> NotUnique:
        """The error of a start that is refused."""
        if decision.row is None:
            return NotUnique(
                f"{decision.name} is unique, and another run that is about to be queued has its key"
            )
        record = self._record(decision.id)
        state = "ended, and its time is not over" if record is None or record.ended else str(record.state)
        key = key_in(decision.text)
        return NotUnique(
            f"{decision.name} is unique, and task {id_text(decision.id)} has "
            f"{f'its key {key:.200}' if key else 'its name'}: it is {state}. Use that one, wait for it or cancel it, "
            'or start with on_conflict="return" or "replace"',
            id_text(decision.id),
        )

    # --- with a start ---

    def claim(self, record: Record, decision: Decision) -> None:
        """A new task, which is about to be queued, has the text from now on. It may have to wait."""
        now, unique, there = self._commits.clock.time(), decision.options.unique, decision.row
        waits = decision.wanted is Wanted.WAIT
        record.unique = decision.text
        behind = there.id if waits and there is not None else None
        if unique is True:
            row = UniqueRow(decision.text, record.id, now, None, behind, record.due if waits else None)
            if waits:
                record.due = LATEST
        else:
            since = now
            if waits and there is not None:
                since = max(now, there.since + unique)
                record.due = max(since, record.due or 0.0)
            row = UniqueRow(decision.text, record.id, since, since + unique, behind)
        self._put(row, there)

    def renew(self, decision: Decision, args: bytes | None, due: float | None, by: bytes) -> None:
        """Give the task that has the text, which has not begun, other arguments and another time to begin."""
        row, now = decision.row, self._commits.clock.time()
        assert row is not None
        task = self._table.find(row.id)
        assert task is not None
        due = due if due is not None and due > now else None
        if row.until is not None and row.since > now:
            due = max(row.since, due or 0.0)
        if row.until is None and row.behind is not None and self._table.find(row.behind) is not None:
            self._put(row._replace(due=due, by=by), row)
            due = LATEST
        else:
            self._put(row._replace(due=None, by=by), row)
        self._give_args(task, args)
        self._move(task, due, now)

    def _give_args(self, task: LiveTask, args: bytes | None) -> None:
        self._table.queues.discard(task)
        if args is not None:
            self._commits.put(Table.ARGS, task.id, args)
        elif task.args is not None:
            self._commits.delete(Table.ARGS, task.id)
        task.args = args
        task.group = self._table.gate.group_of(task.record, args)

    def _move(self, task: LiveTask, due: float | None, now: float) -> None:
        """Let a task that stands in no queue begin at this time."""
        record = task.record
        if record.due is not None and due is None:
            record.ready = now
        record.due = due
        self._table.stand(task)

    # --- with an end ---

    def _ended(self, task: LiveTask, _event: object, _error: object) -> None:
        """A task with a text has ended: the one that waits for it begins, or the text is free."""
        text = task.record.unique
        assert text is not None
        row = self._row(text)
        if row is None:
            return
        now = self._commits.clock.time()
        if row.id == task.id:
            self._let_go(row, task, now)
        elif row.behind == task.id and row.until is None:
            waiting = self._table.find(row.id)
            self._put(row._replace(behind=None, due=None), row)
            if waiting is not None and waiting.queued:
                self._table.queues.discard(waiting)
                self._move(waiting, row.due if row.due is not None and row.due > now else None, now)

    def _let_go(self, row: UniqueRow, task: LiveTask, now: float) -> None:
        if row.until is None:
            before = None if row.behind is None else self._table.find(row.behind)
            if before is None or before.record.unique != row.text:
                self._delete(row)
            else:
                # It has waited for that one, which has the text again.
                self._put(UniqueRow(row.text, before.id, row.since), row)
        elif row.behind is not None and now < row.since and task.record.started is None:
            # It has waited for the end of the window before, which goes on.
            window = row.until - row.since
            self._put(UniqueRow(row.text, row.behind, row.since - window, row.since), row)
        elif row.until <= now:
            self._delete(row)

    # --- rows ---

    def _record(self, id: bytes) -> Record | None:
        try:
            return self._table.record(id)
        except StoreCorrupt:
            return None

    def _row(self, text: str) -> UniqueRow | None:
        packed = self._commits.get(Table.ACTORS, row_key(text))
        try:
            row = None if packed is None else UniqueRow.unpack(packed)
        except ValueError:
            return None  # damaged; `check` tells of it
        return row if row is not None and row.text == text else None

    def _put(self, row: UniqueRow, before: UniqueRow | None) -> None:
        """Write a row in place of the one that the text had."""
        own, *until = row.keys
        if before is not None and before.text == row.text:
            for key in before.keys[1:]:
                if key not in until:
                    self._commits.delete(Table.ACTORS, key)
        self._commits.put(Table.ACTORS, own, row.pack())
        for key in until:
            self._commits.put(Table.ACTORS, key, b"")

    def _delete(self, row: UniqueRow) -> None:
        for key in row.keys:
            self._commits.delete(Table.ACTORS, key)


def _check_names(name: str, options: Options, rows: list[Any] | None) -> None:
    if options.unique_by and rows is not None:
        known = [each[0] for each in rows]
        for parameter in options.unique_by:
            if parameter not in known:
                raise InvalidOption(
                    f"unique_by names {parameter!r:.80}, and {name} has the parameters {', '.join(known) or '(none)'}"
                )
