"""The whole proxy inside one Trio run: how it starts, how it ends at once, how it drains."""

from __future__ import annotations

import json
import resource
import socket
from contextlib import AsyncExitStack, ExitStack, suppress
from functools import partial

import pytest
import trio
from support.frames import BINARY, CLOSE, close_payload, upgrade_answer, websocket
from support.http_client import connection, get, get_request
from support.ports import free_address
from support.serving import POOL, descriptors, make_config, serving_unix, unix_upstream
from support.upstream import http_upstream, reply, scripted_upstream, serve_websocket
from trio.testing import wait_all_tasks_blocked

from trioproxy import metrics as m
from trioproxy import server, transport
from trioproxy.config import (
    AdminConfig,
    DrainConfig,
    HealthConfig,
    RouteConfig,
    TimeoutsConfig,
)
from trioproxy.errors import Reason
from trioproxy.logs import Log
from trioproxy.relay.streams import StreamsRelay
from trioproxy.server import DESCRIPTORS_PER_CONNECTION, RESERVED_DESCRIPTORS, serve
from trioproxy.transport import ListenError

ADMIN = AdminConfig(address="127.0.0.1:0")


async def run_until_cancelled(config, log=None, inherited=None):
    async with serve(config, log=log, inherited=inherited):
        await trio.sleep_forever()


# Starting


async def test_the_body_begins_when_the_proxy_accepts():
    async with http_upstream(lambda _head, _body: reply(b"fine")) as upstream:
        config = make_config(upstream.address, health=HealthConfig(probe="tcp"), admin=ADMIN)
        async with serve(config) as proxy:
            assert upstream.accepted == 1  # the probe
            assert (await get(proxy.listeners[0].address)).body == b"fine"
            assert (await get(proxy.admin_address, "/readyz")).status == 200


async def test_clients_wait_in_the_queue_while_the_first_probe_round_runs():
    probed, go_on = trio.Event(), trio.Event()

    async def answer(_head, _body):
        probed.set()
        await go_on.wait()
        return reply(b"fine")

    log = Log.memory()
    health = HealthConfig(probe="http", timeout=60, interval=60)
    with socket.create_server(("127.0.0.1", 0)) as passed:
        address = transport.format_address(passed)
        async with http_upstream(answer) as upstream, trio.open_nursery() as nursery:
            config = make_config(upstream.address, listeners=("fd:web",), health=health, admin=ADMIN)
            nursery.start_soon(run_until_cancelled, config, log, {"web": [passed]})
            await probed.wait()
            (admin,) = (event["address"] for event in log.events if event["event"] == "listening")
            assert (await get(admin, "/healthz")).status == 200
            unready = await get(admin, "/readyz")
            assert unready.status == 503 and b'"starting"' in unready.body
            async with connection(address) as http:
                await http.send(get_request())
                go_on.set()
                assert (await http.answer()).body == b"fine"
            assert (await get(admin, "/readyz")).status == 200
            nursery.cancel_scope.cancel()


async def test_an_upstream_that_fails_its_first_probe_gets_nothing():
    config = make_config("127.0.0.1:1", health=HealthConfig(probe="tcp"))
    async with serve(config) as proxy:
        answer = await get(proxy.listeners[0].address)
        assert answer.status == 503 and answer.get(b"retry-after") == b"1"
        assert not proxy.status.ready()[0]


async def test_a_listener_that_cannot_be_bound_is_named_and_nothing_stays_bound():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = transport.format_address(taken)
        before = descriptors()
        with pytest.raises(ListenError) as caught:
            async with serve(make_config(listeners=("127.0.0.1:0", address))):
                pytest.fail("the body must not begin")
        assert str(caught.value) == f"listener l1: cannot listen on {address}: Address already in use"
        with pytest.raises(ListenError, match=r"^listener admin: cannot listen on .*: Address already in use$"):
            async with serve(make_config(admin=AdminConfig(address=address))):
                pytest.fail("the body must not begin")
        assert descriptors() == before


