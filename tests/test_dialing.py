"""Getting a connection: kept ones and fresh ones, who is tried, what is counted, and that nothing leaks."""

from __future__ import annotations

import pytest
import trio
from support.certificates import authority
from support.scripted import REFUSED, answers, proxying, silent_address, socket_pair

from trioproxy import metrics as m
from trioproxy.config import UpstreamConfig
from trioproxy.dialing import Attempts, IdleConnections
from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.health import HealthState
from trioproxy.record import Record
from trioproxy.streaming import is_quiet
from trioproxy.tls.identity import Identity
from trioproxy.tls.stream import TlsStream
from trioproxy.upstreams import Lease, Upstream


def attempts(proxy, connect_timeout: float = 3.0) -> Attempts:
    return Attempts(proxy.context, proxy.pool, Record(), connect_timeout)


# Attempts


async def test_a_connection_holds_its_lease_until_it_is_closed():
    async with proxying(answers()) as proxy:
        trying = attempts(proxy)
        connection = await trying.connect()
        assert (connection.upstream, connection.upstream.active) == (proxy.upstreams[0], 1)
        assert (trying.record.upstream, trying.record.attempts) == (proxy.peers[0].address, 1)
        assert not connection.reused
        connection.close()
        connection.close()
        assert connection.upstream.active == 0
        assert proxy.counted(m.CONNECT_DURATION) == {"backend": 1}


async def test_a_kept_connection_gives_its_lease_back_and_is_used_again():
    async with proxying(answers()) as proxy:
        connection = await attempts(proxy).connect_or_reuse(proxy.idle, repeatable=True)
        connection.keep(proxy.idle)
        connection.close()
        assert (connection.upstream.active, len(proxy.idle)) == (0, 1)
        again = await attempts(proxy).connect_or_reuse(proxy.idle, repeatable=True)
        assert again.reused and again.stream is connection.stream
        assert len(proxy.idle) == 0
        again.close()


async def test_a_connection_can_be_cut_under_whoever_holds_it():
    async with proxying(answers()) as proxy:
        connection = await attempts(proxy).connect()
        assert connection.upstream.connections == {connection}
        connection.cut()
        assert connection.stream.socket.fileno() == -1
        assert (connection.upstream.active, connection.upstream.connections) == (0, set())
        connection.keep(proxy.idle)  # its holder may not have noticed
        connection.close()
        connection.cut()
        assert (connection.upstream.active, len(proxy.idle)) == (0, 0)


async def test_what_is_connected_to_only_after_the_deadline_of_a_drain_goes_elsewhere():
    async with proxying(answers(), answers()) as proxy:
        first, second = proxy.upstreams
        first.cut_at = trio.current_time()  # as if the drain had come behind the pick
        connection = await attempts(proxy).connect()
        assert connection.upstream is second
        assert (first.active, second.active) == (0, 1)
        assert proxy.counted(m.RETRIES) == {"backend connect": 1}
        assert proxy.counted(m.CONNECT_FAILURES) == {}
        connection.close()


async def test_the_lease_counts_before_the_connect():
    async with silent_address() as address, proxying(address) as proxy, trio.open_nursery() as nursery:
        nursery.start_soon(attempts(proxy).connect)
        await trio.testing.wait_all_tasks_blocked()
        assert proxy.upstreams[0].active == 1
        nursery.cancel_scope.cancel()


async def test_a_connect_that_is_not_answered_ends_after_timeouts_connect(autojump_clock):
    async with silent_address() as address, proxying(address) as proxy:
        with pytest.raises(ProxyError) as caught:
            await attempts(proxy, 3).connect()
        assert (caught.value.reason, caught.value.status, trio.current_time()) == (Reason.TIMEOUT, 503, 3)
        assert proxy.counted(m.CONNECT_FAILURES) == {f"backend {address} timeout": 1}


async def test_each_upstream_is_tried_once_at_most():
    async with proxying(REFUSED, pool={"attempts": 5}) as proxy:
        with pytest.raises(ProxyError) as caught:
            await attempts(proxy).connect()
        assert caught.value.reason is Reason.REFUSED
        assert proxy.counted(m.CONNECT_FAILURES) == {f"backend {REFUSED} refused": 1}
        assert proxy.counted(m.RETRIES) == {}


async def test_a_failed_connect_asks_for_the_name_to_be_resolved():
    async with proxying(REFUSED) as proxy:
        with pytest.raises(ProxyError):
            await attempts(proxy).connect()
        assert proxy.upstreams[0].resolve_wanted.is_set()


async def test_backups_are_tried_where_no_primary_is_left():
    backup = answers()
    async with proxying(REFUSED, backup) as proxy:
        connection = await attempts(proxy).connect()
        assert connection.upstream is proxy.upstreams[1]
        connection.close()


