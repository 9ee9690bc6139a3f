"""The operations in frames, by number, with their fields. Ids are 16 bytes; values are encoded bytes."""

from __future__ import annotations

from enum import IntEnum


class Ask(IntEnum):
    """Client to supervisor.

    Each frame except HELLO is `[op, request, …]` and gets an Answer with that request.
    """

    HELLO = 0
    """[op, version]"""
    START = 1
    """[op, request, [(id, task, args, options, key, due, stream, origin), …], kind, http]: all in one commit, or none.

    The kind of these runs is left out for tasks that are just started. Of the kind "http" is the run of one row, and
    `http` is (method, path, digest of the declaration, delivery or None).

    A key is None, text, or (text, "start"), which starts a task anew if that of the key has ended. The options may hold
    "metadata", which is not one of them.
    """
    SEND = 2
    """[op, request, [(id, value), …], key]: all in one commit, or none.

    The key may be left out. With it the messages are for one task, and nothing if that had some under this key before.
    """
    CLOSE = 3
    """[op, request, id]: the mailbox accepts no more messages."""
    CANCEL = 4
    """[op, request, id] → bool: True if the task had not ended."""
    WAIT = 5
    """[op, request, [id, …]]: answered by ENDED frames, and by OK once all have ended."""
    UNWAIT = 6
    """[op, request]: forget the WAIT with this number; not answered."""
    RETRY = 7
    """[op, request, id, new id, from scratch, once]: start an ended task again.

    `once` may be left out. With it a task that another one retries is not retried again; the answer says which.
    """
    DECLARE = 8
    """[op, request, [module, …]]: more modules that hold tasks (the owner of an embedded supervisor only)."""
    TREE = 9
    """[op, request] → the live process tree."""
    STOP = 10
    """[op, request, now]: stop the supervisor; the answer comes when it begins to stop."""
    PRUNE = 11
    """[op, request, all] → number of tasks removed."""
    COMPACT = 12
    """[op, request]"""
    SUBSCRIBE = 13
    """[op, request, task or None, stream or None, progress too]: EVENT frames with this request follow the OK."""
    PARAMETERS = 14
    """[op, request, task] → its parameters, or None if not known; for a client without the task's code."""
    ACTOR = 15
    """[op, request, (id, class, name or None, args, options, stream, origin)] → (id, made): get or start an actor.

    One commit. `made` is false if an actor of this class and name is alive, or this request was carried out before.
    """
    TELL = 16
    """[op, request, [(id, letter), …]]: all or none; answered once on disk (durable) or taken in."""
    ASK = 17
    """[op, request, id, letter, [letter id, …]] → encoded reply; the list names replies that have been received."""
    UNASK = 18
    """[op, request]: forget the ASK with this number; not answered. Its letter stays in the mailbox."""
    REDRIVE = 19
    """[op, request, id, dead letter or None] → number of dead letters that were sent again; None for all."""
    EMIT = 20
    """[op, request, [(uid, id or None, name, stream or None, origin or None, time, encoded event, traceparent), …]]

    → [(id, stream, [run, …]), …]: all events with their runs in one commit, or none.
    """
    REPLAY = 21
    """[op, request, event's id, handler or None] → (id, stream, [run, …]): run its handlers again, or this one."""
    LISTEN = 22
    """[op, request, task, pattern, [(path, value), …], since or None]: matching events come into its mailbox.

    `since` is a number of seconds, whose events come first.
    """
    RESIDENT = 23
    """[op, request, id] → pid of the worker that has an actor in memory; None if none has."""
    LETTERS = 24
    """[op, request, [(request, id, letter), …], [letter id, …]]: asks and tells, as an ASK or a TELL for each of them.

    They are sent for the first time, under ids that nobody else knows: no answer to them is kept.
    """
    SCHEDULE = 25
    """[op, request, (key, task, args, options, definition, stream or None, origin or None)] → its row.

    Makes a schedule or replaces that of the key. The same definition again changes nothing.
    """
    PLAN = 26
    """[op, request, key, what, …]: do something with a schedule.

    "pause" and "resume" → None; "cancel" → whether it had not ended; "run", id of the run → that id;
    "backfill", start, end → [id of a run, …].
    """
    SUPERVISE = 40
    """[op, request, tree]: start this supervision tree, or change the one of its id into it."""
    BRANCH = 41
    """[op, request, path, what, …]: do something with a supervision tree or a child.

    "start", child → its path; "terminate", "restart", "delete" → None; "stop" → None.
    """
    ACCESS = 50
    """[op, request, what, …]: do something about access over HTTP.

    "add", id, name, role, [pattern, …], time at which it expires or None, hash → True: keep a token.
    "remove", name or id → whether there was one; "key" → the key that signs sessions and tokens for one task;
    "record", [(mark, [field, …]), …] → None: entries of the audit.
    """
    MONITOR = 55
    """[op, request, task, watched]: put a message into the task's mailbox when the watched one ends."""
    DEMONITOR = 56
    """[op, request, task, watched] → whether such a message was to come, which does not come now."""
    TRIGGERS = 60
    """[op, request] → [(task, declaration), …]: the HTTP requests that the app's tasks handle."""
    STACK = 66
    """[op, request, id] → (task, pid, time, "worker" | "signal", note, [thread, …]): where the code of a task is.

    thread: (name, role, id or None, number of calls left out, [(file, line, function, source), …]).
    """
    BULK = 67
    """[op, request, id, what, …]: do something about a bulk, the cancel or retry of many tasks.

    "open", "cancel" or "retry", query, by whom, from scratch → None; "add", number of the first, [id, …] → None;
    "begin" → None; "cancel" → whether it had not ended.
    """
    LIMITS = 70
    """[op, request, id] → [(name, key, sort, concurrency, rate, used, opens, shown waiting), …]: what each limit does.

    The id may be left out; with it only the limit at which that task waits.
    """
    LIMIT = 71
    """[op, request, name, {"concurrency": …, "rate": …}]: set these numbers of a limit; with none, those declared."""
    MAP = 80
    """[op, request, parent, base, [row, …]]: as START, for children of a map; see `actors/map_ids.py`."""
    POOLS = 88
    """[op, request] → [(name or None, workers, processes, slots, used, tasks, unseen, shown waiting), …]:

    what the workers of each pool do.
    """