async def test_each_listener_has_routes_of_its_own(tmp_path):
    pair = ("127.0.0.1:0", f"unix:{tmp_path / 'private'}")
    routes = (
        RouteConfig(path="/", listeners=("l0",), pool=POOL),
        RouteConfig(path="/inside", listeners=("l1",), pool=POOL),
    )
    async with (
        http_upstream(lambda _head, _body: reply(b"fine")) as upstream,
        serve(make_config(upstream.address, listeners=pair, routes=routes)) as proxy,
    ):
        public, private = (listener.address for listener in proxy.listeners)
        assert private == pair[1]
        assert [(await get(public, path)).status for path in ("/", "/inside")] == [200, 200]
        assert [(await get(private, path)).status for path in ("/", "/inside")] == [404, 200]
        assert proxy.context.metrics.value(m.CONNECTIONS, ("l1",)) == 2


async def test_without_an_admin_address_nobody_listens_for_operators():
    log = Log.memory()
    async with serve(make_config(), log=log) as proxy:
        assert proxy.admin_address == ""
    assert [event["listener"] for event in log.events if event["event"] == "listening"] == ["l0"]


async def test_an_admin_name_with_two_addresses_answers_on_both(monkeypatch):
    two = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("127.0.0.1", "127.0.0.2")]
    log = Log.memory()
    with monkeypatch.context() as patch:
        patch.setattr(transport.socket, "getaddrinfo", lambda *_, **__: two)
        scope = serve(make_config(listeners=("127.0.0.1:0",), admin=AdminConfig(address="admin.test:0")), log=log)
        proxy = await scope.__aenter__()
    try:
        addresses = [event["address"] for event in log.events if event.get("listener") == "admin"]
        assert [address.split(":")[0] for address in addresses] == ["127.0.0.1", "127.0.0.2"]
        assert proxy.admin_address == addresses[0]
        for address in addresses:
            assert (await get(address, "/healthz")).status == 200
    finally:
        await scope.__aexit__(None, None, None)


@pytest.mark.parametrize("content", [None, b" \n"])
async def test_a_token_that_cannot_be_used_is_told_in_one_line(tmp_path, content):
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)
    config = make_config(admin=AdminConfig(address="127.0.0.1:0", token_file=str(token)))
    with pytest.raises(ListenError, match=r"^listener admin: cannot use the token: .*token"):
        async with serve(config):
            pytest.fail("the body must not begin")


def test_the_limit_of_connections_fits_the_limit_of_descriptors():
    log = Log.memory()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert server._affordable(10, log) == 10
    assert not log.events
    affordable = server._affordable(hard, log)
    assert affordable * DESCRIPTORS_PER_CONNECTION + RESERVED_DESCRIPTORS <= hard
    (event,) = log.events
    assert event["level"] == "warning" and event["event"] == "few_descriptors"
    assert (event["limit"], event["wanted"], event["max_connections"]) == (hard, hard, affordable)


# Ending at once


async def test_leaving_the_body_ends_everything_at_once_and_leaks_nothing(tmp_path, autojump_clock):
    before = descriptors()
    start = trio.current_time()
    async with AsyncExitStack() as stack:
        async with serving_unix(tmp_path, health=HealthConfig(probe="tcp")) as proxy:
            address = proxy.listeners[0].address
            tunnel = await stack.enter_async_context(websocket(address))
            assert await tunnel.echo(b"hello") == b"hello"
            idle = await stack.enter_async_context(connection(address))
            await idle.send(get_request())
            assert (await idle.answer()).body == b"fine"
            fresh = await stack.enter_async_context(connection(address))
            assert proxy.context.connections >= 2
        assert await idle.at_end()
        assert await fresh.at_end()
        assert await tunnel.http.rest() == b""
        assert proxy.context.connections == 0 and not proxy.context.tunnels
        assert sum(upstream.active for pool in proxy.context.pools.values() for upstream in pool.upstreams) == 0
        assert proxy.context.metrics.total(m.TUNNELS_ACTIVE) == 0
        assert proxy.context.metrics.total(m.CONNECTIONS_ACTIVE) == 0
    assert trio.current_time() == start
    assert descriptors() == before


