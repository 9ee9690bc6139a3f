from __future__ import annotations

import asyncio
import functools
import inspect
import io
import logging
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from understudy.actors.attempt import output_capture
from understudy.actors.inside import aio, context

Captured = tuple[io.StringIO, io.StringIO]


def capturing(test: Callable[..., None]) -> Callable[..., None]:
    """Call capture() around a test, which gets what lies beyond it as `captured`; all is put back afterwards.

    No fixture: pytest itself puts other streams in place between a fixture and its test.
    """

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        root = logging.getLogger()
        before = sys.stdout, sys.stderr, root.level, root.handlers[:]
        beyond = sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        root.handlers[:] = []
        root.setLevel(logging.WARNING)
        output_capture.capture()
        try:
            test(**fixtures, captured=beyond)
        finally:
            sys.stdout, sys.stderr, level, root.handlers[:] = before
            root.setLevel(level)

    parameters = inspect.signature(test).parameters
    fixtures = [parameter for name, parameter in parameters.items() if name != "captured"]
    run.__signature__ = inspect.Signature(fixtures)  # type: ignore[attr-defined]  # what pytest asks for
    return run


@capturing
def test_a_task_s_prints_and_logs_are_its_own(stage: Any, captured: Captured) -> None:
    def body() -> None:
        print("hello", "you")
        print("oh", file=sys.stderr, end="")
        logging.getLogger("app").info("read %d rows", 3)
        logging.getLogger("app").debug("not this")
        try:
            1 / 0  # noqa: B018 - for its error
        except ZeroDivisionError:
            logging.getLogger().exception("broken")

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.value()
    assert play.logged[0] == ("stdout", "hello you")
    assert play.logged[1] == ("info", "app: read 3 rows")
    assert play.logged[2][0] == "error"
    assert play.logged[2][1].startswith("root: broken\nTraceback")
    assert play.logged[3] == ("stderr", "oh")
    assert [stream.getvalue() for stream in captured] == ["", ""]


@capturing
def test_what_no_task_writes_goes_through(captured: Captured) -> None:
    print("hello")
    sys.stdout.flush()
    print("oh", file=sys.stderr)
    logging.getLogger("app").warning("careful")
    logging.getLogger("app").info("fine")
    out, err = captured
    assert out.getvalue() == "hello\n"
    assert err.getvalue() == "oh\nWARNING app: careful\nINFO app: fine\n"


@capturing
def test_threads_and_asyncio_tasks_do_not_mix(stage: Any, captured: Captured) -> None:
    barrier = threading.Barrier(3)

    def sync_body(name: str) -> None:
        for n in range(50):
            barrier.wait(20) if n == 0 else None
            print(name, n)

    async def async_body(name: str) -> None:
        async def child(n: int) -> None:
            await asyncio.sleep(0)
            print(name, n)

        await asyncio.gather(*(child(n) for n in range(25)))
        for n in range(25, 50):
            await asyncio.to_thread(print, name, n)

    plays = {name: stage.perform(sync_body, name) for name in ("a", "b")}
    plays |= {name: stage.perform(async_body, name) for name in ("c", "d")}
    barrier.wait(20)
    for name, play in plays.items():
        play.value()
        assert sorted(play.logged) == sorted(("stdout", f"{name} {n}") for n in range(50))
    assert captured[0].getvalue() == ""


@capturing
def test_a_thread_that_a_task_starts_is_its_own_master(stage: Any, captured: Captured) -> None:
    def body() -> None:
        thread = threading.Thread(target=print, args=("from beside",))
        thread.start()
        thread.join()

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.value()
    if sys.version_info < (3, 14):  # from there on threads inherit the context
        assert captured[0].getvalue() == "from beside\n"


@capturing
def test_capture_twice_is_capture_once(stage: Any, captured: Captured) -> None:
    out, err, handlers = sys.stdout, sys.stderr, logging.getLogger().handlers[:]
    output_capture.capture()
    assert (sys.stdout, sys.stderr, logging.getLogger().handlers) == (out, err, handlers)
    play = stage.perform(lambda: logging.getLogger().warning("once"))
    play.value()
    assert play.logged == [("warning", "root: once")]


@capturing
def test_a_level_that_the_app_has_set_stays(captured: Captured) -> None:
    root = logging.getLogger()
    assert root.level == logging.INFO
    root.handlers[:] = []
    root.setLevel(logging.ERROR)
    output_capture.capture()
    assert root.level == logging.ERROR


