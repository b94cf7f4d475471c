"""Faults that operators inject: begun, told of, counted as long as they last, ended."""

from __future__ import annotations

import json

import attrs
import pytest
import trio
from support.chaos_verbs import field
from support.serving import POOL, make_config, make_context

from trioproxy import metrics as m
from trioproxy.admin import Unknown
from trioproxy.admin.control import NotNow
from trioproxy.config import AdminConfig
from trioproxy.injections import Injections
from trioproxy.logs import Log
from trioproxy.verbs import Verb

NOTHING = dict.fromkeys(Verb, False)


def ends(run):
    return [(event["verb"], event["why"]) for event in run.events("chaos") if event["state"] == "end"]


async def put_in_force(run, **changes):
    config = attrs.evolve(run.proxy.context.config, **changes)
    (await run.proxy.prepare(config)).commit()


async def test_a_fault_is_told_of_from_its_beginning_to_its_end(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        await run.open(20)
        told = json.loads(json.dumps(await run.chaos.inject(run.order(Verb.BLACKHOLE, 0.25, 30))))
        where = {"pool": POOL, "upstream": run.upstreams[0].address}
        begun = {"id": 1, "verb": "blackhole", **where, "share": 0.25, "seed": 1, "seconds": 30, "tunnels": 3, "of": 10}
        assert told == {**begun, "remaining_seconds": 30, "asked_by": "203.0.113.9"}
        assert run.injected(Verb.BLACKHOLE) == 3
        await trio.sleep(10)
        (seen,) = run.chaos.active()
        assert seen == run.proxy.status.status()["chaos"][0] == {**told, "remaining_seconds": 20}
        assert run.proxy.control.live.newest() and run.active() == {**NOTHING, Verb.BLACKHOLE: True}
        await trio.sleep(21)
        assert (run.chaos.active(), run.active()) == ([], NOTHING)
        logged = [
            {name: event[name] for name in event if name not in ("timestamp", "event")} for event in run.events("chaos")
        ]
        common = {**begun, "level": "warning"}
        asked = {**common, "state": "begin", "asked_by": "203.0.113.9"}
        assert logged == [asked, {**common, "state": "end", "why": "over"}]


async def test_the_number_of_faults_is_in_every_sample_and_their_events_are_told(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        with run.proxy.control.live.read() as reader:
            await reader.news()
            await run.chaos.inject(run.order(Verb.REFUSE, status=503))
            seen = dict(await reader.news())
            assert json.loads(seen["event"])["verb"] == "refuse"
            while "sample" not in seen:
                seen |= dict(await reader.news())
        assert json.loads(seen["sample"])["chaos"] == 1


async def test_the_same_seed_chooses_the_same_tunnels(tmp_path, autojump_clock):
    async def struck(seed):
        await run.chaos.inject(run.order(Verb.BLACKHOLE, 0.5, seed=seed))
        found = [name for name, one in run.proxy.context.tunnels.items() if one.tunnel.suspended]
        await run.chaos.stop("")
        return found

    async with field(tmp_path) as run:
        await run.open(20)
        first = await struck(7)
        assert len(first) == 5 and first == await struck(7) != await struck(8)


async def test_closing_is_on_for_as_long_as_its_spread_and_says_with_what(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        await run.open(4)
        told = await run.chaos.inject(run.order(Verb.CLOSE, seconds=0.0, code=4000))
        assert (told["tunnels"], told["of"], told["code"]) == (2, 2, 4000)
        assert [(await end.receive()).close_code for end in run.to(0)] == [4000, 4000]
        await trio.sleep(0.1)
        assert ends(run) == [("close", "over")]


async def test_a_refusal_takes_the_place_of_the_one_before_and_counts_from_its_own_beginning(tmp_path, autojump_clock):
    async with field(tmp_path, retry_on=("connect", "closed", "5xx")) as run:
        await run.chaos.inject(run.order(Verb.REFUSE, status=503))
        await run.open(4)
        assert run.chaos.active()[0]["handshakes"] == 2
        second = await run.chaos.inject(run.order(Verb.REFUSE, status=0))
        assert (second["handshakes"], second["status"]) == (0, "reset")
        assert [each["id"] for each in run.chaos.active()] == [2]
        assert ends(run) == [("refuse", "replaced")] and run.events("chaos")[1]["handshakes"] == 2
        other = attrs.evolve(run.order(Verb.REFUSE, status=503), upstream=run.upstreams[1].address)
        await run.chaos.inject(other)
        assert [each["id"] for each in run.chaos.active()] == [2, 3]


async def test_two_orders_at_once_do_not_choose_the_same_tunnels(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        await run.open(20)
        told = []

        async def inject():
            told.append(await run.chaos.inject(run.order(Verb.BLACKHOLE, 0.5)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(inject)
            nursery.start_soon(inject)
        assert [(each["tunnels"], each["of"]) for each in told] == [(5, 10), (3, 5)]
        assert run.injected(Verb.BLACKHOLE) == 8


async def test_stopping_ends_them_all_and_says_what_they_were(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        await run.open(4)
        await run.chaos.inject(run.order(Verb.BLACKHOLE))
        await run.chaos.inject(run.order(Verb.REFUSE, status=503))
        stopped = await run.chaos.stop("203.0.113.10")
        assert [each["id"] for each in stopped] == [1, 2]
        assert ends(run) == [("blackhole", "stopped"), ("refuse", "stopped")]
        assert run.events("chaos")[-1]["asked_by"] == "203.0.113.10"
        assert (run.upstreams[0].refusal, await run.ends[0].echo(b"on")) == (None, b"on")
        assert await run.chaos.stop("203.0.113.10") == []


async def test_a_drain_of_the_proxy_ends_them_and_lets_no_other_begin(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        await run.open(2)
        await run.chaos.inject(run.order(Verb.BLACKHOLE, seconds=3600.0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.proxy.drain)
            for end in run.ends:  # also in what was a black hole: the closing handshake goes through
                assert (await end.receive()).close_code == 1001
            assert ends(run) == [("blackhole", "drain")]
            with pytest.raises(NotNow, match="draining"):
                await run.chaos.inject(run.order(Verb.CLOSE))
            for end in run.ends:
                await end.http.stream.aclose()


async def test_what_is_stopped_while_tunnels_are_looked_for_does_not_begin(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        looked = run.chaos.carrier.tunnels

        class Slow:
            async def tunnels(self, pool, address):
                await trio.sleep(5)
                return await looked(pool, address)

        run.chaos.carrier = Slow()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def inject():
                with pytest.raises(NotNow, match="stopped"):
                    await run.chaos.inject(run.order(Verb.CLOSE))

            await trio.sleep(1)
            await run.chaos.stop("")
        assert not run.events("chaos")


async def test_names_are_those_of_the_configuration_however_spelt(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        with pytest.raises(Unknown, match="no pool"):
            await run.chaos.inject(attrs.evolve(run.order(Verb.CLOSE), pool="other"))
        with pytest.raises(Unknown, match="no upstream"):
            await run.chaos.inject(attrs.evolve(run.order(Verb.CLOSE), upstream="other:1"))


async def test_a_reload_that_forbids_them_ends_them_and_one_that_allows_them_says_so(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        assert len(run.events("chaos_allowed")) == 1
        await run.chaos.inject(run.order(Verb.REFUSE, status=503, seconds=3600.0))
        admin = run.proxy.context.config.admin
        await put_in_force(run)
        assert len(run.chaos.active()) == 1
        await put_in_force(run, admin=attrs.evolve(admin, chaos=False))
        await trio.sleep(0.1)
        assert (ends(run), run.upstreams[0].refusal) == ([("refuse", "reload")], None)
        assert run.proxy.status.status()["chaos"] is None and run.active() == {}
        await put_in_force(run, admin=admin)
        assert len(run.events("chaos_allowed")) == 2 and run.proxy.status.status()["chaos"] == []


async def test_a_process_that_begins_is_told_of_refusals_that_are_on_and_of_no_others(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        await run.open(4)
        await run.chaos.inject(run.order(Verb.BLACKHOLE, 0.5, 30))
        order = run.order(Verb.REFUSE, status=503, seconds=10.0)
        await run.chaos.inject(order)
        await trio.sleep(4)
        assert run.chaos.refusals() == [(order, 6.0)]
        pool = run.proxy.context.config.pools[POOL]
        await put_in_force(run, pools={POOL: attrs.evolve(pool, upstreams=pool.upstreams[1:])})
        await put_in_force(run, pools={POOL: pool})  # the same again, as a new one
        assert run.chaos.refusals() == []


async def test_a_reload_that_takes_the_upstream_away_ends_its_faults(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        await run.chaos.inject(run.order(Verb.REFUSE, status=503))
        pool = run.proxy.context.config.pools[POOL]
        await put_in_force(run, pools={POOL: attrs.evolve(pool, upstreams=pool.upstreams[1:])})
        assert (ends(run), run.chaos.active()) == ([("refuse", "reload")], [])


async def test_by_default_none_are_allowed_and_there_are_no_series_of_them(tmp_path, autojump_clock):
    async with field(tmp_path, chaos=False) as run:
        assert run.proxy.status.status()["chaos"] is None and not run.events("chaos_allowed")
        names = {each.metric for each in run.proxy.context.metrics.samples()}
        assert m.CHAOS_ACTIVE not in names and m.CHAOS_INJECTED not in names


async def test_with_them_allowed_every_upstream_has_its_series_at_0(tmp_path, autojump_clock):
    async with field(tmp_path) as run:
        assert run.active() == NOTHING
        found = [each for each in run.proxy.context.metrics.samples() if each.metric is m.CHAOS_INJECTED]
        assert len(found) == 2 * len(Verb)


async def test_without_an_admin_address_nobody_can_ask():
    log = Log.memory()
    context = make_context(make_config(admin=AdminConfig(address="", chaos=True)), log)
    Injections(context, None, None).begin()
    assert context.injections is None and not log.events