async def test_with_the_admin_nothing_leaks_either():
    before = descriptors()
    async with serve(make_config(admin=ADMIN)) as proxy, connection(proxy.admin_address) as http:
        await http.send(get_request("/metrics", f"X: {proxy.admin_address}"))
        assert (await http.answer()).status == 200
    assert descriptors() == before


async def test_handed_over_sockets_end_with_the_proxy_used_or_not():
    with ExitStack() as stack:
        used, unused = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        async with serve(make_config(listeners=("fd:web",)), inherited={"web": [used], "other": [unused]}):
            assert used.fileno() >= 0
        assert used.fileno() < 0 and unused.fileno() < 0


class Oops(Exception):  # noqa: N818 - nothing else is to be said of it
    pass


@pytest.mark.parametrize(
    "error", [Oops("one"), KeyboardInterrupt("ctrl-c"), ExceptionGroup("mine", [Oops("inner")])], ids=repr
)
async def test_what_the_body_raises_comes_out_as_it_is(error):
    before = descriptors()
    with pytest.raises(type(error)) as caught:  # noqa: PT012 - a connection has to be open
        async with serve(make_config()) as proxy, connection(proxy.listeners[0].address) as http:
            await http.send(get_request())
            await http.answer()
            raise error
    assert repr(caught.value) == repr(error)  # of a group Trio makes a copy
    assert descriptors() == before


async def test_the_error_itself_passes_with_its_cause_untouched():
    cause, error = ValueError("why"), Oops("what")
    with pytest.raises(Oops) as caught:
        async with serve(make_config()):
            raise error from cause
    assert caught.value is error and error.__cause__ is cause


async def test_two_failures_at_once_stay_a_group(monkeypatch):
    async def keep_a_bad_house(*_):
        try:
            await trio.sleep_forever()
        finally:
            raise Oops("a background task")

    monkeypatch.setattr(server, "keep_house", keep_a_bad_house)
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the task has to have begun
        async with serve(make_config()):
            await wait_all_tasks_blocked()
            raise Oops("the body")
    assert {str(error) for error in caught.value.exceptions} == {"the body", "a background task"}


async def test_a_bug_in_the_background_ends_the_body_and_comes_out_as_it_is(monkeypatch):
    async def keep_no_house(*_):
        raise Oops("a background task")

    monkeypatch.setattr(server, "keep_house", keep_no_house)
    with pytest.raises(Oops, match="a background task"):
        await run_until_cancelled(make_config())


async def test_a_bug_in_a_tunnel_is_logged_with_its_traceback():
    log = Log.memory()
    try:
        raise Oops("a frame too many")
    except Oops as error:
        server.report_bug(log, error)
    (event,) = log.events
    assert event["event"] == "internal_error" and event["level"] == "error"
    assert "Traceback" in event["exception"] and "a frame too many" in event["exception"]


async def test_cancelling_the_body_is_no_error():
    with trio.CancelScope() as scope:
        async with serve(make_config()):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


# Draining


async def test_draining_an_empty_proxy_is_instant(tmp_path, autojump_clock):
    log = Log.memory()
    async with serving_unix(tmp_path, log=log) as proxy:
        start = trio.current_time()
        await proxy.drain()
        assert trio.current_time() == start
        assert not (tmp_path / "public").exists()
    assert [event["event"] for event in log.events] == ["upstream_up", "listening", "drain", "drained"]


async def test_a_lame_duck_is_not_ready_and_serves_all_the_same(tmp_path, autojump_clock, nursery):
    async with serving_unix(tmp_path, drain=DrainConfig(lame_duck=10, spread=0)) as proxy:
        address = proxy.listeners[0].address
        assert proxy.status.ready()[0]
        start = trio.current_time()
        nursery.start_soon(proxy.drain)
        await wait_all_tasks_blocked()
        ready, body = proxy.status.ready()
        assert not ready and body["state"] == "draining"
        await trio.sleep(9)
        answer = await get(address)
        assert answer.body == b"fine" and answer.get(b"connection") is None
        async with websocket(address) as tunnel:
            assert await tunnel.echo(b"hello") == b"hello"
            assert (tmp_path / "public").exists()
            assert (await tunnel.receive()).close_code == 1001
            assert trio.current_time() - start == pytest.approx(10)
            assert not (tmp_path / "public").exists()


