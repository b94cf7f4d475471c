"""Leases, eligibility and addresses."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
import trio
from trio import socket
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from trioproxy.balancing import BALANCERS
from trioproxy.board import Board, Layout, Tally
from trioproxy.config import HealthConfig, PoolConfig, UpstreamConfig
from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.health import HealthState, UpstreamState
from trioproxy.upstreams import Pool, Upstream
from trioproxy.waits import Wait, Waits


def upstream(address: str) -> Upstream:
    return Upstream("backend", UpstreamConfig(address=address), HealthState(rise=1, fall=1))


def pool(*upstreams: UpstreamConfig | str, up: bool = True, **settings: Any) -> Pool:
    """A pool all of whose upstreams are up."""
    configs = tuple(UpstreamConfig(address=u) if isinstance(u, str) else u for u in upstreams)
    made = Pool(PoolConfig(name="backend", upstreams=configs, **settings))
    for each in made.upstreams:
        if up:
            each.health.observe(True)
    return made


def leased(made: Pool, times: int) -> str:
    """Which upstreams the next leases are on, by the first letter of their address; they stay held."""
    return "".join(made.lease().upstream.address[0] for _ in range(times))


# Upstreams


@pytest.mark.parametrize(
    ("address", "host", "port", "addresses"),
    [
        ("192.168.3.1:3000", "192.168.3.1", 3000, ((socket.AF_INET, ("192.168.3.1", 3000)),)),
        ("[::1]:80", "::1", 80, ((socket.AF_INET6, ("::1", 80, 0, 0)),)),
        ("localhost:3000", "localhost", 3000, ()),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80, ()),
    ],
)
def test_addresses_that_need_no_resolving_are_there_at_once(address, host, port, addresses):
    made = upstream(address)
    assert (made.host, made.port, made.unix) == (host, port, None)
    assert made.addresses == addresses
    assert made.named == (not addresses)


def test_a_unix_socket_is_an_upstream_too():
    made = upstream("unix:/run/chat.sock")
    assert made.unix == "/run/chat.sock"
    assert made.addresses == ((socket.AF_UNIX, "/run/chat.sock"),)
    assert not made.named


def test_an_upstream_shows_its_configuration():
    made = Upstream("backend", UpstreamConfig(address="a:1", weight=3, backup=True), HealthState(rise=1, fall=1))
    assert (made.address, made.key, made.weight, made.backup) == ("a:1", "a:1", 3, True)
    assert made.labels == ("backend", "a:1")


def test_a_drain_shows_before_health():
    made = upstream("a:1")
    assert made.state is UpstreamState.UNKNOWN
    made.health.observe(True)
    assert made.state is UpstreamState.UP
    made.draining = True
    assert made.state is UpstreamState.DRAINING
    assert not made.eligible


def test_wanting_to_be_resolved_is_seen_by_who_waits():
    made = upstream("a:1")
    made.want_resolve()
    assert made.resolve_wanted.is_set()


async def test_going_down_cancels_the_upgrades_that_wait_for_its_answer():
    made = upstream("a:1")
    wait = Wait(memory_stream_pair()[0], Waits())
    made.handshakes.add(wait)
    assert made.observe(ok=True) is UpstreamState.UP
    assert not wait.over
    assert made.observe(ok=False) is UpstreamState.DOWN
    assert wait.over


# Leases


def test_a_lease_counts_at_once_and_is_given_back_once():
    made = pool("a:1")
    lease = made.lease()
    assert lease.upstream is made.upstreams[0]
    assert lease.upstream.active == 1
    lease.release()
    lease.release()
    assert lease.upstream.active == 0


def test_a_lease_as_a_context_manager_is_given_back_when_the_block_fails():
    made = pool("a:1")
    seen = []

    def fail() -> None:
        with made.lease() as lease:
            seen.append(lease.upstream.active)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen == [1]
    assert made.upstreams[0].active == 0


def test_a_lease_whose_last_place_another_process_takes_goes_to_the_next_upstream():
    board = Board(Layout(), rows=2)
    tallies = [Tally.of(board, row, board.layout.intern("leases", ())) for row in range(2)]

    class Contended:
        """The other process claims between this one's look and its own claim."""

        total = 0

        def claim(self, most):
            tallies[1].claim(most)
            return tallies[0].claim(most)

    made = pool(UpstreamConfig(address="a:1", max_connections=1), "b:1")
    made.upstreams[0].leases = Contended()
    assert made.lease().upstream.address == "b:1"
    assert (tallies[0].own, tallies[1].own) == (0, 1)
    alone = pool(UpstreamConfig(address="a:1", max_connections=1))
    alone.upstreams[0].leases = Contended()
    with pytest.raises(ProxyError):
        alone.lease()


