"""What any engine does where a side breaks the rules of framing (RFC 6455 §5): Close 1002 both ways, on boundaries."""

from __future__ import annotations

import pytest
import trio.testing
from support.frames import BINARY, CLOSE, MASK, PING, PONG, TEXT, frame
from support.tunnels import ENGINES, frames_of, relayed

pytestmark = pytest.mark.parametrize("engine", ENGINES)

SIDES = "client", "upstream"
BREACHES = {
    "unmasked": (frame(TEXT, b"x"), None),
    "reserved bit": (frame(TEXT, b"x", mask=MASK, rsv=4), frame(TEXT, b"x", rsv=4)),
    "reserved opcode": (frame(3, b"x", mask=MASK), frame(11, b"x")),
    "masked": (None, frame(TEXT, b"x", mask=MASK)),
    "fragmented control frame": (frame(PING, b"x", mask=MASK, fin=False), frame(CLOSE, fin=False)),
    "long control frame": (frame(PING, bytes(126), mask=MASK), frame(PONG, bytes(126))),
    "length not minimal": (b"\x82\xfe\0\x05" + MASK, b"\x82\x7f" + bytes(6) + b"\xff\xff"),
    "top bit of the length": (b"\x82\xff\x80" + bytes(7) + MASK, b"\x82\x7f\x80" + bytes(7)),
    "continuation of nothing": (frame(0, b"x", mask=MASK), frame(0, b"x")),
    "message inside a message": (
        frame(TEXT, b"x", mask=MASK, fin=False) + frame(TEXT, b"x", mask=MASK),
        frame(TEXT, b"x", fin=False) + frame(BINARY, b"x"),
    ),
}


@pytest.mark.parametrize(
    ("breach", "side"),
    [(name, side) for name, sent in BREACHES.items() for side, bad in zip(SIDES, sent, strict=True) if bad],
)
@pytest.mark.parametrize("chunk", [1, 1000])
@pytest.mark.rule("frames-strict", "close-codes")
async def test_a_broken_rule_closes_both_ways_with_1002(engine, breach, side, chunk):
    from_client, from_upstream = BREACHES[breach]
    bad = from_client if side == "client" else from_upstream
    async with relayed(engine) as rig:
        offender, other = (rig.client, rig.upstream) if side == "client" else (rig.upstream, rig.client)
        good = offender.frame(TEXT, b"fine")
        sent = good + bad
        for i in range(0, len(sent), chunk):
            await offender.send(sent[i : i + chunk])
            await trio.testing.wait_all_tasks_blocked()
        assert frames_of(await offender.rest(), client=side == "client") == [(CLOSE, 1002)]
        other.fin()
        offender.fin()
        frames = (await other.rest())[len(good) :]
        if breach.startswith("message inside"):
            frames = frames[len(bad) // 2 :]
        assert frames_of(frames, client=side == "upstream") == [(CLOSE, 1002)]
        await rig.ending()
        assert rig.summary() == (side, "tunnel", "protocol")
        assert rig.tunnel.to_client.traffic.injected[CLOSE] == rig.tunnel.to_upstream.traffic.injected[CLOSE] == 1


@pytest.mark.rule("frames-strict")
async def test_with_an_extension_reserved_bits_are_its_business(engine):
    async with relayed(engine, extensions=True) as rig:
        sent = rig.client.frame(TEXT, b"deflated", rsv=4)
        await rig.client.send(sent)
        assert await rig.upstream.take(len(sent)) == sent


@pytest.mark.rule("injection")
async def test_a_breach_waits_for_the_boundary_of_the_other_direction(engine):
    async with relayed(engine) as rig:
        data = rig.upstream.frame(BINARY, bytes(1000))
        await rig.upstream.send(data[:300])
        assert await rig.client.take(300) == data[:300]
        await rig.client.send(frame(TEXT, b"no mask"))
        assert frames_of(await rig.upstream.take(8), client=False) == [(CLOSE, 1002)]
        await rig.upstream.send(data[300:] + data)
        assert await rig.client.take(len(data) - 300) == data[300:]
        assert frames_of(await rig.client.rest(), client=True) == [(CLOSE, 1002)]