async def test_a_full_upstream_is_not_picked():
    async with proxying(answers(), upstream={"max_connections": 1}) as proxy:
        connection = await attempts(proxy).connect()
        with pytest.raises(ProxyError) as caught:
            await attempts(proxy).connect()
        assert (caught.value.reason, caught.value.status) == (Reason.FULL, 503)
        connection.close()
        (await attempts(proxy).connect()).close()


FAILURE = ProxyError(Source.UPSTREAM, Phase.RESPONSE, Reason.CLOSED, 502, retryable=True)


async def test_another_is_for_what_may_be_repeated_while_attempts_and_upstreams_are_left():
    final = ProxyError(Source.UPSTREAM, Phase.RESPONSE, Reason.CLOSED, 502)
    async with proxying(answers(), answers(), answers()) as proxy:
        trying = attempts(proxy)
        (await trying.connect()).close()
        assert not trying.another(final, "closed")
        assert not trying.another(FAILURE, "5xx")  # not among retry_on
        for upstream in proxy.upstreams:
            upstream.draining = True
        assert not trying.another(FAILURE, "closed")
        for upstream in proxy.upstreams:
            upstream.draining = False
        assert trying.another(FAILURE, "closed")
        (await trying.connect()).close()
        assert not trying.another(FAILURE, "closed")  # that were two attempts
        assert proxy.counted(m.RETRIES) == {"backend closed": 1}


async def test_a_forgiven_upstream_spends_no_attempt():
    async with proxying(answers(), pool={"attempts": 1}) as proxy:
        trying = attempts(proxy)
        connection = await trying.connect()
        trying.forgive(connection.upstream)
        connection.close()
        (await trying.connect()).close()
        assert trying.record.attempts == 1


@pytest.mark.parametrize("moments", range(4))
async def test_cancelled_at_any_moment_it_leaves_no_lease_and_no_descriptor(moments):
    async with proxying(answers()) as proxy, trio.open_nursery() as nursery:

        async def connect():
            (await attempts(proxy).connect()).close()

        nursery.start_soon(connect)
        for _ in range(moments):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


# Idle connections


@pytest.fixture
def upstream():
    made = Upstream("backend", UpstreamConfig(address=REFUSED), HealthState(rise=1, fall=1))
    made.observe(ok=True)
    return made


@pytest.fixture
async def pairs():
    made = [socket_pair() for _ in range(3)]
    yield made
    for ends in made:
        for end in ends:
            end.close()


def closed(stream):
    return stream.fileno() < 0


async def test_the_youngest_is_taken_first_and_each_once(upstream, pairs):
    idle = IdleConnections(seconds=4, most=32)
    for ours, _ in pairs[:2]:
        idle.put(upstream, ours)
    assert idle.take(upstream, repeatable=True) is pairs[1][0]
    assert idle.take(upstream, repeatable=True) is pairs[0][0]
    assert idle.take(upstream, repeatable=True) is None


async def test_one_that_ended_or_spoke_is_closed_and_the_next_one_taken(upstream, pairs):
    idle = IdleConnections(seconds=4, most=32)
    for ours, _ in pairs:
        idle.put(upstream, ours)
    pairs[2][1].close()
    await pairs[1][1].send_all(b"HTTP/1.1 200 OK\r\n\r\n")
    assert idle.take(upstream, repeatable=True) is pairs[0][0]
    assert closed(pairs[1][0]) and closed(pairs[2][0])


async def test_one_that_expired_is_not_taken_and_swept(upstream, pairs, autojump_clock):
    idle = IdleConnections(seconds=4, most=32)
    idle.put(upstream, pairs[0][0])
    await trio.sleep(2)
    idle.put(upstream, pairs[1][0])
    assert idle.take(upstream, repeatable=False) is pairs[1][0]
    assert idle.take(upstream, repeatable=False) is None  # older than a second
    await trio.sleep(2)
    assert idle.take(upstream, repeatable=True) is None
    assert len(idle) == 1
    idle.sweep()
    assert len(idle) == 0 and closed(pairs[0][0])


async def test_what_is_too_many_or_not_to_be_kept_is_closed(upstream, pairs):
    settings = (IdleConnections(seconds=4, most=0), IdleConnections(seconds=0, most=32))
    for idle, (stream, _) in zip(settings, pairs[:2], strict=True):
        idle.put(upstream, stream)
        assert len(idle) == 0 and closed(stream)


async def test_the_sweep_closes_what_ended_and_keeps_the_rest(upstream, pairs):
    idle = IdleConnections(seconds=4, most=32)
    for ours, _ in pairs:
        idle.put(upstream, ours)
    pairs[0][1].close()
    idle.sweep()
    assert [closed(ours) for ours, _ in pairs] == [True, False, False]
    idle.close()


