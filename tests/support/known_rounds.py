"""All that can happen to a proxy, once in every round, each event entered into the ledger of `known_load`.

Rounds can be repeated: the first makes all series exist, a later one is measured.
"""

from __future__ import annotations

import json
import resource
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
from support.http_client import ask, connection
from support.known_load import MOST_BYTES, MOST_CONNECTIONS, MOST_FAILURES
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from support.known_clients import Talker
    from support.known_load import KnownProxy
    from support.known_upstreams import KnownUpstream

    At = Callable[[str], Awaitable[object]]

REFUSED = ("upstream", "handshake", "refused")


async def play(known: KnownProxy, *, messages: int, held: int, at: At | None = None) -> None:
    """One round; conversations are of three times so many messages, and so many tunnels stay open behind it.

    With `at` all troubles come about, too, which take their time; it is called with "troubled" when they are there.
    """
    await release(known)
    async with trio.open_nursery() as nursery:
        for upstream in (known.alpha, known.beta):
            for ending in (leave, leave_empty):
                nursery.start_soon(talk, known, upstream, "/chat/slow", messages, ending)
            for ending in (asked_to_leave, vanish, abandoned, break_rule, exceed_limit):
                nursery.start_soon(talk, known, upstream, "/quiet", messages, ending)
        for act in (requests, handshakes_that_fail, fill, eject):
            nursery.start_soon(act, known)
    await known.rest()
    await refuse(known)
    await exhaust(known)
    await drain_and_resume(known, at)
    await command(known, "/api/chaos", method="DELETE")
    await known.rest()
    known.held = [await known.site.open("/quiet/held", known.nursery) for _ in range(held)]


async def release(known: KnownProxy) -> None:
    for talker in known.held:
        await talker.leave()
    known.held = []


async def open_at(known: KnownProxy, upstream: KnownUpstream, path: str, nursery: trio.Nursery) -> Talker:
    """A tunnel at this upstream; others that came about on the way are left again."""
    while True:
        talker = await known.site.open(path, nursery)
        if talker.upstream == upstream.address:
            return talker
        await talker.leave()


async def talk(
    known: KnownProxy, upstream: KnownUpstream, path: str, messages: int, ending: Callable[[Talker], Awaitable[None]]
) -> None:
    """A conversation with pings of the endpoints, and where the route has them with some of the proxy."""
    async with trio.open_nursery() as nursery:
        talker = await open_at(known, upstream, path, nursery)
        await talker.converse(messages, 0.02)
        await talker.say(1, b"ping me")
        await talker.until(lambda: talker.pongs > 0)
        if path.startswith("/chat"):
            await talker.until(lambda: talker.pings > 0)
        await talker.converse(1, 0)  # so that all that was said before has been read
        await ending(talker)


async def leave(talker: Talker) -> None:
    await talker.leave()


async def leave_empty(talker: Talker) -> None:
    await talker.leave(b"", "empty")


async def asked_to_leave(talker: Talker) -> None:
    """The upstream closes, with a code of its own."""
    await talker.say(1, b"close with 4001")
    await talker.dismissed(4001, "upstream", "4xxx", ("upstream", "close", "done"))


async def vanish(talker: Talker) -> None:
    await talker.vanish()


async def abandoned(talker: Talker) -> None:
    """The upstream ends the connection without a Close."""
    await talker.say(1, b"leave without a word")
    await talker.dismissed(1011, "upstream", "none", ("upstream", "tunnel", "closed"))


async def break_rule(talker: Talker) -> None:
    """A frame of a reserved kind: both sides are told 1002."""
    talker.sent.broken = True
    await talker.say(3, b"reserved")
    await talker.dismissed(1002, "client", "none", ("client", "tunnel", "protocol"))


async def exceed_limit(talker: Talker) -> None:
    """A message above websocket.max_message_bytes."""
    talker.sent.broken = True
    await talker.say(2, b"z" * (MOST_BYTES + 1))
    await talker.dismissed(1009, "proxy", "1009", ("proxy", "tunnel", "too_large"))