def test_workers_begin_with_different_upstreams():
    config = PoolConfig(name="p", upstreams=tuple(UpstreamConfig(address=f"{each}:1") for each in "abc"))
    for balance in BALANCERS:
        made = [Pool(attrs.evolve(config, balance=balance), offset=worker) for worker in range(4)]
        for each in (upstream for one in made for upstream in one.upstreams):
            each.observe(ok=True)
        assert "".join(one.lease().upstream.host for one in made) == "abca"


def test_leases_go_round_robin_by_weight():
    made = pool(UpstreamConfig(address="a:1", weight=2), "b:1")
    assert leased(made, 6) == "abaaba"


def test_open_leases_differ_by_at_most_one_with_least_connections():
    made = pool("a:1", "b:1", "c:1", balance="least-connections")
    first = made.lease()
    leased(made, 10)
    first.release()
    assert leased(made, 1) == "a"
    assert sorted(each.active for each in made.upstreams) == [3, 4, 4]


def test_only_upstreams_that_are_up_get_leases():
    made = pool("a:1", "b:1")
    made.upstreams[0].health.state = UpstreamState.DOWN
    assert leased(made, 3) == "bbb"


def test_an_upstream_that_was_tried_is_not_picked_again():
    made = pool("a:1", "b:1")
    tried = made.lease().upstream
    assert made.has_eligible(exclude=[tried])
    assert not made.has_eligible(exclude=made.upstreams)
    assert {made.lease(exclude=[tried]).upstream for _ in range(4)} == set(made.upstreams) - {tried}


def test_a_full_upstream_gets_no_more_until_a_lease_is_given_back():
    made = pool(UpstreamConfig(address="a:1", max_connections=2), "b:1")
    leases = [made.lease() for _ in range(6)]
    assert [lease.upstream.address for lease in leases] == ["a:1", "b:1", "a:1", "b:1", "b:1", "b:1"]
    leases[0].release()
    assert "a" in leased(made, 2)


def test_backups_get_work_only_while_no_primary_is_eligible():
    made = pool("a:1", UpstreamConfig(address="b:1", backup=True), UpstreamConfig(address="c:1", backup=True))
    assert leased(made, 3) == "aaa"
    made.upstreams[0].draining = True
    assert leased(made, 4) == "bcbc"
    made.upstreams[0].draining = False
    assert leased(made, 2) == "aa"
    assert made.lease(exclude=made.upstreams[:1]).upstream.backup


@pytest.mark.parametrize(
    "made", [pool("a:1", up=False), pool(UpstreamConfig(address="a:1", backup=True), up=False), pool()]
)
def test_no_eligible_upstream_is_503(made):
    assert not made.has_eligible()
    with pytest.raises(ProxyError) as raised:
        made.lease()
    error = raised.value
    assert (error.source, error.phase, error.reason, error.status) == (
        Source.PROXY,
        Phase.CONNECT,
        Reason.NO_UPSTREAM,
        503,
    )


