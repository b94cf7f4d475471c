"""A new configuration for a proxy that runs: what stays, what comes, what goes, and that half of it is never seen."""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import pytest
import trio
from support.certificates import authority
from support.frames import BINARY, CLOSE, MASK, close_payload, frame, upgrade_answer, upgrade_request, websocket
from support.http_client import ask, connection, get, get_request
from support.scripted import answers, listen
from support.serving import POOL, descriptors, make_config, talk_both, unix_upstream
from support.upstream import reply
from trio.testing import wait_all_tasks_blocked

from trioproxy import metrics as m
from trioproxy import transport
from trioproxy.client import DRAIN_GRACE
from trioproxy.config import (
    AdminConfig,
    DrainConfig,
    HealthConfig,
    LimitsConfig,
    ListenerConfig,
    ListenerTlsConfig,
    PoolConfig,
    RouteConfig,
    ServerConfig,
    TimeoutsConfig,
    UpstreamConfig,
    UpstreamTlsConfig,
    WebSocketConfig,
)
from trioproxy.logs import Log
from trioproxy.reloading import ReloadError
from trioproxy.server import serve

NOW = DrainConfig(spread=0, timeout=7)


@attrs.define(eq=False)
class Reloads:
    """A running proxy before one upstream, all on Unix sockets of one folder."""

    folder: object
    proxy: object
    upstream: str

    @property
    def address(self):
        return self.proxy.listeners[0].address

    def config(self, *upstreams, listeners=("public",), **settings):
        paths = tuple(f"unix:{self.folder / name}" for name in listeners)
        return make_config(*(upstreams or [self.upstream]), listeners=paths, **{"drain": NOW, **settings})

    async def reload(self, *upstreams, **settings):
        return (await self.proxy.prepare(self.config(*upstreams, **settings))).commit()


@asynccontextmanager
async def reloads(folder, log=None, **settings):
    async with unix_upstream(folder / "up", talk_both) as upstream:
        made = Reloads(folder, None, upstream)
        async with serve(made.config(**settings), log=log) as made.proxy:
            yield made


async def told(tunnel, code=1012):
    """Its Close frame comes, and it goes."""
    assert (await tunnel.receive()).close_code == code
    await tunnel.send(CLOSE, close_payload(code))
    assert await tunnel.http.at_end()


