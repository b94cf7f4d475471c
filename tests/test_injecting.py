"""Chaos verbs carried out on the tunnels and upstreams of one process, and undone."""

from __future__ import annotations

import pytest
import trio
from support.chaos_verbs import field
from support.frames import CLOSE, TEXT, close_payload, open_websocket
from support.serving import POOL

from trioproxy import metrics as m
from trioproxy.config import PassiveConfig
from trioproxy.counts import HandshakeResult
from trioproxy.ejection import Failure
from trioproxy.errors import Phase, Reason, Source
from trioproxy.verbs import RESET, Verb

CHAOS = (Source.PROXY, Phase.TUNNEL, Reason.CHAOS)


def address_of(run, upstream=0):
    return run.upstreams[upstream].address


async def ids_of(run, upstream=0):
    return await run.chaos.carrier.tunnels(POOL, address_of(run, upstream))


async def goodbye(end):
    """The code of a Close that comes now, which is answered."""
    code = (await end.receive()).close_code
    await end.send(CLOSE, close_payload(code))
    assert await end.http.at_end()
    return code


async def refused(run):
    """What an upgrade is answered."""
    with pytest.raises(AssertionError) as caught:
        await open_websocket(run.proxy.listeners[0].address)
    return str(caught.value)


async def test_an_upstreams_open_tunnels_are_found_in_the_order_they_opened(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        await run.open(6)
        names = list(run.proxy.context.tunnels)
        assert (await ids_of(run), await ids_of(run, 1)) == (names[::2], names[1::2])
        run.proxy.context.tunnels[names[0]].tunnel.close(1012, Reason.OPERATOR)
        run.proxy.context.tunnels[names[2]].tunnel.suspend()
        assert await ids_of(run) == names[4:5]
        assert await run.chaos.carrier.tunnels(POOL, "other:1") == []


async def test_tunnels_are_closed_over_time_and_counted_when_they_are(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        await run.open(4)
        ids = await ids_of(run)
        assert await run.chaos.carrier.close([*ids, "unknown"], 4001, 10.0) == 2
        async with trio.open_nursery() as nursery:
            for end in run.to(0):
                nursery.start_soon(goodbye, end)
            await trio.sleep(5)
            assert run.injected(Verb.CLOSE) == 1
        assert trio.current_time() >= 5 and run.injected(Verb.CLOSE) == 2
        await run.until_open(2)
        ends = run.events("tunnel_end")
        assert {end["id"] for end in ends} == set(ids)
        assert {(end["ended_by"], end["phase"], end["reason"]) for end in ends} == {CHAOS}
        assert {(end["injected"], end["close_code"], end["upstream"]) for end in ends} == {
            ("close", 4001, address_of(run))
        }
        assert run.proxy.context.metrics.value(m.ENDINGS, CHAOS) == 2
        assert run.proxy.context.metrics.value(m.CLOSES, (*run.upstreams[0].labels, Source.PROXY, "4xxx")) == 2


async def test_one_that_has_ended_before_its_turn_is_not_counted(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        await run.open(2)
        assert await run.chaos.carrier.close(await ids_of(run), 1012, 10.0) == 1
        await run.to(0)[0].close()
        await trio.sleep(11)
        assert run.injected(Verb.CLOSE) == 0


async def test_tunnels_in_a_black_hole_go_on_when_its_time_is_over(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        await run.open(4)
        first, second = run.to(0)
        assert await run.chaos.carrier.blackhole((await ids_of(run))[:1], 10.0) == 1
        start = trio.current_time()
        await first.send(TEXT, b"late")
        await second.send(TEXT, b"soon")
        assert ((await second.receive()).payload, trio.current_time()) == (b"soon", start)
        assert (await first.receive()).payload == b"late"
        assert trio.current_time() == start + 10
        assert (run.injected(Verb.BLACKHOLE), await ids_of(run)) == (1, list(run.proxy.context.tunnels)[::2])
        await first.close()
        await run.until_open(3)
        (end,) = run.events("tunnel_end")
        assert (end["reason"], end["ended_by"], end["injected"]) == ("done", "client", "blackhole")


async def test_one_that_is_in_a_black_hole_is_not_put_into_another(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        await run.open(2)
        ids = await ids_of(run)
        assert [await run.chaos.carrier.blackhole(ids, 10.0) for _ in range(2)] == [1, 0]


@pytest.mark.parametrize(
    ("status", "attempts", "answers"), [(503, 2, ["503", "503"]), (429, 2, ["429", "429"]), (RESET, 1, ["502", "502"])]
)
async def test_upgrades_are_refused_in_its_name_until_the_time_is_over(
    tmp_path, autojump_clock, status, attempts, answers
):
    async with field(tmp_path, attempts=attempts) as run:
        await run.chaos.carrier.refuse(POOL, address_of(run), 1.0, status, 1, 10.0)
        for answer in answers:
            assert f" {answer} " in await refused(run)  # every other one is the first upstream's
            await run.open(1)
        context, upstream = run.proxy.context, run.upstreams[0]
        assert upstream.active == 0 and run.upstreams[1].active == 2
        assert run.injected(Verb.REFUSE) == 2
        assert context.metrics.value(m.HANDSHAKES, ("all", *upstream.labels, HandshakeResult.CHAOS)) == 2
        assert context.metrics.total(m.HANDSHAKES, upstream=upstream.address) == 2
        assert context.metrics.value(m.ENDINGS, (Source.PROXY, Phase.HANDSHAKE, Reason.CHAOS)) == 2
        assert context.metrics.total(m.UPSTREAM_FAILURES) == (2 if status == RESET else 0)
        for request in run.events("request"):
            assert (request["injected"], request["reason"], request["ended_by"]) == ("refuse", "chaos", "proxy")
        await trio.sleep(11)
        assert upstream.refusal is None
        await run.open(2)
        assert upstream.active == 1


async def test_a_refusal_is_retried_as_a_real_one_and_told_apart(tmp_path, autojump_clock):
    async with field(tmp_path, retry_on=("connect", "closed", "5xx")) as run:
        for status in (503, RESET):
            await run.chaos.carrier.refuse(POOL, address_of(run), 1.0, status, 1, 10.0)
            await run.open(2)
        metrics = run.proxy.context.metrics
        assert (run.upstreams[0].active, run.upstreams[1].active) == (0, 4)
        assert metrics.value(m.RETRIES, (POOL, Reason.CHAOS)) == metrics.total(m.RETRIES) == 2
        assert [event.get("injected") for event in run.events("tunnel_open")].count("refuse") == 2


async def test_resets_eject_an_upstream_as_real_ones_do_and_are_told_apart(tmp_path, autojump_clock):
    async with field(tmp_path, passive=PassiveConfig(max_failures=2, eject=5)) as run:
        await run.chaos.carrier.refuse(POOL, address_of(run), 1.0, RESET, 1, 60.0)
        await run.open(4)
        metrics = run.proxy.context.metrics
        assert run.upstreams[0].ejected
        assert metrics.value(m.UPSTREAM_FAILURES, (*run.upstreams[0].labels, Failure.CHAOS)) == 2
        assert metrics.total(m.UPSTREAM_FAILURES) == 2
        assert metrics.value(m.UPSTREAM_EJECTIONS, (*run.upstreams[0].labels, Failure.CHAOS)) == 1


async def test_a_share_of_upgrades_is_drawn_from_the_seed(tmp_path, autojump_clock):
    async def drawn(seed):
        await run.chaos.carrier.refuse(POOL, address_of(run), 0.5, 503, seed, 10.0)
        return [run.upstreams[0].refusal.strikes() for _ in range(40)]

    async with field(tmp_path) as run:
        first = await drawn(1)
        assert first == await drawn(1) != await drawn(2)
        assert 5 < sum(first) < 35


async def test_a_second_refusal_outlives_the_first(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        await run.chaos.carrier.refuse(POOL, address_of(run), 1.0, 503, 1, 10.0)
        await run.chaos.carrier.refuse(POOL, address_of(run), 1.0, 500, 1, 20.0)
        await run.chaos.carrier.refuse("gone", address_of(run), 1.0, 500, 1, 20.0)
        await trio.sleep(15)
        assert run.upstreams[0].refusal.status == 500
        await trio.sleep(6)
        assert run.upstreams[0].refusal is None


async def test_stopping_undoes_what_is_on_at_once(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        await run.open(6)
        ids = await ids_of(run)
        start = trio.current_time()
        await run.chaos.carrier.close(ids[:1], 1012, 100.0)
        await run.chaos.carrier.blackhole(ids[1:2], 100.0)
        await run.chaos.carrier.refuse(POOL, address_of(run), 1.0, 503, 1, 100.0)
        await run.chaos.carrier.stop()
        assert run.upstreams[0].refusal is None
        assert [await end.echo(b"on") for end in run.ends] == [b"on"] * 6
        await trio.sleep(150)
        assert run.injected(Verb.CLOSE) == 0 and trio.current_time() == start + 150