@capturing
def test_capture_leaves_the_app_s_handlers_alone(stage: Any, captured: Captured) -> None:
    seen: list[str] = []

    class Own(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    logging.getLogger().addHandler(Own())
    play = stage.perform(lambda: logging.getLogger().warning("both"))
    play.value()
    assert seen == ["both"]
    assert play.logged == [("warning", "root: both")]


@capturing
def test_a_record_that_cannot_be_formatted_does_not_break_the_task(stage: Any, captured: Captured) -> None:
    play = stage.perform(lambda: logging.getLogger().warning("%d", "no number") or 7)
    assert play.value() == 7
    assert any("Logging error" in text for level, text in play.logged if level == "stderr")


@capturing
def test_warnings_are_the_task_s(stage: Any, captured: Captured) -> None:
    def body() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", stacklevel=1)

    # pytest records warnings by a showwarning of its own; Python's writes to sys.stderr.
    show = warnings.showwarning
    warnings.showwarning = lambda *args, **_: print("warned", file=sys.stderr)
    try:
        play = stage.perform(body, now=False)
        stage.begin(play)
        play.value()
    finally:
        warnings.showwarning = show
    assert ("stderr", "warned") in play.logged


@capturing
def test_it_is_a_stream(stage: Any, captured: Captured) -> None:
    def body() -> Any:
        out: Any = sys.stdout
        written = [out.write("a\n"), out.buffer.write(b"b\xff\n"), out.buffer.write(memoryview(b"c\n"))]
        out.writelines(["d\n", "e\n"])
        out.flush()
        out.buffer.flush()
        out.close()
        print("f")
        with pytest.raises(TypeError, match="must be str"):
            out.write(b"x")
        return [written, out.closed, out.isatty(), out.writable(), out.readable(), out.encoding, out.errors]

    play = stage.perform(body, now=False)
    stage.begin(play)
    assert play.value() == [[2, 3, 2], False, False, True, False, "utf-8", "backslashreplace"]
    assert play.logged == [("stdout", text) for text in ("a", "b\\xff", "c", "d", "e", "f")]
    stream: Any = sys.stdout
    stream.buffer.write(b"beyond\n")
    stream.buffer.flush()
    assert captured[0].getvalue() == "beyond\n"
    with pytest.raises(io.UnsupportedOperation):
        stream.fileno()  # what lies beyond has none here


@capturing
def test_the_wait_of_one_task_does_not_hold_another_s_prints(stage: Any, captured: Captured) -> None:
    async def waits() -> None:
        print("before")
        await aio.receive()
        print("after")

    waiting = stage.perform(waits)
    waiting.until_waiting()
    stage.perform(lambda: print("beside")).value()
    assert waiting.logged == [("stdout", "before")]
    waiting.tell(1)
    waiting.value()
    assert waiting.logged == [("stdout", "before"), ("stdout", "after")]
    assert context.lineage_here() is None


def _writes_with_a_kept_handler(handler: logging.Handler) -> None:
    own = logging.getLogger("kept")
    own.addHandler(handler)
    try:
        own.warning("careful")
    finally:
        own.removeHandler(handler)


@capturing
def test_a_handler_that_was_bound_to_the_stream_writes_to_the_log_once(
    stage: Any, captured: Captured
) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("[%(name)s] %(message)s"))
    play = stage.perform(lambda: _writes_with_a_kept_handler(handler))
    play.value()
    assert play.logged == [("warning", "[kept] careful")]
    assert captured[1].getvalue() == ""
    _writes_with_a_kept_handler(handler)
    assert captured[1].getvalue() == "[kept] careful\n"


@capturing
def test_it_has_what_programs_use_of_a_stream(stage: Any, captured: Captured) -> None:
    def body() -> Any:
        out: Any = sys.stdout
        out.reconfigure(encoding="latin-1", line_buffering=True)
        for byte in "é\n".encode():
            out.buffer.raw.write(bytes([byte]))
        return [
            out.name,
            out.mode,
            out.line_buffering,
            out.write_through,
            out.newlines,
            out.buffer.mode,
            out.isatty(),
        ]

    play = stage.perform(body, now=False)
    stage.begin(play)
    assert play.value() == ["<stdout>", "w", True, False, None, "wb", False]
    assert play.logged == [("stdout", "é")]


def test_bytes_and_settings_reach_the_stream_beyond():
    raw = io.BytesIO()
    stream = output_capture.TaskStream("stdout", io.TextIOWrapper(raw, encoding="ascii"))
    stream.write("text ")
    stream.buffer.write(b"\xff ")
    stream.reconfigure(encoding="utf-8")
    stream.write("é")
    stream.flush()
    assert raw.getvalue() == b"text \xff \xc3\xa9"


def test_a_process_without_the_stream():
    stream = output_capture.TaskStream("stderr", None)
    assert (stream.write("abc"), stream.buffer.write(b"ab")) == (3, 2)
    stream.flush()
    stream.reconfigure(encoding="utf-8")
    with pytest.raises(io.UnsupportedOperation):
        stream.fileno()