async def test_what_is_queued_when_the_listeners_close_is_served(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy:
        await wait_all_tasks_blocked()
        path = proxy.listeners[0].sock.getsockname()
        with ExitStack() as stack:
            clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(100)]
            for client in clients:
                client.connect(path)
                client.send(get_request())
            await proxy.drain()
            for client in clients:
                assert client.recv(1000).startswith(b"HTTP/1.1 200 ")


async def test_what_is_offered_and_released_is_another_processs(tmp_path, autojump_clock):
    """No lame duck: nobody has to look elsewhere. What the other one does not take is drained as ever."""
    paths = [f"unix:{tmp_path / name}" for name in ("taken", "dropped")]
    drain = DrainConfig(lame_duck=60)
    config = make_config(listeners=(*paths, "127.0.0.1:0"), drain=drain, admin=ADMIN)
    async with serve(config) as proxy:
        offered = proxy.offered()
        assert list(offered) == paths  # a free port is nobody else's
        with offered[paths[0]][0].dup() as other:
            proxy.release([paths[0], "unix:/unknown"])
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(tmp_path / "taken"))
                await proxy.drain()
                other.accept()[0].close()
            assert trio.current_time() == 0
            assert (tmp_path / "taken").exists() and not (tmp_path / "dropped").exists()


async def test_sockets_of_the_process_before_are_used_and_operators_answered_when_ready(tmp_path):
    probed, go_on = trio.Event(), trio.Event()

    async def answer(_head, _body):
        probed.set()
        await go_on.wait()
        return reply(b"fine")

    public, admin = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    names = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in (public, admin)]
    async with http_upstream(answer) as upstream, trio.open_nursery() as nursery:
        config = make_config(
            upstream.address,
            listeners=(names[0],),
            admin=AdminConfig(address=names[1]),
            health=HealthConfig(probe="http", timeout=60, interval=60),
        )
        log = Log.memory()
        inherited = {names[0]: [public], names[1]: [admin]}
        nursery.start_soon(partial(run_until_cancelled, config, log=log, inherited=inherited))
        await probed.wait()
        assert log.events == []  # the process before answers operators
        go_on.set()
        assert (await get(names[0])).body == b"fine"
        assert (await get(names[1], "/readyz")).status == 200
        nursery.cancel_scope.cancel()