@pytest.mark.parametrize("other", ["down", "draining", "tried"])
def test_a_full_upstream_is_another_reason_than_none(other):
    made = pool(UpstreamConfig(address="a:1", max_connections=1), UpstreamConfig(address="b:1"))
    full, second = made.upstreams
    if other == "down":
        second.health.state = UpstreamState.DOWN
    second.draining = other == "draining"
    exclude = [second] if other == "tried" else []
    with made.lease(exclude), pytest.raises(ProxyError) as raised:
        made.lease(exclude)
    assert (raised.value.reason, raised.value.status) == (Reason.FULL, 503)
    full.draining = True
    with pytest.raises(ProxyError) as raised:
        made.lease(exclude)
    assert raised.value.reason is Reason.NO_UPSTREAM


def test_a_pool_is_ready_while_one_upstream_is_up():
    made = pool("a:1", "b:1", up=False)
    assert made.name == "backend"
    assert not made.ready
    made.upstreams[1].health.observe(True)
    assert made.ready


async def test_who_waits_for_the_last_lease_of_a_draining_upstream_is_woken_by_it(autojump_clock):
    made = pool("10.0.0.1:80")
    (draining,) = made.upstreams
    first, second = made.lease(), made.lease()
    draining.drain(30)
    assert (draining.state, draining.cut_in()) == ("draining", 30)

    async def release():
        await trio.sleep(1)
        first.release()
        await trio.sleep(1)
        second.release()

    async with trio.open_nursery() as nursery:
        start = trio.current_time()
        nursery.start_soon(release)
        await draining.no_leases()
        assert trio.current_time() == start + 2
    await draining.no_leases()  # at once
    draining.resume()
    assert draining.eligible and draining.cut_in() == math.inf


async def test_a_drain_waits_for_its_own_leases_and_not_for_those_of_the_next_one_at_that_address(autojump_clock):
    """Taken out and put back by reloads, it is another upstream, counted in the same cell."""
    config = PoolConfig(name="backend", upstreams=(UpstreamConfig(address="a:1"),))
    both = Tally.alone()
    made = Pool(config, leases=lambda _: both)
    old = made.upstreams[0]
    old.learn(UpstreamState.UP)
    first = made.lease()
    new = made.new_upstream(config, config.upstreams[0])
    new.learn(UpstreamState.UP)
    made.change(config, [new])
    second = made.lease()
    old.drain(60)
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(old.no_leases)
            await wait_all_tasks_blocked()
            first.release()
            first.release()
    assert (old.active, new.active, old.held, new.held) == (1, 1, 0, 1)
    second.release()
    assert new.active == new.held == 0


# A reload


def changed(made, **settings):
    config = attrs.evolve(made.config, **settings)
    made.change(config, made.upstreams[: len(config.upstreams)])
    return made


def test_other_settings_are_those_of_the_living_upstreams():
    made = Pool(PoolConfig(name="backend", upstreams=(UpstreamConfig(address="a:1"),)))
    (upstream,) = made.upstreams
    new = UpstreamConfig(address="A:1", weight=7, max_connections=3, backup=True)
    changed(made, upstreams=(new,), health=HealthConfig(rise=5, fall=6))
    assert made.upstreams == [upstream] and not upstream.gone
    assert (upstream.weight, upstream.backup, upstream.config.max_connections) == (7, True, 3)
    assert (upstream.health.rise, upstream.health.fall) == (5, 6)
    assert upstream.address == "a:1"  # the name its series have


def test_who_is_configured_no_more_is_gone_and_gets_no_lease():
    made = Pool(PoolConfig(name="backend", upstreams=(UpstreamConfig(address="a:1"), UpstreamConfig(address="b:1"))))
    staying, leaving = made.upstreams
    for upstream in made.upstreams:
        upstream.observe(ok=True)
    held = [made.lease(), made.lease()]
    changed(made, upstreams=(UpstreamConfig(address="a:1"),))
    assert leaving.gone and not staying.gone
    assert [made.lease().upstream for _ in range(3)] == [staying] * 3
    for lease in held:
        lease.release()
    assert leaving.active == 0