async def test_the_sweep_closes_what_leads_to_an_upstream_that_is_not_up(upstream, pairs):
    idle = IdleConnections(seconds=4, most=32)
    idle.put(upstream, pairs[0][0])
    idle.sweep()
    assert len(idle) == 1
    upstream.draining = True
    idle.sweep()
    assert len(idle) == 0 and closed(pairs[0][0])


async def test_a_full_upstreams_idle_connections_stay(pairs):
    full = Upstream("backend", UpstreamConfig(address=REFUSED, max_connections=1), HealthState(rise=1, fall=1))
    full.observe(ok=True)
    idle = IdleConnections(seconds=4, most=32)
    idle.put(full, pairs[0][0])
    lease = Lease.claim(full)
    assert lease is not None
    with lease:
        assert not full.eligible
        idle.sweep()
    assert len(idle) == 1


async def test_close_closes_all(upstream, pairs):
    idle = IdleConnections(seconds=4, most=32)
    for ours, _ in pairs:
        idle.put(upstream, ours)
    idle.close()
    assert len(idle) == 0 and all(closed(ours) for ours, _ in pairs)


# With TLS


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("certificates"))


def identity(trusted, name="localhost"):
    return Identity(name, trusted.client())


async def test_a_kept_connection_with_tls_is_used_again_though_tickets_came(trusted, autojump_clock):
    async with proxying(answers(), tls=(trusted.server("localhost"), identity(trusted))) as proxy:
        connection = await attempts(proxy).connect_or_reuse(proxy.idle, repeatable=True)
        stream = connection.stream
        assert isinstance(stream, TlsStream)
        connection.keep(proxy.idle)
        await trio.lowlevel.wait_readable(stream.socket.socket)  # tickets
        proxy.idle.sweep()
        again = await attempts(proxy).connect_or_reuse(proxy.idle, repeatable=True)
        assert again.reused and again.stream is stream
        again.close()


async def test_a_kept_connection_whose_upstream_says_that_it_ends_is_not_used(trusted, autojump_clock):
    async def end(http):
        await http.stream.send_eof()

    async with proxying(end, tls=(trusted.server("localhost"), identity(trusted))) as proxy:
        connection = await attempts(proxy).connect_or_reuse(proxy.idle, repeatable=True)
        stream = connection.stream
        connection.keep(proxy.idle)
        while is_quiet(stream):
            await trio.lowlevel.wait_readable(stream.socket.socket)
        proxy.idle.sweep()
        assert closed(stream)


@pytest.mark.rule("retry")
async def test_a_failed_handshake_is_a_failed_connect(trusted, autojump_clock):
    expired, good = trusted.server("localhost", expired=True), trusted.server("localhost")
    async with proxying(answers(), answers(), tls=(good, identity(trusted))) as proxy:
        proxy.peers[0].tls = expired
        connection = await attempts(proxy).connect()
        assert connection.upstream is proxy.upstreams[1]
        assert proxy.counted(m.CONNECT_FAILURES) == {f"backend {proxy.peers[0].address} tls": 1}
        assert proxy.counted(m.UPSTREAM_FAILURES) == {f"backend {proxy.peers[0].address} connect": 1}
        assert proxy.counted(m.RETRIES) == {"backend connect": 1}
        connection.close()


@pytest.mark.parametrize("when", ["dialled", "leased", "idle"])
async def test_what_was_proven_before_a_reload_is_not_enough_behind_it(trusted, when, autojump_clock):
    other = identity(trusted)
    async with proxying(answers(), tls=(trusted.server("localhost"), identity(trusted))) as proxy:
        (upstream,) = proxy.upstreams
        if when == "dialled":
            async with trio.open_nursery() as nursery:

                async def change():
                    upstream.identity = other

                nursery.start_soon(change)
                connection = await attempts(proxy).connect_or_reuse(proxy.idle, repeatable=True)
        else:
            connection = await attempts(proxy).connect_or_reuse(proxy.idle, repeatable=True)
        if when == "leased":
            upstream.identity = other
        connection.keep(proxy.idle)
        assert len(proxy.idle) == (when == "idle")
        upstream.identity = other
        again = await attempts(proxy).connect_or_reuse(proxy.idle, repeatable=True)
        assert not again.reused
        assert again.stream is not connection.stream
        assert closed(connection.stream)
        again.close()


async def test_the_sweep_closes_what_was_proven_to_other_settings(trusted, autojump_clock):
    for before, behind in ((None, identity(trusted)), (identity(trusted), None)):
        tls = (trusted.server("localhost"), before) if before else None
        async with proxying(answers(), tls=tls) as proxy:
            connection = await attempts(proxy).connect_or_reuse(proxy.idle, repeatable=True)
            connection.keep(proxy.idle)
            proxy.idle.sweep()
            assert len(proxy.idle) == 1
            proxy.upstreams[0].identity = behind
            proxy.idle.sweep()
            assert len(proxy.idle) == 0 and closed(connection.stream)