class Answer(IntEnum):
    """Supervisor to client."""

    WELCOME = 0
    """[op, version, {pid, home, settings…}]"""
    OK = 1
    """[op, request, payload]"""
    ERROR = 2
    """[op, request, error class, message, {attribute: value}]"""
    ENDED = 3
    """[op, request, [(id, state, result value, error), …]]"""
    EVENT = 4
    """[op, request, [(id, task, state, attempt, time, stream), …]]"""
    GOODBYE = 5
    """[op, reason]: the supervisor stops."""
    ANSWERS = 6
    """[op, [(request, payload), …]]: as an OK for each of them."""


class Order(IntEnum):
    """Supervisor to worker."""

    RUN = 1
    """[op, lane, [assignment, …]]: the worker takes one token of that lane before it begins each of them."""
    DROP = 2
    """[op, lane, count]: take back the last `count` tasks that were not begun. Confirmed by DROPPED."""
    MESSAGES = 3
    """[op, id, first number, [value, …]]"""
    CLOSE = 4
    """[op, id]"""
    SIGNAL = 5
    """[op, id, "cancel" | "timeout"]"""
    INTERRUPT = 6
    """[op, id or None]: interrupt that task, or all."""
    STOP = 7
    """[op]: exit once all reports are sent."""
    OK = 8
    """[op, request, payload]"""
    ERROR = 9
    """[op, request, error class, message, {attribute: value}]"""
    DECLARE = 10
    """[op, [module, …]]"""
    FORGET = 11
    """[op, [id, …]]: drop the objects of these actors that are kept between their turns."""
    ASIDE = 12
    """[op, id, letter]: a read-only letter for an actor whose method waits. Answered by ASIDE, or not at all."""
    STACK = 13
    """[op, number, id]: where the code of this task is. Answered by STACK."""


class Report(IntEnum):
    """Worker to supervisor."""

    DONE = 2
    """[op, [(id, ending, value, error, delay, acked, started, ended), …]]"""
    PARKED = 3
    """[op, [id, …], [id, …]]: tasks that wait now, and tasks that go on."""
    TAKEN = 5
    """[op, [(id, taken, acked), …]]"""
    CHECKPOINT = 6
    """[op, request, id, value, acked, [[(id, value), …], …], [[item, …], …], [event, …]].

    With messages to send and items to publish, in bounded lists, and the rows of an EMIT. If there are neither items
    nor events, these fields are left out.
    """
    RESTORE = 7
    """[op, request, id] → value or None"""
    PROGRESS = 8
    """[op, [(id, done, total, note), …]]"""
    LOG = 9
    """[op, id, [(time, level, text), …]]"""
    DROPPED = 10
    """[op, lane]: a DROP is done; from now on, tokens of that lane are for later tasks."""
    FAILED = 11
    """[op, message, traceback]: a start hook of the app has failed, and the worker ends."""
    TURN = 12
    """[op, id, acked, state, rows, posts, reminders, replies, dead, seen]: what a turn of an actor has done.

    acked: number of the last letter dealt with; state: None if unchanged; rows: [[(key, value or None), …], …];
    posts: [[(id, value, which `PostKind` it is), …], …]; reminders: [(name, due or None, every, letter), …]; replies:
    [(letter id, reply, something has changed), …]; dead: [(letter, error), …]; seen: ids of letters whose answers have
    arrived here. rows and posts are in bounded lists.
    """
    READ = 13
    """[op, request, id, what, key, after, limit, reverse] → value or None for a "row", [(key, value), …] for "rows" and
    "reminders".

    rows: those of the storage whose keys start with `key`, from behind the key `after` on (None: from the first one).
    With `reverse` they come from the last one, or from before `after`, down.
    """
    ASIDE = 14
    """[op, id, letter id, reply, posts]: the answer to a read-only letter that came by ASIDE, and what it sends."""
    PUBLISH = 15
    """[op, id, [item, …]]: what a task has published; an item is the end of its row."""
    READY = 16
    """[op, id, ready]: a child of a supervision tree has begun, or has called `ready()`."""
    STEP = 20
    """[op, request, id, letter id, label, name, value]: keep a step; the letter is that of an actor's message, else
    empty. Answered once it is on disk."""
    STEPS = 21
    """[op, request, id, label] → ([(label, value), …], whether none follow): its steps from this label on.

    Of an actor the letter's id stands before each label.
    """
    STACK = 27
    """[op, number, [thread, …] or None]: the threads of a task and of its worker, as in the answer to an Ask's STACK.

    None if the task is not there.
    """