async def test_idle_client_connections_end_when_draining(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy:
        address = proxy.listeners[0].address
        async with connection(address) as used, connection(address) as fresh:
            await used.send(get_request())
            await used.answer()
            start = trio.current_time()
            await proxy.drain()
            assert trio.current_time() - start <= server.DRAIN_GRACE
            assert await used.at_end()
            assert await fresh.at_end()
        assert proxy.context.metrics.total(m.ENDINGS, reason=Reason.DRAINING) == 2


async def test_a_request_under_way_is_answered_with_connection_close(tmp_path, autojump_clock, nursery):
    asked, go_on = trio.Event(), trio.Event()

    async def slow(http):
        await http.head()
        asked.set()
        await go_on.wait()
        await http.send(reply(b"late"))

    async with unix_upstream(tmp_path / "slow", slow) as upstream:
        config = make_config(upstream, listeners=(f"unix:{tmp_path / 'public'}",))
        async with serve(config) as proxy, connection(proxy.listeners[0].address) as http:
            await http.send(get_request())
            await asked.wait()
            nursery.start_soon(proxy.drain)
            await trio.sleep(10)
            go_on.set()
            answer = await http.answer()
            assert answer.body == b"late" and answer.get(b"connection") == b"close"
            assert await http.at_end()


async def drained(proxy, count):
    """When, and with which code, each of `count` tunnels was told; its client answers and goes."""
    told = []

    async def client(tunnel):
        code = (await tunnel.receive()).close_code
        told.append((trio.current_time() - start, code))
        await tunnel.send(CLOSE, close_payload(code))
        assert await tunnel.http.at_end()
        await tunnel.http.stream.aclose()

    async with AsyncExitStack() as stack:
        tunnels = [await stack.enter_async_context(websocket(proxy.listeners[0].address)) for _ in range(count)]
        await wait_all_tasks_blocked()
        start = trio.current_time()
        async with trio.open_nursery() as clients:
            for tunnel in tunnels:
                clients.start_soon(client, tunnel)
            await proxy.drain()
    return told


async def test_tunnels_get_their_close_spread_over_time_at_random_moments(tmp_path, autojump_clock):
    count, spread = 20, 10.0
    async with serving_unix(tmp_path, drain=DrainConfig(spread=spread, code=1012)) as proxy:
        told = await drained(proxy, count)
        assert proxy.context.metrics.total(m.CLOSES, by="proxy", code="1012") == count
    assert {code for _, code in told} == {1012}
    moments = [moment for moment, _ in told]
    # One in each slice, each somewhere in it.
    assert [int(moment * count / spread) for moment in moments] == list(range(count))
    assert len({round(moment * count / spread % 1, 6) for moment in moments}) == count


async def test_a_spread_longer_than_the_deadline_still_tells_every_tunnel(tmp_path, autojump_clock):
    async with serving_unix(tmp_path, drain=DrainConfig(spread=100, timeout=10)) as proxy:
        told = await drained(proxy, 10)
    assert [code for _, code in told] == [1001] * 10
    assert max(moment for moment, _ in told) <= 5


async def test_a_drain_is_over_when_the_last_connection_is_however_long_the_spread(tmp_path, autojump_clock, nursery):
    drain = DrainConfig(spread=1e9, timeout=1e9)
    async with serving_unix(tmp_path, drain=drain) as proxy, websocket(proxy.listeners[0].address) as tunnel:
        await wait_all_tasks_blocked()  # the 101 is out before the tunnel is open
        start = trio.current_time()
        nursery.start_soon(close_later, tunnel)
        await proxy.drain()
        assert trio.current_time() - start == pytest.approx(3)


async def close_later(tunnel):
    await trio.sleep(3)
    await tunnel.close()
    await tunnel.http.stream.aclose()


async def test_the_upstream_is_told_too_when_a_tunnel_drains(tmp_path, autojump_clock, nursery):
    seen = []

    async def talk(tunnel):
        seen.append(await tunnel.receive())
        await tunnel.send(CLOSE, seen[0].payload)

    async with unix_upstream(tmp_path / "up", partial(serve_websocket, talk=talk)) as upstream:
        config = make_config(upstream, listeners=(f"unix:{tmp_path / 'public'}",), drain=DrainConfig(spread=0))
        async with serve(config) as proxy, websocket(proxy.listeners[0].address) as tunnel:
            nursery.start_soon(proxy.drain)
            assert (await tunnel.receive()).close_code == 1001
            await tunnel.send(CLOSE, close_payload(1001))
            assert await tunnel.http.at_end()
    assert [frame.close_code for frame in seen] == [1001] and seen[0].masked


async def test_a_tunnel_opened_during_the_drain_does_not_stay(tmp_path, autojump_clock, nursery):
    asked, go_on = trio.Event(), trio.Event()

    async def slow(http):
        head = await http.head()
        asked.set()
        await go_on.wait()
        await http.send(upgrade_answer(head))
        await trio.sleep_forever()

    async with unix_upstream(tmp_path / "up", slow) as upstream:
        drain = DrainConfig(spread=5, timeout=60)
        config = make_config(upstream, listeners=(f"unix:{tmp_path / 'public'}",), drain=drain)
        async with serve(config) as proxy, connection(proxy.listeners[0].address) as http:
            await http.send(get_upgrade())
            await asked.wait()
            nursery.start_soon(proxy.drain)
            await trio.sleep(3)
            go_on.set()
            assert (await http.head()).start.startswith(b"HTTP/1.1 101 ")
            start = trio.current_time()
            assert await http.take(4) == b"\x88\x02\x03\xe9"
            assert trio.current_time() == start


def get_upgrade():
    return get_request(
        "/",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {'A' * 22}==",
    )


async def test_the_deadline_ends_what_does_not_end(tmp_path, autojump_clock):
    async def never(http):
        await http.head()
        await trio.sleep_forever()

    log = Log.memory()
    async with unix_upstream(tmp_path / "up", never) as upstream:
        drain = DrainConfig(spread=1, timeout=7)
        config = make_config(upstream, listeners=(f"unix:{tmp_path / 'public'}",), drain=drain)
        async with serve(config, log=log) as proxy, connection(proxy.listeners[0].address) as http:
            await http.send(get_request())
            await wait_all_tasks_blocked()
            start = trio.current_time()
            await proxy.drain()
            assert trio.current_time() - start == pytest.approx(7)
            assert await http.at_end()
            assert proxy.context.connections == 0
    assert [event["event"] for event in log.events if event["level"] == "warning"] == ["cut"]


async def test_cancelling_a_drain_leaves_the_proxy_draining_and_cut_ends_it(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy, websocket(proxy.listeners[0].address) as tunnel:
        await wait_all_tasks_blocked()
        with trio.move_on_after(0.001):
            await proxy.drain()
        assert proxy.status.status()["state"] == "draining"
        start = trio.current_time()
        proxy.cut()
        await proxy.drain()
        assert trio.current_time() == start
        await end_of(tunnel)


async def test_a_cut_during_the_lame_duck_ends_the_drain(tmp_path, autojump_clock):
    async with serving_unix(tmp_path, drain=DrainConfig(lame_duck=10)) as proxy:
        await wait_all_tasks_blocked()
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proxy.drain)
            await trio.sleep(1)
            proxy.cut()
        assert trio.current_time() - start == pytest.approx(10)


async def end_of(tunnel):
    """However it ends."""
    with suppress(ConnectionError):
        await tunnel.http.rest()


@pytest.mark.parametrize("portable", [False, True])
async def test_the_deadline_cuts_tunnels_with_a_reset_on_both_sides(portable):
    upstream_end = trio.Event()
    ends = []

    async def stubborn(tunnel):
        try:
            await tunnel.http.rest()
            ends.append("fin")
        except ConnectionResetError:
            ends.append("reset")
        upstream_end.set()

    async with scripted_upstream(partial(serve_websocket, talk=stubborn)) as upstream:
        config = make_config(
            upstream.address, drain=DrainConfig(spread=0, timeout=0.05), timeouts=TimeoutsConfig(close=60)
        )
        async with serve(config) as proxy:
            if portable:
                proxy.context.relay = StreamsRelay()
            async with websocket(proxy.listeners[0].address) as tunnel:
                await proxy.drain()
                assert (await tunnel.receive()).close_code == 1001
                with pytest.raises(ConnectionResetError):
                    await tunnel.http.rest()
            await upstream_end.wait()
    assert ends == ["reset"]


async def test_with_an_admin_it_can_be_followed_from_second_to_second(tmp_path, autojump_clock):
    log = Log.memory()
    async with serving_unix(tmp_path, admin=ADMIN, log=log) as proxy, websocket(proxy.listeners[0].address) as tunnel:
        await tunnel.send(BINARY, b"x")
        await tunnel.receive()
        await trio.sleep(3.5)
        with proxy.control.live.read() as reader:
            history = json.loads(reader.history())
            assert [each["messages_per_second"]["to_client"] for each in history["samples"]] == [1.0, 0.0, 0.0]
            assert [each["event"] for each in history["events"]] == ["listening", "upstream_up", "listening"]
            ((name, text),) = await reader.news()
            assert (name, json.loads(text)["tunnels"]) == ("sample", 1)
        feed = proxy.control.live
        await tunnel.close()
    before = feed.events_told
    log.info("listening")  # by whoever has the log now
    assert feed.events_told == before


async def test_without_an_admin_nobody_looks(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy:
        await trio.sleep(3.5)
        assert proxy.control.live.samples_taken == 0


@pytest.mark.parametrize("admin_too", [True, False])
async def test_followers_are_let_go_with_the_admin_address(tmp_path, autojump_clock, admin_too):
    name = free_address()
    async with serving_unix(tmp_path, admin=AdminConfig(address=name)) as proxy:
        proxy.release([name] if admin_too else [f"unix:{tmp_path / 'public'}"])
        assert proxy.control.live.ended is admin_too
