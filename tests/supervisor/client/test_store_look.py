"""What pages read beyond the calls of a runtime."""

from __future__ import annotations

from kept_tasks import keeps
from understudy import State
from understudy.supervisor.client.store_look import StoreLook
from understudy.testing import InlineRuntime


def test_values_of_a_task():
    with InlineRuntime(now=1_782_000_000) as rt:
        look = StoreLook(rt)
        info = rt.start(keeps, 7)
        rt.clock.advance(1)
        assert look.checkpoint(info) == {"value": 7}
        assert [(item.name, item.value) for item in look.items(info, 10)] == [("part", 7)]
        before = look.newest()
        rt.close_mailbox(info)
        rt.wait(info, timeout=10)
        assert look.result(info) == 7
        assert look.newest() != before


def test_messages_wait_in_their_order():
    with InlineRuntime(now=1_782_000_000) as rt:
        info = rt.start(keeps.options(delay=60), 1)
        rt.send_many([(info, "a"), (info, "b")])
        assert StoreLook(rt).messages(info) == ["a", "b"]
        assert StoreLook(rt).messages(info, 1) == ["a"]


def test_bars_have_every_end_once_whatever_their_width():
    with InlineRuntime(now=1_782_000_000) as rt:
        look = StoreLook(rt)
        for number in range(5):
            info = rt.start(keeps, number)
            if number % 2:
                rt.send(info, "stop")
            else:
                rt.close_mailbox(info)
            rt.wait(info, timeout=10)
            rt.clock.advance(700)
        # Handlers of failures that other modules of this process declare have run, too.
        handled = sum(record.task != keeps.name for record in rt.list(state=State.COMPLETED))
        now = rt.clock.time()
        for seconds, width in ((3_600, 10), (3_600, 60), (21_600, 300), (86_400, 1_200), (604_800, 10_800)):
            bars = look.bars(now - seconds, now, width)
            assert [bar.start for bar in bars] == list(range(bars[0].start, bars[-1].start + 1, width))
            assert bars[0].start <= now - seconds < bars[0].start + width
            assert sum(bar.ended[State.COMPLETED] for bar in bars) == 3 + handled, width
            assert sum(bar.ended[State.FAILED] for bar in bars) == 2, width
            assert len([bar for bar in bars if bar.total]) == (
                5 if width < 700 else len({int((now - 700 * (5 - n)) // width) for n in range(5)})
            )