def test_a_policy_that_stays_goes_on_where_it_was_and_another_begins():
    made = Pool(PoolConfig(name="backend", upstreams=tuple(UpstreamConfig(address=f"{name}:1") for name in "ab")))
    for upstream in made.upstreams:
        upstream.observe(ok=True)
    first, second = made.upstreams
    assert made.lease().upstream is first
    assert changed(made, attempts=1).lease().upstream is second
    made.lease()
    assert changed(made, balance="least-connections").lease().upstream is second  # it has one lease, the other two


# Slow start


async def came_up(upstream):
    upstream.learn(UpstreamState.DOWN)
    for _ in range(upstream.health.rise):
        upstream.observe(ok=True)


async def returned(upstream):
    upstream.eject(5)
    await trio.sleep(5)
    upstream.readmit()


async def taken_back(upstream):
    upstream.drain(5)
    upstream.resume()


@pytest.mark.parametrize("come_back", [came_up, returned, taken_back])
async def test_who_comes_back_gets_its_weight_over_time(autojump_clock, come_back):
    made = pool(UpstreamConfig(address="a:1", weight=4), "b:1", slow_start=20.0)
    first = made.upstreams[0]
    assert (first.weight, first.back_for()) == (4, None)
    await come_back(first)
    seen = []
    for _ in range(6):
        seen.append((round(first.weight, 3), first.back_for()))
        await trio.sleep(5)
    assert seen == [(0.4, 0), (1, 5), (2, 10), (3, 15), (4, None), (4, None)]


@pytest.mark.parametrize("come_back", [came_up, returned, taken_back])
async def test_without_a_slow_start_it_has_its_weight_at_once(autojump_clock, come_back):
    made = pool("a:1")
    await come_back(made.upstreams[0])
    assert (made.upstreams[0].weight, made.upstreams[0].back_for()) == (1, None)


async def test_at_the_start_there_is_no_slow_start(autojump_clock):
    made = pool("a:1", slow_start=20.0)
    assert made.upstreams[0].weight == 1


async def test_work_follows_the_weight_that_rises(autojump_clock):
    for balance in BALANCERS:
        made = pool("a:1", "b:1", balance=balance, slow_start=10.0)
        await taken_back(made.upstreams[0])
        held = [made.lease() for _ in range(22)]
        assert sum(lease.upstream is made.upstreams[0] for lease in held) == 2, balance
        await trio.sleep(10)
        held += [made.lease() for _ in range(22)]
        assert sum(lease.upstream is made.upstreams[0] for lease in held) == {"least-connections": 22}.get(balance, 13)


async def test_other_seconds_count_at_once(autojump_clock):
    made = pool("a:1", slow_start=100.0)
    (upstream,) = made.upstreams
    await taken_back(upstream)
    await trio.sleep(10)
    assert upstream.weight == 0.1
    changed(made, slow_start=20.0)
    assert upstream.weight == 0.5
    changed(made, slow_start=0.0)
    assert (upstream.weight, upstream.back_for()) == (1, None)


async def test_a_slow_start_that_is_over_stays_over_where_it_takes_longer_now(autojump_clock):
    made = pool("a:1", slow_start=30.0)
    (upstream,) = made.upstreams
    await taken_back(upstream)
    await trio.sleep(100)
    changed(made, slow_start=300.0)
    assert (upstream.weight, upstream.back_for()) == (1, None)


async def test_another_process_goes_on_where_this_one_is(autojump_clock):
    made = pool("a:1", slow_start=20.0)
    (upstream,) = made.upstreams
    upstream.learn(UpstreamState.UP, 10.0)
    assert upstream.weight == 0.5
    upstream.learn(UpstreamState.UP)
    assert upstream.weight == 1
