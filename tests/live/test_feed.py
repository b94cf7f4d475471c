"""What is kept, what readers get, and that neither grows."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.admin import FakeSampler
from trio.testing import wait_all_tasks_blocked

from trioproxy.live import TOLD, Feed, TooManyReaders
from trioproxy.live import feed as feed_module
from trioproxy.live.feed import EVENTS, MAX_READERS, SAMPLES


def history_of(reader):
    return json.loads(reader.history())


async def news_of(reader):
    return [(kind, json.loads(text)) for kind, text in await reader.news()]


async def test_a_reader_begins_with_what_was_and_with_a_sample_of_now():
    feed = Feed(FakeSampler())
    feed.tick()
    feed.tick()
    feed.tell("upstream_down", "warning", {"pool": "backend", "reason": "refused"})
    with feed.read() as reader:
        history = history_of(reader)
    (event,) = history["events"]
    assert event.pop("time") > 1_600_000_000
    assert event == {"event": "upstream_down", "level": "warning", "pool": "backend", "reason": "refused"}
    assert history["interval"] == 1
    assert history["samples"] == [{"taken": 1}, {"taken": 2, "pools": [{"name": "backend"}]}]


async def test_before_the_first_tick_a_reader_takes_a_sample_itself():
    with Feed(FakeSampler()).read() as reader:
        assert history_of(reader)["samples"] == [{"taken": 1, "pools": [{"name": "backend"}]}]


async def test_news_come_once_and_in_order(nursery):
    feed = Feed(FakeSampler())
    with feed.read() as reader:
        feed.tell("drain", "info", {})
        feed.tell("drained", "info", {})
        feed.tick()
        found = await news_of(reader)
        assert [(kind, each.get("event")) for kind, each in found] == [
            ("event", "drain"),
            ("event", "drained"),
            ("sample", None),
        ]
        assert found[-1][1] == {"taken": 2, "pools": [{"name": "backend"}]}
        got = []

        async def follow():
            got.append(await news_of(reader))

        nursery.start_soon(follow)
        await wait_all_tasks_blocked()
        assert got == []
        feed.tick()
        await wait_all_tasks_blocked()
        assert [kind for kind, _ in got[0]] == ["sample"]


async def test_a_slow_reader_gets_the_newest_sample_and_the_events_that_are_kept():
    feed = Feed(FakeSampler())
    with feed.read() as reader:
        for number in range(EVENTS + 50):
            feed.tell("resolved", "info", {"number": number})
            feed.tick()
        found = await news_of(reader)
    assert [each["number"] for kind, each in found if kind == "event"] == list(range(50, EVENTS + 50))
    assert [each["taken"] for kind, each in found if kind == "sample"] == [EVENTS + 51]


async def test_history_is_bounded():
    feed = Feed(FakeSampler())
    for number in range(2 * SAMPLES):
        feed.tick()
        feed.tell("resolved", "info", {"number": number})
    with feed.read() as reader:
        history = history_of(reader)
    assert [each["taken"] for each in history["samples"]] == list(range(SAMPLES + 1, 2 * SAMPLES + 1))
    assert [each["number"] for each in history["events"]] == list(range(2 * SAMPLES - EVENTS, 2 * SAMPLES))


async def test_upstreams_are_described_only_for_who_reads():
    sampler = FakeSampler(of_each=None)
    feed = Feed(sampler)
    for _ in range(3):
        feed.tick()
    sampler.of_each = [{"name": "new"}]
    with feed.read() as reader:
        assert history_of(reader)["samples"][-1]["pools"] == [{"name": "new"}]


async def test_readers_are_limited_and_leave_room_when_they_go():
    feed = Feed(FakeSampler())
    with ExitStack() as readers:
        for _ in range(MAX_READERS):
            readers.enter_context(feed.read())
        with pytest.raises(TooManyReaders):
            readers.enter_context(feed.read())
    with feed.read():
        pass


async def test_when_it_ends_all_readers_are_let_go():
    feed = Feed(FakeSampler())
    with feed.read() as reader:
        feed.end()
        assert await reader.news() == []
    with feed.read() as late:
        assert await late.news() == []


async def test_what_happens_again_and_again_is_told_once_a_minute(monkeypatch):
    now = 1_790_000_000.0
    monkeypatch.setattr(feed_module.time, "time", lambda: now)
    feed = Feed(FakeSampler())
    for _ in range(150):
        feed.tell("accept_failed", "error", {"reason": "Too many open files"})
        now += 1
    with feed.read() as reader:
        told = [(each["event"], each["time"]) for each in history_of(reader)["events"]]
    assert told == [("accept_failed", 1_790_000_000 + seconds) for seconds in (0, 60, 120)]
    feed.tell("accept_failed", "error", {"reason": "another"})
    feed.tell("accept_failed", "error", {"reason": "Too many open files"})
    now -= 3600  # the clock was put back
    feed.tell("accept_failed", "error", {"reason": "Too many open files"})
    assert feed.events_told == 6


async def test_events_say_nothing_of_tracebacks_and_nothing_at_length():
    feed = Feed(FakeSampler())
    feed.tell(
        "reload", "error", {"exc_info": ValueError("x"), "reason": "y" * 10_000, "addresses": ["a"], "of": object}
    )
    with feed.read() as reader:
        (event,) = history_of(reader)["events"]
    assert "exc_info" not in event and len(event["reason"]) == 300
    assert event["addresses"] == ["a"] and event["of"] == str(object)


@pytest.mark.parametrize("page", ["admin-api.md", "logs.md"])
def test_every_event_is_documented(page):
    text = (Path(__file__).parents[2] / "docs" / "reference" / page).read_text()
    assert {name for name in TOLD if f"`{name}`" not in text} == set()
