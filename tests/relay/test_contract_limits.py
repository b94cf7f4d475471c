"""What any engine does where a message, their number or a tunnel's age goes over a limit."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from support.frames import BINARY, CLOSE, CONTINUATION, MASK, PING, PONG, TEXT, masked
from support.tunnels import ENGINES, frames_of, relayed, tcp_pair

pytestmark = pytest.mark.parametrize("engine", ENGINES)

LIMIT = 1000
sides = pytest.mark.parametrize("side", ["client", "upstream"])


def ends(rig, side):
    return (rig.client, rig.upstream) if side == "client" else (rig.upstream, rig.client)


async def expect_too_big(rig, side, passed=b""):
    """The sender gets 1009 and the other end 1001, behind what had passed."""
    sender, other = ends(rig, side)
    assert frames_of(await sender.rest(), client=side == "client") == [(CLOSE, 1009)]
    assert await other.take(len(passed)) == passed
    sender.fin()
    other.fin()
    assert frames_of(await other.rest(), client=side == "upstream") == [(CLOSE, 1001)]
    await rig.ending()
    assert rig.summary() == ("proxy", "tunnel", "too_large")
    assert rig.tunnel.sent_code == 1009
    assert rig.tunnel.to_client.traffic.injected[CLOSE] == rig.tunnel.to_upstream.traffic.injected[CLOSE] == 1


@sides
@pytest.mark.parametrize("chunk", [1, 10_000])
@pytest.mark.rule("close-codes")
async def test_a_message_above_the_limit_is_refused_by_its_header(engine, side, chunk):
    async with relayed(engine, max_message_bytes=LIMIT) as rig:
        sender, other = ends(rig, side)
        good = sender.frame(BINARY, bytes(LIMIT)) + sender.frame(PING, b"?")
        await sender.send(good)
        assert await other.take(len(good)) == good
        bad = sender.frame(BINARY, bytes(LIMIT + 1))[: 8 if side == "client" else 4]
        for at in range(0, len(bad), chunk):
            await sender.send(bad[at : at + chunk])
            await trio.testing.wait_all_tasks_blocked()
        await expect_too_big(rig, side)


@sides
async def test_the_fragments_of_a_message_add_up_and_the_one_that_goes_over_does_not_pass(engine, side):
    async with relayed(engine, max_message_bytes=LIMIT) as rig:
        sender, _ = ends(rig, side)
        whole = sender.frame(TEXT, bytes(600), fin=False) + sender.frame(CONTINUATION, bytes(400))
        part = sender.frame(TEXT, bytes(60), fin=False) + sender.frame(CONTINUATION, bytes(900), fin=False)
        part += sender.frame(PING, bytes(100)) + sender.frame(CONTINUATION, bytes(40), fin=False)
        await sender.send(whole + part + sender.frame(CONTINUATION, b"x"))
        await expect_too_big(rig, side, whole + part)
        way = rig.tunnel.to_upstream if side == "client" else rig.tunnel.to_client
        assert (way.messages, way.traffic.frames[CONTINUATION], way.traffic.octets) == (1, 3, LIMIT)


@sides
@pytest.mark.parametrize("limit", [1, 30, 125, 126])
async def test_small_limits_hold_too(engine, side, limit):
    async with relayed(engine, max_message_bytes=limit) as rig:
        sender, _ = ends(rig, side)
        good = sender.frame(TEXT, bytes(limit)) + sender.frame(TEXT)
        await sender.send(good + sender.frame(TEXT, bytes(limit + 1)))
        await expect_too_big(rig, side, good)


async def test_limits_hold_without_strict(engine):
    async with relayed(engine, max_message_bytes=LIMIT, strict=False) as rig:
        await rig.client.send(b"\x82\xff" + b"\xff" * 8 + MASK)
        await expect_too_big(rig, "client")


@sides
async def test_the_senders_close_waits_for_a_boundary_of_what_it_receives(engine, side):
    async with relayed(engine, max_message_bytes=LIMIT) as rig:
        sender, other = ends(rig, side)
        data = other.frame(BINARY, bytes(500))
        await other.send(data[:300])
        assert await sender.take(300) == data[:300]
        await sender.send(sender.frame(BINARY, bytes(LIMIT + 1)))
        assert len(await other.take(4)) == 4
        await other.send(data[300:] + data)
        assert await sender.take(len(data) - 300) == data[300:]
        assert frames_of(await sender.rest(), client=side == "client") == [(CLOSE, 1009)]


async def test_a_sender_whose_close_finds_no_boundary_gets_a_reset(engine, autojump_clock):
    async with relayed(engine, tcp_pair, max_message_bytes=LIMIT, close_timeout=5) as rig:
        await rig.upstream.send(rig.upstream.frame(BINARY, bytes(500))[:300])
        assert len(await rig.client.take(300)) == 300
        await rig.client.send(rig.client.frame(BINARY, bytes(LIMIT + 1)))
        with pytest.raises(ConnectionResetError):
            await rig.client.rest()
        assert frames_of(await rig.upstream.rest(), client=False) == [(CLOSE, 1001)]
        await rig.ending()
        assert rig.summary() == ("proxy", "tunnel", "too_large")


# Messages a second.


@pytest.mark.rule("close-codes")
async def test_a_client_may_send_a_seconds_worth_at_once_and_no_more(engine, autojump_clock):
    async with relayed(engine, max_message_rate=5) as rig:
        await trio.sleep(100)
        message = (
            rig.client.frame(TEXT, b"a", fin=False) + rig.client.frame(PING) + rig.client.frame(CONTINUATION, b"b")
        )
        await rig.client.send(message * 6)
        assert frames_of(await rig.client.rest(), client=True) == [(CLOSE, 1008)]
        rig.client.fin()
        rig.upstream.fin()
        assert await rig.upstream.take(5 * len(message)) == message * 5
        assert frames_of(await rig.upstream.rest(), client=False) == [(CLOSE, 1001)]
        await rig.ending()
        assert rig.summary() == ("proxy", "tunnel", "too_many")
        assert (rig.tunnel.sent_code, rig.tunnel.to_upstream.messages) == (1008, 5)


async def test_a_client_that_keeps_to_the_rate_and_an_upstream_at_any_rate_are_fine(engine, autojump_clock):
    async with relayed(engine, max_message_rate=5) as rig:
        up, down = rig.client.frame(BINARY, bytes(200)), rig.upstream.frame(TEXT, b"x") * 100
        for _ in range(200):
            await rig.client.send(up)
            assert await rig.upstream.take(len(up)) == up
            await rig.upstream.send(down)
            assert await rig.client.take(len(down)) == down
            await trio.sleep(0.2)
        for piece in (up[:3], up[3:7], up[7:] + up * 4):  # a header in pieces is one message
            await rig.client.send(piece)
            await trio.testing.wait_all_tasks_blocked()
        assert len(await rig.upstream.take(5 * len(up))) == 5 * len(up)
        await rig.client.send(rig.client.frame(TEXT))
        assert frames_of(await rig.client.rest(), client=True) == [(CLOSE, 1008)]


@pytest.mark.parametrize("kind", ["pings", "pongs", "fragments", "empty"])
async def test_frames_that_are_no_messages_have_a_rate_of_their_own(kind, engine, autojump_clock):
    async with relayed(engine, max_frame_rate=50) as rig:
        if kind == "fragments":
            await rig.client.send(rig.client.frame(TEXT, b"", fin=False))
            assert len(await rig.upstream.take(6)) == 6
            await trio.sleep(1)
        part = {
            "pings": rig.client.frame(PING, b"x"),
            "pongs": rig.client.frame(PONG, b"x"),
            "fragments": rig.client.frame(CONTINUATION, b"", fin=False),
            "empty": rig.client.frame(TEXT),
        }[kind]
        for _ in range(3):
            await rig.client.send(part * 50)
            assert await rig.upstream.take(50 * len(part)) == part * 50
            await trio.sleep(1)
        await rig.client.send(part * 51)
        assert frames_of(await rig.client.rest(), client=True) == [(CLOSE, 1008)]
        rig.client.fin()
        rig.upstream.fin()
        assert await rig.upstream.take(50 * len(part)) == part * 50
        await rig.ending()
        assert rig.summary() == ("proxy", "tunnel", "too_many")


# Age.


@pytest.mark.rule("close-codes")
async def test_a_tunnel_of_its_greatest_age_is_closed_politely(engine, autojump_clock):
    ages = set()
    for _ in range(5):
        async with relayed(engine, max_age=600) as rig:
            start = trio.current_time()
            assert frames_of(await rig.client.take(4), client=True) == [(CLOSE, 1012)]
            ages.add(trio.current_time() - start)
            reply = await rig.client.send_close(1012)
            assert await rig.upstream.take(len(reply)) == reply
            await rig.upstream.send_close(1012)
            rig.upstream.fin()
            rig.client.fin()
            await rig.ending()
            assert rig.summary() == ("proxy", "tunnel", "aged")
    assert 540 <= min(ages) <= max(ages) <= 602
    assert len(ages) > 1


def test_the_test_masks_as_clients_do(engine):
    assert masked(masked(b"hello", MASK), MASK) == b"hello"