async def requests(known: KnownProxy) -> None:
    """Plain HTTP of all kinds."""
    site = known.site
    for number in range(20):
        await site.ask(f"/web/{number * 90 + 1}")
        await site.ask("/web/back", body=b"y" * 250)
    for _ in range(3):
        await site.ask("/web/404", 404)
        await site.ask("/web/500", 500)
        await site.ask("/web/slow")
    async with connection(site.address):
        site.came_and_went()
    await site.ask("/nobody/knows", 404, ending=("client", "route", "no_route"))
    await site.ask_amiss(b"this is no request\r\n\r\n", 400)


async def handshakes_that_fail(known: KnownProxy) -> None:
    """Each for another reason; and those that succeed at the second attempt."""
    site, faulty = known.site, known.tables["pools"]["faulty"]["upstreams"][0]
    for _ in range(2):
        took = await site.knock("/faulty/refused", 403, REFUSED)
        site.shaken("/faulty", faulty, "refused")
        site.ledger.observe("handshake_duration_seconds", 0.0, took, pool="faulty")
        took = await site.knock("/faulty/invalid", 502, ("upstream", "handshake", "invalid"))
        site.shaken("/faulty", faulty, "invalid")
        site.ledger.observe("handshake_duration_seconds", 0.0, took, pool="faulty")
        await site.knock("/faulty/silent", 504, ("upstream", "handshake", "timeout"))
        site.shaken("/faulty", faulty, "timeout")
        await site.knock("/nowhere", 503, ("upstream", "connect", "refused"))
        site.shaken("/nowhere", known.closed, "unreachable")
        site.ledger.add("connect_failures_total", pool="nowhere", upstream=known.closed, reason="refused")
        site.failed("nowhere", known.closed, "connect")
        await site.knock("/limited", 403, ("client", "route", "forbidden"), "Origin: https://evil.test")
        async with site.tunnel("/spare") as talker:
            site.ledger.add("connect_failures_total", pool="spare", upstream=known.closed, reason="refused")
            site.failed("spare", known.closed, "connect")
            site.ledger.add("retries_total", pool="spare", reason="connect")
            await talker.converse(1, 0)
            await talker.leave()


async def refuse(known: KnownProxy) -> None:
    """An operator has upgrades refused in an upstream's name; it goes on until the round is over."""
    site, faulty = known.site, known.tables["pools"]["faulty"]["upstreams"][0]
    path = f"/api/chaos/pools/faulty/upstreams/{faulty}/refuse"
    await command(known, path, {"share": 1, "seconds": 3600, "status": 503})
    for _ in range(2):
        took = await site.knock("/faulty/refused", 503, ("proxy", "handshake", "chaos"))
        site.ledger.observe("connect_duration_seconds", 0.0, took, pool="faulty")
        site.shaken("/faulty", faulty, "chaos")
        site.ledger.add("chaos_injected_total", pool="faulty", upstream=faulty, verb="refuse")


async def fill(known: KnownProxy) -> None:
    """The upstream of pool small takes one tunnel, and a second client is told so."""
    async with known.site.tunnel("/small") as talker:
        await known.site.knock("/small", 503, ("proxy", "connect", "full"))
        known.site.shaken("/small", "none", "unreachable")
        await talker.leave()


async def eject(known: KnownProxy) -> None:
    """The upstream of pool frail fails too often; it is back soon, and the second time a second later."""
    frail = known.tables["pools"]["frail"]["upstreams"][0]
    before = known.said("upstream_returned")
    for _ in range(MOST_FAILURES):
        took = await known.site.knock("/frail/invalid", 502, ("upstream", "handshake", "invalid"))
        known.site.shaken("/frail", frail, "invalid")
        known.site.ledger.observe("handshake_duration_seconds", 0.0, took, pool="frail")
    known.ledger.add("upstream_ejections_total", pool="frail", upstream=frail, reason="handshake")
    await wait_until(lambda: known.said("upstream_returned") > before, "its return")


