"""Names as upstreams, with a hostname resolver of the test's own and the mock clock."""

from __future__ import annotations

import socket
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioproxy.config import PoolConfig, UpstreamConfig
from trioproxy.logs import Log
from trioproxy.resolver import INTERVAL, PAUSE, START_WAIT, TIMEOUT, run_resolver
from trioproxy.upstreams import Pool, Upstream

V4, V6 = socket.AF_INET, socket.AF_INET6


@attrs.define(eq=False)
class Names(trio.abc.HostnameResolver):
    """Answers as the test says; a name it does not know hangs."""

    known: dict[str, list[str] | Exception] = attrs.field(factory=dict)
    asked: list[tuple[str, float]] = attrs.field(factory=list)  # with the time since the start
    start: float = attrs.field(factory=trio.current_time)

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append((name, trio.current_time() - self.start))
        answer = self.known.get(name)
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        return [(V6, type, 6, "", (ip, port, 0, 0)) if ":" in ip else (V4, type, 6, "", (ip, port)) for ip in answer]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError

    def times(self, name: str) -> list[float]:
        return [time for asked, time in self.asked if asked == name]


@pytest.fixture
async def names():
    resolver = Names()
    before = trio.socket.set_custom_hostname_resolver(resolver)
    yield resolver
    trio.socket.set_custom_hostname_resolver(before)


def pool(*addresses: str) -> Pool:
    return Pool(PoolConfig(name="backend", upstreams=tuple(UpstreamConfig(address=each) for each in addresses)))


def only(made: Pool) -> Upstream:
    (upstream,) = made.upstreams
    return upstream


def events(log: Any) -> list[str]:
    return [event["event"] for event in log.events]


async def test_a_name_has_its_addresses_in_order_when_the_resolver_has_started(names, nursery, autojump_clock):
    names.known["chat.internal"] = ["::1", "10.0.0.1", "10.0.0.1"]
    made, log = pool("chat.internal:3000"), Log.memory()
    await nursery.start(lambda task_status: run_resolver([made], log=log, task_status=task_status))
    assert only(made).addresses == ((V6, ("::1", 3000, 0, 0)), (V4, ("10.0.0.1", 3000)))
    assert log.events[0]["addresses"] == "::1, 10.0.0.1"


async def test_localhost_just_works():
    made = pool("localhost:3000")
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: run_resolver([made], log=Log.null(), task_status=task_status))
        assert (V4, ("127.0.0.1", 3000)) in only(made).addresses or (V6, ("::1", 3000, 0, 0)) in only(made).addresses
        nursery.cancel_scope.cancel()


async def test_addresses_need_no_resolving(names, nursery, autojump_clock):
    await nursery.start(
        lambda task_status: run_resolver(
            [pool("10.0.0.1:80", "[::1]:80", "unix:/x")], log=Log.null(), task_status=task_status
        )
    )
    assert names.asked == []


async def test_a_name_is_looked_up_every_interval(names, nursery, autojump_clock):
    names.known["a"] = ["10.0.0.1"]
    made, log = pool("a:80"), Log.memory()
    nursery.start_soon(lambda: run_resolver([made], log=log))
    await trio.sleep(INTERVAL * 2.5)
    assert names.times("a") == [0, INTERVAL, 2 * INTERVAL]
    assert events(log) == ["resolved"]


async def test_a_name_is_looked_up_soon_after_a_failed_connect_but_not_at_every_one(names, nursery, autojump_clock):
    names.known["a"] = ["10.0.0.1"]
    made = pool("a:80")
    nursery.start_soon(lambda: run_resolver([made], log=Log.null()))
    await trio.sleep(4)
    names.known["a"] = ["10.0.0.2"]
    for _ in range(3):
        only(made).want_resolve()
    await wait_all_tasks_blocked()
    assert only(made).addresses == ((V4, ("10.0.0.2", 80)),)
    only(made).want_resolve()
    await trio.sleep(PAUSE * 1.5)
    assert names.times("a") == [0, 4, 4 + PAUSE]


async def test_the_last_good_answer_is_kept_and_trouble_is_told_once(names, nursery, autojump_clock):
    names.known["a"] = ["10.0.0.1"]
    made, log = pool("a:80"), Log.memory()
    nursery.start_soon(lambda: run_resolver([made], log=log))
    await trio.sleep(1)
    names.known["a"] = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    await trio.sleep(INTERVAL * 3)
    assert only(made).addresses == ((V4, ("10.0.0.1", 80)),)
    assert events(log) == ["resolved", "resolve_failed"]
    assert log.events[1]["reason"] == "Name or service not known"
    names.known["a"] = ["10.0.0.1"]
    await trio.sleep(INTERVAL)
    assert events(log) == ["resolved", "resolve_failed", "resolved"]


async def test_another_order_of_the_same_addresses_is_no_change(names, nursery, autojump_clock):
    names.known["a"] = ["10.0.0.1", "10.0.0.2"]
    made, log = pool("a:80"), Log.memory()
    nursery.start_soon(lambda: run_resolver([made], log=log))
    await trio.sleep(1)
    before = only(made).addresses
    names.known["a"] = ["10.0.0.2", "10.0.0.1"]
    await trio.sleep(INTERVAL)
    assert only(made).addresses == before
    assert events(log) == ["resolved"]


async def test_names_do_not_wait_for_one_another_and_a_silent_one_does_not_hold_up_the_start(
    names, nursery, autojump_clock
):
    names.known["quick"] = ["10.0.0.1"]
    silent, quick = pool("silent:80"), pool("quick:80")
    log = Log.memory()
    await nursery.start(lambda task_status: run_resolver([silent, quick], log=log, task_status=task_status))
    assert trio.current_time() - names.start == pytest.approx(START_WAIT)
    assert sorted(names.asked) == [("quick", 0), ("silent", 0)]
    assert only(quick).addresses
    assert not only(silent).addresses
    await trio.sleep(TIMEOUT)
    assert events(log) == ["resolved", "resolve_failed"]
    assert "no answer within" in log.events[1]["reason"]


async def test_a_name_no_system_can_encode_is_trouble_and_no_crash(names, nursery, autojump_clock):
    made, log = pool("a" * 70 + ".example:80"), Log.memory()
    names.known["a" * 70 + ".example"] = UnicodeError("label too long")
    await nursery.start(lambda task_status: run_resolver([made], log=log, task_status=task_status))
    assert events(log) == ["resolve_failed"]


async def test_a_name_is_looked_up_from_when_it_is_told_of_until_it_is_forgotten(names, nursery, autojump_clock):
    names.known["a"] = ["10.0.0.1"]
    resolver = await nursery.start(lambda task_status: run_resolver([], log=Log.null(), task_status=task_status))
    upstream, literal = only(pool("a:80")), only(pool("10.0.0.1:80"))
    await resolver.watch([upstream, literal])
    assert upstream.addresses == ((V4, ("10.0.0.1", 80)),)
    await trio.sleep(INTERVAL * 1.5)
    resolver.forget(upstream)
    resolver.forget(literal)
    await trio.sleep(INTERVAL * 5)
    assert names.times("a") == [0, INTERVAL]