async def test_a_configuration_that_says_the_same_changes_nothing(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run, websocket(run.address) as tunnel:
        assert await tunnel.echo(b"before") == b"before"
        upstreams = run.proxy.context.pools[POOL].upstreams.copy()
        listeners = run.proxy.listeners.copy()
        assert await run.reload() == 0
        assert run.proxy.context.pools[POOL].upstreams == upstreams
        assert run.proxy.listeners == listeners
        assert await tunnel.echo(b"after") == b"after"


async def test_what_is_prepared_does_not_show_until_it_is_committed(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run, unix_upstream(tmp_path / "more", talk_both) as more:
        before = descriptors()
        prepared = await run.proxy.prepare(run.config(run.upstream, more, listeners=("public", "new")))
        assert len(run.proxy.context.pools[POOL].upstreams) == len(run.proxy.listeners) == 1
        prepared.abandon()
        await wait_all_tasks_blocked()
        assert descriptors() == before
        assert not (tmp_path / "new").exists()
        assert len(run.proxy.context.pools[POOL].upstreams) == len(run.proxy.listeners) == 1


async def test_a_new_listener_and_a_new_upstream_serve_at_once(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run, unix_upstream(tmp_path / "more", talk_both) as more:
        await run.reload(run.upstream, more, listeners=("public", "new"))
        async with AsyncExitStack() as stack:
            for listener in run.proxy.listeners:
                await stack.enter_async_context(websocket(listener.address))
            await wait_all_tasks_blocked()
            assert [upstream.active for upstream in run.proxy.context.pools[POOL].upstreams] == [1, 1]


async def test_a_listener_that_cannot_be_bound_refuses_the_reload(tmp_path, autojump_clock):
    (tmp_path / "taken").write_text("no socket")
    async with reloads(tmp_path) as run:
        before = descriptors()
        with pytest.raises(ReloadError, match=r"listener l1: cannot listen on unix:.*taken: Address already in use"):
            await run.reload(listeners=("public", "taken"))
        assert descriptors() == before
        assert (await get(run.address)).status == 200


async def test_what_takes_a_restart_refuses_the_reload(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run:
        before = descriptors()
        with pytest.raises(ReloadError) as caught:
            await run.reload(server=ServerConfig(workers=2), admin=AdminConfig(), listeners=("public", "new"))
        assert [problem.partition(":")[0] for problem in caught.value.problems] == ["server.workers", "admin.address"]
        assert descriptors() == before


# Tunnels that stay


def evolve_pool(config, **settings):
    return attrs.evolve(config, pools={POOL: attrs.evolve(config.pools[POOL], **settings)})


def evolve_route(config, **settings):
    return attrs.evolve(config, routes=(attrs.evolve(config.routes[0], **settings),))


def evolve_listener(config, **settings):
    return attrs.evolve(config, listeners=(attrs.evolve(config.listeners[0], **settings),))


def with_other_pool(config, address, **route):
    other = PoolConfig(name="other", upstreams=(UpstreamConfig(address=address),), health=HealthConfig(probe="none"))
    routes = (RouteConfig(**{"name": "more", "path": "/", "pool": "other", **route}),)
    return attrs.evolve(config, pools={**config.pools, "other": other}, routes=config.routes + routes)


def with_upstream(config, address, **settings):
    (upstream,) = config.pools[POOL].upstreams
    return evolve_pool(config, upstreams=(attrs.evolve(upstream, **settings), UpstreamConfig(address=address)))


HARSH = WebSocketConfig(ping_interval=0.5, ping_timeout=0.1, max_message_bytes=1, max_message_rate=0.1, max_age=1)

KEEPING = {
    "nothing": lambda config, _: config,
    "a listener's name": lambda config, _: evolve_listener(config, name="other"),
    "whom a listener trusts": lambda config, _: evolve_listener(config, trusted_proxies=("::/0",)),
    "another listener": lambda config, more: attrs.evolve(
        config, listeners=(ListenerConfig(address=f"{more}-in"), *config.listeners)
    ),
    "a route's name": lambda config, _: evolve_route(config, name="other"),
    "a route's listeners": lambda config, _: evolve_route(config, listeners=(config.listeners[0].name,)),
    "how a route is matched": lambda config, _: evolve_route(config, exact=True),
    "what a route adds": lambda config, _: evolve_route(
        config, set_headers={"X-New": "1"}, allowed_origins=("null",), host_header="upstream", forwarded=False
    ),
    "a route that would win": lambda config, more: with_other_pool(config, more, host=("a.test",)),
    "timeouts": lambda config, _: evolve_route(config, timeouts=TimeoutsConfig(tunnel_idle=1, close=0.1, head=0.1)),
    "limits of tunnels": lambda config, _: evolve_route(config, websocket=HARSH),
    "limits": lambda config, _: attrs.evolve(
        config, limits=LimitsConfig(max_connections=1, max_head_bytes=1024, max_headers=1)
    ),
    "an upstream's weight": lambda config, more: with_upstream(config, more, weight=9, max_connections=1, backup=True),
    "the order of upstreams": lambda config, more: evolve_pool(
        config, upstreams=(UpstreamConfig(address=more), *config.pools[POOL].upstreams)
    ),
    "how a pool balances": lambda config, _: evolve_pool(config, balance="least-connections", attempts=1, keep_alive=0),
    "health checks": lambda config, _: evolve_pool(config, health=HealthConfig(probe="tcp", rise=9, fall=9)),
    "health checks that fail": lambda config, _: evolve_pool(config, health=HealthConfig(probe="http", expect=(500,))),
    "the drain": lambda config, _: attrs.evolve(config, server=ServerConfig(drain=DrainConfig(timeout=1, lame_duck=1))),
}


@pytest.mark.parametrize("change", KEEPING)
async def test_a_tunnel_stays_and_loses_nothing_whatever_else_changes(tmp_path, autojump_clock, nursery, change):
    async with reloads(tmp_path) as run, unix_upstream(tmp_path / "more", talk_both) as more:
        async with websocket(run.address) as tunnel:
            assert await tunnel.echo(b"before") == b"before"
            halves = frame(BINARY, b"in two pieces", mask=MASK)
            await tunnel.http.send(halves[:10])
            prepared = await run.proxy.prepare(KEEPING[change](run.config(), more))
            assert prepared.commit() == 0
            await tunnel.http.send(halves[10:])
            assert (await tunnel.receive()).payload == b"in two pieces"
            await trio.sleep(30)  # a shorter idle time, pings, a drain's timeout: none of it is this tunnel's
            assert await tunnel.echo(b"after") == b"after"
            await tunnel.close()
        await run.proxy.context.no_connections()
        metrics = run.proxy.context.metrics
        assert metrics.total(m.CLOSES, by="client", code="1000") == metrics.total(m.CLOSES) == 1
        assert metrics.total(m.TUNNELS_ACTIVE) == metrics.total(m.CONNECTIONS_ACTIVE) == 0


async def test_a_longer_idle_time_is_given_to_open_tunnels_and_a_shorter_one_to_new_ones(tmp_path, autojump_clock):
    def with_idle(config, seconds):
        return evolve_route(config, timeouts=TimeoutsConfig(tunnel_idle=seconds))

    async with reloads(tmp_path) as run, websocket(run.address) as tunnel:
        for seconds in (7200, 10):
            (await run.proxy.prepare(with_idle(run.config(), seconds))).commit()
        async with websocket(run.address) as new:
            start = trio.current_time()
            assert (await new.receive()).close_code == 1001
            assert 10 <= trio.current_time() - start <= 12
            assert (await tunnel.receive()).close_code == 1001
            assert 7200 <= trio.current_time() - start <= 7202


# Tunnels that have lost their way


BREAKING = {
    "its listener": lambda config, more: evolve_listener(config, address=f"{more}-in"),
    "its route": lambda config, _: evolve_route(config, path="/other"),
    "its route's host": lambda config, _: evolve_route(config, host=("b.test",)),
    "its route on its listener": lambda config, more: attrs.evolve(
        evolve_route(config, listeners=("more",)),
        listeners=(*config.listeners, ListenerConfig(name="more", address=f"{more}-in")),
    ),
    "its pool": lambda config, _: attrs.evolve(
        evolve_route(config, pool="other"), pools={"other": attrs.evolve(config.pools[POOL], name="other")}
    ),
    "the way to its pool": lambda config, more: evolve_route(with_other_pool(config, more), pool="other"),
    "its upstream": lambda config, more: evolve_pool(config, upstreams=(UpstreamConfig(address=more),)),
}


@pytest.mark.parametrize("lost", BREAKING)
@pytest.mark.rule("close-codes")
async def test_a_tunnel_that_has_lost_its_way_is_told_to_come_back(tmp_path, autojump_clock, lost):
    async with reloads(tmp_path) as run, unix_upstream(tmp_path / "more", talk_both) as more:
        async with websocket(run.address) as tunnel:
            assert await tunnel.echo(b"before") == b"before"
            assert (await run.proxy.prepare(BREAKING[lost](run.config(), more))).commit() == 1
            await told(tunnel)
        await run.proxy.context.no_connections()
        metrics = run.proxy.context.metrics
        assert metrics.total(m.CLOSES, by="proxy", code="1012") == metrics.total(m.CLOSES) == 1
        assert metrics.total(m.ENDINGS, by="proxy", reason="removed") == 1
        assert metrics.total(m.TUNNELS_ACTIVE) == metrics.total(m.CONNECTIONS_ACTIVE) == 0


async def test_they_are_told_over_time_and_never_those_that_stay(tmp_path, autojump_clock):
    spread, count, moments = 10.0, 20, []

    async def client(tunnel):
        await told(tunnel)
        moments.append(trio.current_time() - start)

    drain = DrainConfig(spread=spread)
    async with AsyncExitStack() as stack:
        run = await stack.enter_async_context(reloads(tmp_path, drain=drain))
        more = await stack.enter_async_context(unix_upstream(tmp_path / "more", talk_both))
        await run.reload(run.upstream, more, drain=drain)
        tunnels = [await stack.enter_async_context(websocket(run.address)) for _ in range(2 * count)]
        await wait_all_tasks_blocked()
        start = trio.current_time()
        assert await run.reload(drain=drain) == count
        async with trio.open_nursery() as clients:
            for tunnel in tunnels[1::2]:
                clients.start_soon(client, tunnel)
        for tunnel in tunnels[::2]:
            assert await tunnel.echo(b"still here") == b"still here"
    assert [int(moment * count / spread) for moment in sorted(moments)] == list(range(count))


async def test_a_tunnel_that_does_not_answer_is_cut_at_the_deadline(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run, unix_upstream(tmp_path / "more", talk_both) as more:
        (await run.proxy.prepare(evolve_route(run.config(), timeouts=TimeoutsConfig(close=100)))).commit()
        async with websocket(run.address) as tunnel:
            await wait_all_tasks_blocked()
            start = trio.current_time()
            await run.reload(more)
            await run.proxy.context.no_connections()
            assert trio.current_time() - start == pytest.approx(NOW.timeout)
            assert (await tunnel.receive()).close_code == 1012


async def test_a_drain_takes_over_from_the_deadline_of_a_reload(tmp_path, autojump_clock, nursery):
    async with reloads(tmp_path) as run, unix_upstream(tmp_path / "more", talk_both) as more:
        config = evolve_route(run.config(), timeouts=TimeoutsConfig(close=100))
        (await run.proxy.prepare(config)).commit()
        async with websocket(run.address) as tunnel:
            await wait_all_tasks_blocked()
            drain = DrainConfig(spread=0, timeout=20)
            await run.reload(more, drain=drain)
            await trio.sleep(19)
            start = trio.current_time()
            await run.proxy.drain()
            assert trio.current_time() - start == pytest.approx(20)
            assert (await tunnel.receive()).close_code == 1012


async def test_a_tunnel_whose_way_went_while_it_was_opened_is_told_at_once(tmp_path, autojump_clock):
    asked, go_on = trio.Event(), trio.Event()

    async def slow(http):
        head = await http.head()
        asked.set()
        await go_on.wait()
        await http.send(upgrade_answer(head))
        await trio.sleep_forever()

    async with reloads(tmp_path) as run, unix_upstream(tmp_path / "slow", slow) as upstream:
        await run.reload(upstream)
        async with connection(run.address) as http:
            await http.send(upgrade_request())
            await asked.wait()
            assert await run.reload() == 0
            go_on.set()
            assert (await http.head()).start.startswith(b"HTTP/1.1 101 ")
            assert await http.take(4) == b"\x88\x02\x03\xf4"  # 1012


# Listeners


async def test_a_removed_listener_serves_what_is_queued_and_is_gone(tmp_path, autojump_clock):
    async with reloads(tmp_path, listeners=("public", "old")) as run:
        address = run.proxy.listeners[1].address
        async with connection(address) as idle, connection(address) as used:
            await used.send(get_request())
            await used.answer()
            await wait_all_tasks_blocked()
            async with connection(address) as queued:
                start = trio.current_time()
                await run.reload()
                await queued.send(get_request())
                assert (await queued.answer()).get(b"connection") == b"close"
            assert await idle.at_end() and await used.at_end()
            assert trio.current_time() - start <= DRAIN_GRACE
        assert not (tmp_path / "old").exists()
        assert (await get(run.address)).status == 200
        assert run.proxy.context.metrics.total(m.ENDINGS, reason="draining") == 2


async def test_a_request_under_way_on_a_removed_listener_is_the_last(tmp_path, autojump_clock):
    asked, go_on = trio.Event(), trio.Event()

    async def slow(http):
        await http.head()
        asked.set()
        await go_on.wait()
        await http.send(reply(b"late"))

    async with (
        reloads(tmp_path, listeners=("public", "old")) as run,
        unix_upstream(tmp_path / "slow", slow) as upstream,
    ):
        await run.reload(upstream, listeners=("public", "old"))
        async with connection(run.proxy.listeners[1].address) as http:
            await http.send(get_request())
            await asked.wait()
            await run.reload()
            go_on.set()
            answer = await http.answer()
            assert answer.body == b"late" and answer.get(b"connection") == b"close"
            assert await http.at_end()
        await wait_all_tasks_blocked()
        assert not run.proxy.context.idle[POOL]  # the upstream's connection was not kept: its upstream is gone


async def test_a_renamed_listener_keeps_its_clients_and_leads_them_by_its_new_name(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run, connection(run.address) as http:
        await http.send(get_request())
        assert (await http.answer()).status == 200
        config = evolve_route(evolve_listener(run.config(), name="new"), listeners=("new",))
        (await run.proxy.prepare(config)).commit()
        await http.send(get_request())
        assert (await http.answer()).status == 200
        metrics = run.proxy.context.metrics
        active = [metrics.value(m.CONNECTIONS_ACTIVE, (name,)) for name in ("l0", "new")]
        assert active == [0, 1]
        await http.stream.aclose()
        await run.proxy.context.no_connections()
        assert metrics.value(m.CONNECTIONS_ACTIVE, ("new",)) == metrics.value(m.CONNECTIONS_ACTIVE, ("l0",)) == 0


async def test_listeners_stand_in_the_order_of_the_file(tmp_path, autojump_clock):
    async with reloads(tmp_path, listeners=("a", "b")) as run:
        kept = run.proxy.listeners[1]
        await run.reload(listeners=("c", "b", "d"))
        assert [listener.config.address[-1] for listener in run.proxy.listeners] == ["c", "b", "d"]
        assert run.proxy.listeners[1] is kept
        listed = [each["address"] for each in run.proxy.status.status()["listeners"]]
        assert listed == [listener.address for listener in run.proxy.listeners]


async def test_all_listeners_can_go_as_long_as_others_come(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run:
        for name in ("one", "two", "three"):
            await run.reload(listeners=(name,))
            assert (await get(run.address)).status == 200
        await run.proxy.drain()
        assert not any((tmp_path / name).exists() for name in ("public", "one", "two", "three"))


async def test_what_was_removed_at_once_after_it_came_is_closed(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run:
        first = await run.proxy.prepare(run.config(listeners=("public", "new")))
        first.commit()
        path = run.proxy.listeners[1].address
        async with connection(path) as queued:
            await run.reload()
            await queued.send(get_request())
            assert (await queued.answer()).status == 200
        assert not (tmp_path / "new").exists()


async def test_a_port_that_a_listener_of_our_own_has_is_said_to_be_that():
    async with serve(make_config(listeners=("0.0.0.0:0",))) as proxy:
        port = proxy.listeners[0].address.rpartition(":")[2]
        with pytest.raises(ReloadError, match=rf"\(this proxy itself listens on 0.0.0.0:{port}: from there to here"):
            await proxy.prepare(make_config(listeners=(f"127.0.0.1:{port}",)))


async def test_sockets_that_are_passed_in_are_used_for_new_listeners_and_closed_otherwise():
    async with serve(make_config()) as proxy:
        before = descriptors()
        config = make_config(listeners=("127.0.0.1:0", "127.0.0.1:1"))
        (await proxy.prepare(config, {"l1": transport.bind("127.0.0.1:0", inherited={})})).abandon()
        assert descriptors() == before
        sockets = {"l1": transport.bind("127.0.0.1:0", inherited={})}
        (await proxy.prepare(config, sockets)).commit()
        assert proxy.listeners[1].sock is sockets["l1"][0]
        assert (await get(proxy.listeners[1].address)).status in {200, 502, 503}
        refused = {"x": transport.bind("127.0.0.1:0", inherited={})}
        with pytest.raises(ReloadError):
            await proxy.prepare(make_config(server=ServerConfig(workers=3)), refused)
        assert refused["x"][0].fileno() == -1


async def test_sockets_of_socket_activation_come_when_they_are_wanted_and_go_for_good():
    inherited = {"web": transport.bind("127.0.0.1:0", inherited={})}
    address = transport.format_address(inherited["web"][0])
    async with serve(make_config(), inherited=inherited) as proxy:
        (await proxy.prepare(make_config(listeners=("127.0.0.1:0", "fd:web")))).commit()
        assert proxy.listeners[1].address == address
        (await proxy.prepare(make_config())).commit()
        await wait_all_tasks_blocked()
        with pytest.raises(ReloadError, match="fd:web: no socket of that name"):
            await proxy.prepare(make_config(listeners=("127.0.0.1:0", "fd:web")))


# Upstreams


async def test_an_upstream_that_stays_keeps_its_health_its_drain_and_its_counters(tmp_path, autojump_clock):
    health = HealthConfig(probe="tcp", interval=60, fall=2)
    async with reloads(tmp_path, health=health) as run:
        (upstream,) = run.proxy.context.pools[POOL].upstreams
        run.proxy.drains.begin(upstream, spread=0, timeout=5)
        upstream.observe(ok=False)  # one more, and it is down
        probe = upstream.last_probe
        changed = evolve_pool(run.config(health=health), upstreams=(UpstreamConfig(address=run.upstream, weight=5),))
        (await run.proxy.prepare(changed)).commit()
        assert run.proxy.context.pools[POOL].upstreams == [upstream]
        assert upstream.state == "draining" and upstream.weight == 5 and upstream.last_probe is probe
        upstream.observe(ok=False)
        assert upstream.health.state == "down"


async def test_new_thresholds_are_those_of_the_next_observation(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run:
        (upstream,) = run.proxy.context.pools[POOL].upstreams
        await run.reload(health=HealthConfig(probe="none", rise=1, fall=1))
        assert upstream.observe(ok=False) == "down"
        assert upstream.observe(ok=True) == "up"


async def test_a_change_of_the_checks_is_followed_by_a_probe_of_the_new_kind(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run:
        (upstream,) = run.proxy.context.pools[POOL].upstreams
        metrics = run.proxy.context.metrics
        assert upstream.last_probe is None
        await run.reload(health=HealthConfig(probe="http", interval=1000))
        await wait_all_tasks_blocked()
        assert metrics.total(m.PROBES, result="ok") == 1
        await run.reload(health=HealthConfig(probe="http", interval=1000))  # the same: no probe
        await wait_all_tasks_blocked()
        assert metrics.total(m.PROBES, result="ok") == 1
        await run.reload(health=HealthConfig(probe="http", interval=1000, expect=(500,), fall=1))
        await wait_all_tasks_blocked()
        assert upstream.health.state == "down"
        await run.reload(health=HealthConfig(probe="none"))
        await wait_all_tasks_blocked()
        assert upstream.health.state == "up"
        await trio.sleep(10_000)
        assert metrics.total(m.PROBES) == 2


async def test_a_pool_of_new_upstreams_has_work_for_them_at_once(tmp_path, autojump_clock):
    health = HealthConfig(probe="http")
    async with reloads(tmp_path, health=health) as run, unix_upstream(tmp_path / "more", talk_both) as more:
        await run.reload(more, health=health)
        assert run.proxy.context.pools[POOL].ready
        assert (await get(run.address)).status == 200


async def test_a_new_upstream_that_is_down_gets_no_work_and_keeps_nobody_waiting(tmp_path, autojump_clock):
    async def silent(http):
        await http.rest()

    health = HealthConfig(probe="http", timeout=2)
    async with reloads(tmp_path, health=health) as run, unix_upstream(tmp_path / "silent", silent) as down:
        start = trio.current_time()
        await run.reload(run.upstream, down, health=health)
        assert trio.current_time() - start == pytest.approx(2)
        assert [one.state for one in run.proxy.context.pools[POOL].upstreams] == ["up", "down"]
        for _ in range(4):
            assert (await get(run.address)).status == 200


async def test_a_removed_upstream_is_probed_no_more_and_its_gauges_are_gone(tmp_path, autojump_clock):
    health = HealthConfig(probe="tcp", interval=1)
    async with reloads(tmp_path, health=health) as run, unix_upstream(tmp_path / "more", talk_both) as more:
        metrics = run.proxy.context.metrics
        await run.reload(run.upstream, more, health=health)
        await run.reload(health=health)
        probes = metrics.total(m.PROBES, upstream=more)
        assert probes == 1
        await trio.sleep(100)
        assert metrics.total(m.PROBES, upstream=more) == probes
        shown = {sample.labels for sample in metrics.samples() if sample.metric is m.UPSTREAM_UP}
        assert shown == {(POOL, run.upstream)}


async def test_names_are_looked_up_before_and_forgotten_with_their_upstream(tmp_path, autojump_clock, monkeypatch):
    asked = []

    class Names(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host, port, *_):
            asked.append(host)
            return [(2, 1, 6, "", ("127.0.0.1", port))]

        async def getnameinfo(self, *_):
            raise NotImplementedError

    before = trio.socket.set_custom_hostname_resolver(Names())
    try:
        async with reloads(tmp_path) as run:
            prepared = await run.proxy.prepare(run.config(run.upstream, "chat.internal:3000"))
            assert len(asked) == 1
            prepared.commit()
            assert run.proxy.context.pools[POOL].upstreams[1].addresses == ((2, ("127.0.0.1", 3000)),)
            await run.reload()
            await trio.sleep(100)
            assert len(asked) == 1
    finally:
        trio.socket.set_custom_hostname_resolver(before)


async def test_an_upstream_that_comes_back_has_the_leases_that_it_still_has(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run, unix_upstream(tmp_path / "more", talk_both) as more:
        async with websocket(run.address) as tunnel:
            await wait_all_tasks_blocked()
            await run.reload(more)
            await run.reload()
            assert run.proxy.context.pools[POOL].upstreams[0].active == 1
            await told(tunnel)
        await run.proxy.context.no_connections()
        assert run.proxy.context.pools[POOL].upstreams[0].active == 0


async def test_idle_connections_of_what_is_gone_are_closed(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run, unix_upstream(tmp_path / "more", talk_both) as more:
        await get(run.address)
        await wait_all_tasks_blocked()
        assert len(run.proxy.context.idle[POOL]) == 1
        await run.reload(more)
        assert len(run.proxy.context.idle[POOL]) == 0
        await get(run.address)
        await wait_all_tasks_blocked()
        idle = run.proxy.context.idle[POOL]
        assert len(idle) == 1
        config = BREAKING["its pool"](run.config(), more)
        (await run.proxy.prepare(config)).commit()
        assert len(idle) == 0
        assert list(run.proxy.context.idle) == ["other"]


# Other settings


async def test_fewer_connections_are_for_new_clients(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run, connection(run.address) as first, connection(run.address) as second:
        for http in (first, second):
            await http.send(get_request())
            await http.answer()
        await run.reload(max_connections=1)
        assert (await get(run.address)).status == 503
        for http in (first, second):
            await http.send(get_request())
            assert (await http.answer()).status == 200


async def test_the_token_is_read_again(tmp_path):
    token = tmp_path / "token"
    token.write_text("first")
    config = make_config(admin=AdminConfig(address="127.0.0.1:0", token_file=str(token)))

    async def status(proxy, value):
        request = get_request("/api/status", f"Authorization: Bearer {value}", host=proxy.admin_address)
        return (await ask(proxy.admin_address, request)).status

    async with serve(config) as proxy:
        assert await status(proxy, "first") == 200
        token.write_text("second")
        (await proxy.prepare(config)).commit()
        assert [await status(proxy, value) for value in ("first", "second")] == [401, 200]
        token.unlink()
        with pytest.raises(ReloadError, match=r"admin.token_file: cannot be used: .*No such file"):
            await proxy.prepare(config)
        assert await status(proxy, "second") == 200
        (await proxy.prepare(attrs.evolve(config, admin=AdminConfig(address="127.0.0.1:0")))).commit()
        assert await status(proxy, "any") == 200


async def test_certificates_are_read_again_and_a_bad_file_refuses_the_reload(tmp_path):
    trusted = authority(tmp_path / "ca")
    files = trusted.issue("first.test")
    key = trio.Path(files.key)
    settings = ListenerTlsConfig(certificate=files.certificate, key=files.key)
    config = make_config()
    config = attrs.evolve(config, listeners=(attrs.evolve(config.listeners[0], tls=settings),))

    log = Log.memory()
    async with serve(config, log=log) as proxy:
        log.events.clear()
        first = proxy.context.certificates.server(settings)
        (await proxy.prepare(config)).commit()
        second = proxy.context.certificates.server(settings)
        assert second is not first
        await key.unlink()
        with pytest.raises(ReloadError, match=r"listeners\[0\]\.tls: .*: a private key cannot be read: No such file"):
            await proxy.prepare(config)
        assert proxy.context.certificates.server(settings) is second
        assert log.events == []
        past = trusted.issue("late.test", expired=True)
        tls = ListenerTlsConfig(certificate=past.certificate, key=past.key)
        config = attrs.evolve(config, listeners=(attrs.evolve(config.listeners[0], tls=tls),))
        (await proxy.prepare(config)).commit()
        assert [said["event"] for said in log.events if said["level"] == "warning"] == ["certificate_expired"]


@asynccontextmanager
async def tls_upstream(context):
    """Answers over TLS; behind the block it is known what handshakes failed."""
    peer = listen("", 0, tcp=True, tls=context)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.serve, answers())
        yield peer
        nursery.cancel_scope.cancel()
    peer.close()


def with_tls(config, **settings):
    pool = attrs.evolve(config.pools[POOL], tls=UpstreamTlsConfig(**settings))
    return attrs.evolve(config, pools={POOL: pool})


async def test_upstreams_prove_to_new_settings_what_they_have_proven_to_the_old(tmp_path):
    one, other = authority(tmp_path / "one"), authority(tmp_path / "other")
    async with tls_upstream(one.server("127.0.0.1")) as peer:
        plain = make_config(peer.address)
        async with serve(with_tls(plain, ca=one.file)) as proxy:
            idle = proxy.context.idle[POOL]
            for _ in range(2):
                assert (await get(proxy.listeners[0].address)).status == 200
            assert (peer.accepted, len(idle)) == (1, 1)
            # Read again, though nothing changed: it may have been revoked.
            (await proxy.prepare(with_tls(plain, ca=one.file))).commit()
            assert (await get(proxy.listeners[0].address)).status == 200
            assert (peer.accepted, len(idle)) == (2, 1)
            (await proxy.prepare(with_tls(plain, ca=other.file))).commit()
            assert (await get(proxy.listeners[0].address)).status == 503
            (await proxy.prepare(with_tls(plain, ca=one.file, server_name="chat.internal"))).commit()
            assert (await get(proxy.listeners[0].address)).status == 503
            (await proxy.prepare(with_tls(plain, ca=one.file))).commit()
            assert (await get(proxy.listeners[0].address)).status == 200
            peer.tls = None
            (await proxy.prepare(plain)).commit()
            assert (await get(proxy.listeners[0].address)).status == 200
            assert len(idle) == 1


async def test_a_renewed_authority_is_believed_behind_a_reload_and_a_bad_file_refuses_it(tmp_path):
    old, new = authority(tmp_path / "old"), authority(tmp_path / "new")
    file = trio.Path(tmp_path / "ca.pem")
    await file.write_bytes(await trio.Path(old.file).read_bytes())
    async with tls_upstream(new.server("127.0.0.1")) as peer:
        config = with_tls(make_config(peer.address), ca=str(file))
        async with serve(config) as proxy:
            assert (await get(proxy.listeners[0].address)).status == 503
            await file.write_bytes(b"half of a renewal")
            with pytest.raises(ReloadError, match=r"pools\.backend\.tls: .*ca\.pem: expected certificates in PEM form"):
                await proxy.prepare(config)
            assert (await get(proxy.listeners[0].address)).status == 503
            await file.write_bytes(await trio.Path(new.file).read_bytes())
            (await proxy.prepare(config)).commit()
            assert (await get(proxy.listeners[0].address)).status == 200


async def test_a_new_upstream_is_probed_with_the_tls_that_it_will_have(tmp_path):
    trusted = authority(tmp_path)
    health = HealthConfig(probe="http", timeout=5, interval=60)
    async with tls_upstream(trusted.server("127.0.0.1")) as peer, serve(make_config(health=health)) as proxy:
        (await proxy.prepare(with_tls(make_config(peer.address, health=health), ca=trusted.file))).commit()
        assert (await get(proxy.listeners[0].address)).status == 200


async def test_a_drain_that_began_meanwhile_wins(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run:
        prepared = await run.proxy.prepare(run.config(listeners=("public", "new")))
        await run.proxy.drain()
        assert prepared.commit() == 0
        assert not (tmp_path / "new").exists()


async def test_the_next_drain_is_as_the_new_configuration_says(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run, websocket(run.address) as tunnel:
        await wait_all_tasks_blocked()
        await run.reload(drain=DrainConfig(spread=0, code=1012, timeout=3))
        await run.proxy.drain()
        assert (await tunnel.receive()).close_code == 1012


# Nothing stays behind


async def test_a_hundred_reloads_leave_nothing_behind(tmp_path, autojump_clock):
    """Of both kinds, those that come into force and those that do not, with everything in them that can come and go."""

    async def round_of_reloads(run, more):
        other = with_other_pool(run.config(health=HealthConfig(probe="tcp")), more, path="/more")
        other = attrs.evolve(
            other, listeners=(*other.listeners, ListenerConfig(name="new", address=f"unix:{tmp_path / 'new'}"))
        )
        (await run.proxy.prepare(other)).abandon()
        (await run.proxy.prepare(other)).commit()
        await run.reload()

    def counted(run):
        gc.collect()
        statistics = trio.lowlevel.current_statistics()
        return len(gc.get_objects()), statistics.tasks_living, run.proxy.context.metrics.board.layout.used

    async with AsyncExitStack() as stack:
        run = await stack.enter_async_context(reloads(tmp_path))
        more = await stack.enter_async_context(unix_upstream(tmp_path / "more", talk_both))
        tunnel = await stack.enter_async_context(websocket(run.address))
        for _ in range(3):
            await round_of_reloads(run, more)
        await trio.sleep(100)
        objects, *others = counted(run)  # which also ends what an earlier test has left to the collector
        open_before = descriptors()
        for _ in range(100):
            await round_of_reloads(run, more)
        await trio.sleep(100)
        assert counted(run)[1:] == tuple(others)
        assert descriptors() == open_before
        assert counted(run)[0] - objects < 100  # one an iteration would be 100
        assert await tunnel.echo(b"still here") == b"still here"
