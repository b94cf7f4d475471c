"""What only the portable engine does: any half-closeable stream. The rest is in the contract suite."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from support.frames import BINARY, CLOSE, MASK, PING, TEXT, close_payload, frame

from trioproxy.config import WebSocketConfig
from trioproxy.errors import Ending, Phase, Reason, Source
from trioproxy.relay import Tunnel
from trioproxy.relay.streams import StreamsRelay


class Conversation:
    """Both ends of a tunnel over memory streams."""

    def __init__(self, pair=trio.testing.memory_stream_pair):
        self.client, near_client = pair()
        self.upstream, near_upstream = pair()
        self.tunnel = Tunnel(
            near_client, near_upstream, settings=WebSocketConfig(), extensions=False, idle_timeout=60, close_timeout=5
        )
        self.ending = None

    async def run(self):
        self.ending = await StreamsRelay().run(self.tunnel)
        await trio.aclose_forcefully(self.tunnel.client)
        await trio.aclose_forcefully(self.tunnel.upstream)


@pytest.fixture
async def conversation(nursery, autojump_clock):
    both = Conversation()
    nursery.start_soon(both.run)
    return both


async def test_a_conversation_over_memory_streams(conversation):
    hello = frame(TEXT, b"hello", mask=MASK)
    await conversation.client.send_all(hello)
    assert await conversation.upstream.receive_some() == hello
    close = frame(CLOSE, close_payload(1000))
    await conversation.upstream.send_all(close)
    assert await conversation.client.receive_some() == close
    reply = frame(CLOSE, close_payload(1000), mask=MASK)
    await conversation.client.send_all(reply)
    assert await conversation.upstream.receive_some() == reply
    await conversation.upstream.send_eof()
    assert await conversation.client.receive_some() == b""
    await conversation.client.send_eof()
    await trio.testing.wait_all_tasks_blocked()
    assert conversation.ending == Ending(Source.UPSTREAM, Phase.CLOSE, Reason.DONE, "close 1000")


async def test_an_upstream_that_broke_is_told_to_the_client(conversation):
    await conversation.upstream.aclose()
    assert await conversation.client.receive_some() == frame(CLOSE, close_payload(1011))
    assert await conversation.client.receive_some() == b""
    await conversation.client.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert conversation.ending.by is Source.UPSTREAM
    assert conversation.ending.phase is Phase.TUNNEL


async def test_a_reset_closes_streams_that_know_no_reset(conversation):
    await conversation.client.send_all(frame(BINARY, bytes(1000), mask=MASK)[:500])
    assert len(await conversation.upstream.receive_some()) == 500
    await conversation.client.send_eof()
    assert await conversation.upstream.receive_some() == b""
    await trio.testing.wait_all_tasks_blocked()
    assert conversation.ending.reason is Reason.CLOSED


async def test_a_reader_that_stops_is_reset_in_the_end(nursery, autojump_clock):
    both = Conversation(trio.testing.lockstep_stream_pair)
    nursery.start_soon(both.run)
    start = trio.current_time()
    await both.upstream.send_all(frame(PING, b"?"))
    with pytest.raises(trio.BrokenResourceError):
        await both.upstream.send_all(frame(PING, b"!"))
    assert 60 <= trio.current_time() - start <= 62
    await trio.testing.wait_all_tasks_blocked()
    assert (both.ending.by, both.ending.reason) == (Source.CLIENT, Reason.STALLED)
