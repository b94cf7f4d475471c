"""The event stream over real sockets: what it begins with, what follows, and how it ends."""

from __future__ import annotations

import pytest
import trio
from support.admin import exchange, open_admin
from support.live import following
from support.waiting import wait_until
from trio.testing import wait_all_tasks_blocked

from trioproxy.accepting import give_up
from trioproxy.admin import Token
from trioproxy.admin.live import HEARTBEAT_SECONDS, EventStream
from trioproxy.live.feed import MAX_READERS


@pytest.fixture
async def admin():
    async with open_admin() as running:
        yield running


async def test_it_begins_with_the_history_and_goes_on_with_what_happens(admin):
    feed = admin.control.live
    feed.tell("listening", "info", {"listener": "public"})
    async with following(admin.address) as stream:
        assert stream.head.startswith(b"HTTP/1.1 200 ")
        for line in (b"text/event-stream", b"x-accel-buffering: no", b"cache-control: no-store", b"nosniff"):
            assert line in stream.head
        first = await stream.block()
        assert (first["retry"], first["event"]) == ("1000", "history")
        assert [each["event"] for each in first["data"]["events"]] == ["listening"]
        assert [each["taken"] for each in first["data"]["samples"]] == [1]
        feed.tick()
        assert await stream.block() == {"event": "sample", "data": {"taken": 2, "pools": [{"name": "backend"}]}}
        feed.tell("drain", "info", {"tunnels": 3})
        told = await stream.block()
        assert (told["event"], told["data"]["event"], told["data"]["tunnels"]) == ("event", "drain", 3)


async def test_text_of_others_cannot_break_a_line(admin):
    async with following(admin.address) as stream:
        await stream.block()
        admin.control.live.tell("reload", "error", {"reason": "a\r\n\r\nevent: sample\ndata: \u2028{}"})
        assert (await stream.block())["data"]["reason"] == "a\r\n\r\nevent: sample\ndata: \u2028{}"


async def test_readers_beyond_the_limit_are_told_to_come_later_and_who_leaves_makes_room(admin):
    async with trio.open_nursery() as nursery:

        async def hold():
            async with following(admin.address) as stream:
                await stream.block()
                await trio.sleep_forever()

        for _ in range(MAX_READERS):
            nursery.start_soon(hold)
        feed = admin.control.live
        await wait_until(lambda: feed.readers == MAX_READERS, "all readers")
        answer = await admin.get("/api/live")
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert answer.json() == {"error": "as many event streams are open as there may be"}
        nursery.cancel_scope.cancel()

    def gone():
        feed.tick()  # it is when something is sent that a reader's end shows
        return feed.readers == 0

    await wait_until(gone, "no reader")
    assert admin.log.events == []


async def test_head_answers_without_a_stream(admin):
    async with await admin.dial() as stream:
        answer = await exchange(stream, "HEAD", "/api/live", admin.address, {})
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert (await exchange(stream, "GET", "/healthz", admin.address, {})).status == 200
    assert admin.control.live.readers == 0


async def test_it_is_guarded_as_all_of_the_api(tmp_path):
    (tmp_path / "token").write_text("secret")
    async with open_admin(token_file=str(tmp_path / "token")) as admin:
        assert (await admin.get("/api/live")).status == 401
        assert (await admin.get("/api/live", host="evil.example")).status == 403
        assert (await admin.get("/api/live", origin="http://evil.example")).status == 403
        assert (await admin.post("/api/live")).status == 405
        async with following(admin.address, authorization="Bearer secret") as stream:
            assert (await stream.block())["event"] == "history"


async def test_who_followed_with_a_token_that_is_no_longer_in_force_hears_no_more():
    token = Token(b"old")
    async with open_admin(token=token) as admin, following(admin.address, authorization="Bearer old") as stream:
        assert (await stream.block())["event"] == "history"
        token.value = b"new"
        admin.control.live.tick()
        with pytest.raises(EOFError):
            await stream.block()
        async with following(admin.address, authorization="Bearer new") as another:
            assert (await another.block())["event"] == "history"


async def test_an_open_stream_holds_up_no_end():
    async with open_admin() as admin:
        streams = [following(admin.address) for _ in range(3)]
        for each in streams:
            stream = await each.__aenter__()
            await stream.block()
        started = trio.current_time()
    assert trio.current_time() - started < 10
    for each in streams:
        await each.__aexit__(None, None, None)


async def test_when_the_address_goes_to_another_process_the_stream_ends_as_it_should():
    async with open_admin() as admin, following(admin.address) as stream:
        await stream.block()
        with admin.sock.dup():
            admin.control.live.end()
            give_up(admin.sock)
            with pytest.raises(EOFError):
                await stream.block()
            await wait_until(lambda: admin.sock.fileno() == -1, "the end")


async def test_where_nothing_happens_a_comment_shows_that_it_is_there(autojump_clock, nursery):
    """Without a socket: what is on its way there, a clock that jumps would overtake."""
    async with open_admin() as admin:
        sent = []

        async def send(message):
            sent.append((trio.current_time(), message.get("body", b"")))

        nursery.start_soon(EventStream(admin.control.live, lambda: True), {"method": "GET"}, trio.sleep_forever, send)
        await trio.sleep(2.5 * HEARTBEAT_SECONDS)
        nursery.cancel_scope.cancel()
    assert [each for each in sent if each[1] == b":\n\n"] == [
        (HEARTBEAT_SECONDS, b":\n\n"),
        (2 * HEARTBEAT_SECONDS, b":\n\n"),
    ]


async def test_who_does_not_read_holds_nothing_but_a_place(admin):
    """All that waits for a reader is in the kernel; the feed goes on for the others."""
    feed = admin.control.live
    async with following(admin.address) as stalled, following(admin.address) as other:
        await stalled.block()
        await other.block()
        large = "x" * 200_000
        admin.control.live._source.of_each = [{"name": large}]
        for _ in range(100):
            feed.tick()
            assert (await other.block())["data"]["pools"] == [{"name": large}]
        await wait_all_tasks_blocked()
        assert feed.readers == 2