async def drain_and_resume(known: KnownProxy, at: At | None) -> None:
    """Alpha is taken out while it has a tunnel, and taken back; and an operator closes a tunnel of beta."""
    path = f"/api/pools/chat/upstreams/{known.alpha.address}"
    async with trio.open_nursery() as nursery:
        moving = await open_at(known, known.alpha, "/quiet", nursery)
        staying = await open_at(known, known.beta, "/quiet/staying", nursery)
        await command(known, f"{path}/drain", {"spread": 0, "timeout": 5})
        await moving.dismissed(1012, "proxy", "1012", ("proxy", "tunnel", "draining"))
        await known.in_state(known.alpha, "draining")
        listed = json.loads(await known.process.ask_admin("/api/tunnels?route=quiet"))
        ids = [one["id"] for one in listed if one["path"] == "/quiet/staying"]
        await command(known, f"/api/tunnels/{ids[-1]}/close", {"code": 1012})
        await staying.dismissed(1012, "proxy", "1012", ("proxy", "tunnel", "operator"))
        fresh = await known.site.open("/quiet", nursery)
        assert fresh.upstream == known.beta.address
        if at is None:
            await fresh.leave()
        else:
            await troubles(known, fresh, at)
    await command(known, f"{path}/resume", {})
    await known.in_state(known.alpha, "up")


async def troubles(known: KnownProxy, talker: Talker, at: At) -> None:
    """All at once: beta's process ends under this tunnel, a reload is refused, and there are too many clients."""
    died = time.time()
    await known.beta.kill()
    await talker.dismissed(1011, "upstream", "none", ("upstream", "tunnel", "closed"))
    await known.reload({**known.tables, "server": {**known.tables["server"], "workers": 7}}, "refused")
    async with crowd(known):
        await known.in_state(known.beta, "down")
        await at("troubled")
    await known.beta.start()
    known.down_seconds = time.time() - died
    await known.reload({**known.tables, "listeners": []}, "invalid")
    known.reloaded = time.time()
    await known.reload(known.tables, "applied")
    await known.in_state(known.beta, "up")


@asynccontextmanager
async def crowd(known: KnownProxy) -> AsyncIterator[None]:
    """As many connections as there may be, which then go without a word; two more come meanwhile."""
    site = known.site
    async with AsyncExitStack() as stack:
        for _ in range(MOST_CONNECTIONS):
            await stack.enter_async_context(connection(site.address))
            site.came_and_went()
        await known.has(tunnels=0, connections=MOST_CONNECTIONS)
        for _ in range(2):
            async with connection(site.address) as http:
                assert (await http.answer()).status == 503
            site.ledger.add("connections_total", listener="public")
            site.ledger.add("connections_rejected_total", listener="public", reason="overloaded")
        yield


async def exhaust(known: KnownProxy) -> None:
    """For a moment the proxy has no descriptor left for a client, who waits until it has."""
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in (await known.pids()).values()}

    before, began = known.said("accept_failed"), time.time()
    async with trio.open_nursery() as nursery:
        for pid, (_, hard) in limits.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, hard))  # no number above 0 is to be had
        try:
            nursery.start_soon(known.site.ask, "/web/7")
            await wait_until(lambda: known.said("accept_failed") > before, "a failed accept")
        finally:
            for pid, limit in limits.items():
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
    known.exhausted = time.time() - began


async def command(known: KnownProxy, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
    """A command by the admin's API."""
    content = json.dumps(body or {}).encode()
    fields = ["Content-Type: application/json", f"Content-Length: {len(content)}", "Connection: close"]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {known.process.admin}", *fields, "", ""])
    answer = await ask(known.process.admin, head.encode() + content)
    assert answer.status == 200, answer
    return json.loads(answer.body)
