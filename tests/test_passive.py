"""Passive checks in a running proxy: who is ejected, for how long, who gets the work meanwhile, what is told of it."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import pytest
import trio
from support.frames import CLOSE, close_payload, open_websocket, upgrade_answer, upgrade_request, websocket
from support.http_client import ask, get
from support.serving import POOL, make_config, talk_both, unix_upstream
from support.upstream import reply, serve_http
from trio.testing import wait_all_tasks_blocked

from trioproxy import metrics as m
from trioproxy.config import PassiveConfig
from trioproxy.health import UpstreamState
from trioproxy.logs import Log
from trioproxy.server import serve

TWICE = PassiveConfig(max_failures=2, window=10.0, eject=10.0)


async def hang_up(http):
    """Closes where the answer to a head was due."""
    await http.head()


async def drop(http):
    """Opens a tunnel and leaves it without a Close frame."""
    await http.send(upgrade_answer(await http.head()))


async def refuse(http):
    await serve_http(http, lambda _head, _body: reply(b"no", "503 Service Unavailable"))


@attrs.define(eq=False)
class Run:
    """A proxy before the upstreams `0`, `1`, ...; retries are off, so that a client sees what happened."""

    folder: object
    log: object
    proxy: object = None
    addresses: list = attrs.field(factory=list)

    @property
    def address(self):
        return self.proxy.listeners[0].address

    @property
    def upstreams(self):
        return self.proxy.context.pools[POOL].upstreams

    @property
    def states(self):
        return "".join(each.state[0] for each in self.upstreams)  # up, down, ejected, draining

    def config(self, *addresses, passive=TWICE, **settings):
        config = make_config(*(addresses or self.addresses), listeners=(f"unix:{self.folder / 'public'}",))
        pool = attrs.evolve(config.pools[POOL], passive=passive, **{"attempts": 1, **settings})
        return attrs.evolve(config, pools={POOL: pool})

    async def reload(self, *addresses, **settings):
        (await self.proxy.prepare(self.config(*addresses, **settings))).commit()

    def blame(self, place, count=1):
        """Failures of one upstream, as the places where they happen count them."""
        upstream = self.upstreams[place]
        for _ in range(count):
            self.proxy.context.metrics.inc(m.UPSTREAM_FAILURES, (*upstream.labels, "tunnel"))
        self.proxy.judge.look(upstream)

    def events(self, name):
        return [
            {key: value for key, value in event.items() if key not in {"timestamp", "level", "event", "pool"}}
            for event in self.log.events
            if event["event"] == name
        ]

    def count(self, metric):
        return self.proxy.context.metrics.total(metric)


@asynccontextmanager
async def running(folder, *talks, **settings):
    async with AsyncExitStack() as stack:
        run = Run(folder, Log.memory())
        for number, talk in enumerate(talks):
            run.addresses.append(await stack.enter_async_context(unix_upstream(folder / str(number), talk)))
        run.proxy = await stack.enter_async_context(serve(run.config(**settings), log=run.log))
        yield run


async def statuses(run, count, request=None):
    return [(await (ask(run.address, request) if request else get(run.address))).status for _ in range(count)]


@pytest.mark.parametrize(("request_", "failure"), [(None, "response"), (upgrade_request(), "handshake")])
async def test_who_fails_too_often_gets_no_more_work_for_a_while(tmp_path, autojump_clock, request_, failure):
    async with running(tmp_path, hang_up, refuse) as run:
        assert await statuses(run, 8, request_) == [502, 503, 502, 503, 503, 503, 503, 503]
        assert run.states == "eu"
        await trio.sleep(10.1)
        assert run.states == "uu"
        assert await statuses(run, 4, request_) in ([502, 503, 502, 503], [503, 502, 503, 502])
        assert run.states == "eu"
        bad = run.addresses[0]
        assert run.events("upstream_ejected") == [
            {"upstream": bad, "reason": failure, "seconds": 10, "ejections": 1},
            {"upstream": bad, "reason": failure, "seconds": 20, "ejections": 2},
        ]
        assert run.events("upstream_returned") == [{"upstream": bad, "state": "up"}]
        value = run.proxy.context.metrics.value
        assert value(m.UPSTREAM_EJECTIONS, (POOL, bad, failure)) == run.count(m.UPSTREAM_EJECTIONS) == 2
        assert value(m.UPSTREAM_FAILURES, (POOL, bad, failure)) == run.count(m.UPSTREAM_FAILURES) == 4


async def test_who_cannot_be_reached_is_ejected(tmp_path, autojump_clock):
    async with running(tmp_path, refuse) as run:
        await run.reload(f"unix:{tmp_path / 'nobody'}", *run.addresses)
        assert await statuses(run, 5) == [503] * 5
        assert run.states == "eu"
        assert run.events("upstream_ejected")[0]["reason"] == "connect"


async def test_tunnels_left_without_a_close_frame_count(tmp_path, autojump_clock):
    async with running(tmp_path, drop, talk_both) as run:
        for _ in range(4):
            async with await open_tunnel(run) as http:
                await http.aclose()
        with trio.fail_after(5):
            while run.states != "eu":
                async with await open_tunnel(run) as stream:
                    await stream.receive_some(100)
        assert run.events("upstream_ejected")[0]["reason"] == "tunnel"


async def open_tunnel(run):
    return (await open_websocket(run.address)).http.stream


async def test_tunnels_that_end_properly_do_not_count(tmp_path, autojump_clock):
    async with running(tmp_path, talk_both, talk_both, passive=PassiveConfig(max_failures=1)) as run:
        for _ in range(2):
            async with websocket(run.address) as tunnel:
                await tunnel.close()
            async with websocket(run.address) as tunnel:  # the client vanishes
                await tunnel.echo(b"hello")
            async with websocket(run.address) as tunnel:
                await tunnel.send(CLOSE, close_payload(1000))
        await wait_all_tasks_blocked()
        assert (run.states, run.count(m.UPSTREAM_FAILURES)) == ("uu", 0)


async def test_a_kept_connection_that_the_upstream_has_closed_says_nothing(tmp_path, autojump_clock):
    async def once(http):
        await http.head()
        await http.send(reply(b"fine"))
        await trio.sleep(0.5)

    async with running(tmp_path, once, once, passive=PassiveConfig(max_failures=1)) as run:
        for _ in range(4):
            await statuses(run, 2)
            await trio.sleep(0.5)
        assert (run.states, run.count(m.UPSTREAM_FAILURES)) == ("uu", 0)


async def test_failures_are_counted_and_do_nothing_where_it_is_off(tmp_path, autojump_clock):
    async with running(tmp_path, hang_up, hang_up, passive=PassiveConfig()) as run:
        assert await statuses(run, 6) == [502] * 6
        assert (run.states, run.count(m.UPSTREAM_FAILURES)) == ("uu", 6)


@pytest.mark.parametrize(("upstreams", "states"), [(1, "u"), (2, "eu"), (3, "euu"), (4, "eeuu"), (5, "eeuuu")])
async def test_never_more_than_half_of_a_pool_is_out(tmp_path, autojump_clock, upstreams, states):
    async with running(tmp_path, *[talk_both] * upstreams) as run:
        for place in range(upstreams):
            run.blame(place, 2)
        assert run.states == states
        assert len(run.events("upstream_kept")) == states.count("u")
        for place in range(upstreams):
            run.blame(place, 2)
        assert run.states == states


async def test_an_ejected_one_gets_work_where_all_others_are_down_but_not_where_they_are_full(tmp_path, autojump_clock):
    async with running(tmp_path, talk_both, refuse) as run:
        run.blame(0, 2)
        assert await statuses(run, 2) == [503, 503]
        other = run.upstreams[1]
        other.config = attrs.evolve(other.config, max_connections=1)
        held = run.proxy.context.pools[POOL].lease()
        assert held.upstream is other
        assert await statuses(run, 2) == [503, 503]
        held.release()
        other.learn(UpstreamState.DOWN)
        assert await statuses(run, 2) == [200, 200]
        assert run.states == "ed" and run.proxy.status.ready()[0]
        run.upstreams[0].config = attrs.evolve(run.upstreams[0].config, max_connections=1)
        with run.proxy.context.pools[POOL].lease():
            assert not run.proxy.context.pools[POOL].has_eligible()


async def test_a_retry_goes_to_an_ejected_one_before_it_goes_nowhere(tmp_path, autojump_clock):
    async with running(tmp_path, talk_both, hang_up, attempts=2) as run:
        run.blame(0, 2)
        assert run.states == "eu"
        assert await statuses(run, 1) == [200]


async def test_health_and_ejection_know_nothing_of_each_other(tmp_path, autojump_clock):
    async with running(tmp_path, talk_both, talk_both) as run:
        run.blame(0, 2)
        run.upstreams[0].learn(UpstreamState.DOWN)
        assert run.states == "du"
        run.upstreams[0].learn(UpstreamState.UP)
        assert run.states == "eu"
        run.upstreams[0].learn(UpstreamState.DOWN)
        await trio.sleep(10.1)
        assert run.states == "du"
        assert run.events("upstream_returned") == [{"upstream": run.addresses[0], "state": "down"}]
        run.blame(0, 5)  # of one that is down already
        run.upstreams[0].learn(UpstreamState.UP)
        run.blame(0, 1)
        assert run.states == "uu"


async def test_it_survives_a_reload_unless_that_takes_away_its_ground(tmp_path, autojump_clock):
    async with running(tmp_path, *[talk_both] * 4) as run:
        for place in (1, 0):
            await trio.sleep(1)
            run.blame(place, 2)
        assert run.states == "eeuu"
        await run.reload()
        await run.reload(passive=PassiveConfig(max_failures=9))
        assert run.states == "eeuu"
        await run.reload(*run.addresses[:3])
        assert run.states == "euu"
        await run.reload(*run.addresses[1:])  # the ejected one is gone, and so is what was held against it
        await run.reload(*run.addresses)
        assert run.states == "uuuu"
        run.blame(0, 2)
        await run.reload(passive=PassiveConfig())
        assert run.states == "uuuu"
        await trio.sleep(30)
        assert len(run.events("upstream_returned")) == 2


async def test_what_failed_before_a_reload_brought_it_back_is_not_held_against_it(tmp_path, autojump_clock):
    async with running(tmp_path, *[talk_both] * 3) as run:
        old = run.upstreams[0]
        run.blame(0)
        await run.reload(*run.addresses[1:])
        run.proxy.context.metrics.inc(m.UPSTREAM_FAILURES, (*old.labels, "tunnel"))
        run.proxy.judge.look(old)
        await run.reload(*run.addresses)
        run.blame(0)
        assert run.states == "uuu"
        run.blame(0)
        assert run.states == "euu"


async def test_failures_after_a_reload_without_its_pool_are_nobodys(tmp_path, autojump_clock):
    async with running(tmp_path, talk_both, talk_both) as run:
        upstream = run.upstreams[0]
        other = attrs.evolve(run.config().pools[POOL], name="other")
        config = run.config()
        routes = tuple(attrs.evolve(route, pool="other") for route in config.routes)
        (await run.proxy.prepare(attrs.evolve(config, pools={"other": other}, routes=routes))).commit()
        run.proxy.judge.look(upstream)
        assert not upstream.ejected


async def test_an_operator_takes_it_back(tmp_path, autojump_clock):
    async with running(tmp_path, talk_both, talk_both) as run:
        await run.proxy.control.resume_upstream(POOL, run.addresses[0])  # which changes nothing
        run.blame(0, 2)
        answer = await run.proxy.control.resume_upstream(POOL, run.addresses[0])
        assert answer["state"] == "up" and run.states == "uu"
        run.blame(0, 2)
        await trio.sleep(10.1)  # when the first one would have ended
        assert run.states == "eu"
        await trio.sleep(10)
        assert run.states == "uu"
        assert [event["seconds"] for event in run.events("upstream_ejected")] == [10, 20]


async def test_the_status_tells_when_it_returns(tmp_path, autojump_clock):
    async with running(tmp_path, talk_both, talk_both) as run:
        run.blame(0, 2)
        await trio.sleep(4)
        first, second = run.proxy.status.status()["pools"][0]["upstreams"]
        assert (first["state"], first["health"], first["ejection"]) == ("ejected", "up", {"returns_in_seconds": 6})
        assert (second["state"], second["ejection"]) == ("up", None)
        states = {
            (labels[1], labels[2]): value
            for metric, labels, value in run.proxy.status.gauges()
            if metric is m.UPSTREAM_STATE
        }
        assert states[run.addresses[0], "ejected"] and not states[run.addresses[0], "up"]
