"""All that can happen to a proxy, once in every round, each event entered into the ledger of `known_load`.

Rounds can be repeated: the first makes all series exist, a later one is measured.
"""

from __future__ import annotations

import json
import resource
import time
from typing import TYPE_CHECKING, Any

import trio
from support.http_client import ask, connection, dial
from support.known_load import MOST_BYTES, MOST_CONNECTIONS
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.known_clients import Talker
    from support.known_load import KnownProxy
    from support.known_upstreams import KnownUpstream

HELD = 3  # tunnels that stay open between rounds, two at alpha for its weight
REFUSED = ("upstream", "handshake", "refused")


async def play(known: KnownProxy, *, messages: int, while_down: Callable[[], Awaitable[object]]) -> None:
    """One round; conversations are of three times so many messages, `while_down` waits for what dead upstreams cause."""
    await release(known)
    async with trio.open_nursery() as nursery:
        for upstream in (known.alpha, known.beta):
            for ending in (leave, leave_empty):
                nursery.start_soon(talk, known, upstream, "/chat/slow", messages, ending)
            for ending in (asked_to_leave, vanish, abandoned, break_rule, exceed_limit):
                nursery.start_soon(talk, known, upstream, "/quiet", messages, ending)
        for act in (requests, handshakes_that_fail):
            nursery.start_soon(act, known)
    await known.rest()
    await drain_and_resume(known)
    await kill_and_revive(known, while_down)
    await reloads(known)
    await known.rest()
    await crowd(known)
    await known.rest()
    await exhaust(known)
    await known.rest()
    await hold(known)


async def hold(known: KnownProxy) -> None:
    """Open the tunnels that stay."""
    known.held = [await known.site.open("/quiet/held", known.nursery) for _ in range(HELD)]


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
        await site.knock("/limited", 403, ("client", "route", "forbidden"), "Origin: https://evil.test")
        async with site.tunnel("/spare") as talker:
            site.ledger.add("connect_failures_total", pool="spare", upstream=known.closed, reason="refused")
            site.ledger.add("retries_total", pool="spare", reason="connect")
            await talker.converse(1, 0)
            await talker.leave()


async def drain_and_resume(known: KnownProxy) -> None:
    """Alpha is taken out while it has a tunnel, and taken back; and an operator closes a tunnel of beta."""
    path = f"/api/pools/chat/upstreams/{known.alpha.address}"
    async with trio.open_nursery() as nursery:
        moving = await open_at(known, known.alpha, "/quiet", nursery)
        staying = await open_at(known, known.beta, "/quiet/staying", nursery)
        await command(known, f"{path}/drain", {"spread": 0, "timeout": 5})
        await moving.dismissed(1012, "proxy", "1012", ("proxy", "tunnel", "draining"))
        fresh = await known.site.open("/quiet", nursery)
        assert fresh.upstream == known.beta.address
        await known.process.wait_for_state(known.alpha.address, "draining")
        await command(known, f"{path}/resume", {})
        listed = json.loads(await known.process.ask_admin("/api/tunnels?route=quiet"))
        ids = [one["id"] for one in listed if one["path"] == "/quiet/staying"]
        await command(known, f"/api/tunnels/{ids[-1]}/close", {"code": 1012})
        await staying.dismissed(1012, "proxy", "1012", ("proxy", "tunnel", "operator"))
        await fresh.leave()


async def kill_and_revive(known: KnownProxy, while_down: Callable[[], Awaitable[object]]) -> None:
    """Beta's process ends under a tunnel, the only one of pool web, too; others take their places."""
    async with trio.open_nursery() as nursery:
        lost = await open_at(known, known.beta, "/quiet", nursery)
        kept = await open_at(known, known.alpha, "/quiet", nursery)
        died = time.time()
        for upstream in (known.beta, known.web):
            await upstream.kill()
        await lost.dismissed(1011, "upstream", "none", ("upstream", "tunnel", "closed"))
        for upstream in (known.beta, known.web):
            await known.process.wait_for_state(upstream.address, "down")
        await known.site.ask("/web/1", 503, ending=("proxy", "connect", "no_upstream"))
        await while_down()
        await kept.converse(2, 0)
        await kept.leave()
        for upstream in (known.beta, known.web):
            await upstream.start()
        known.down_seconds = time.time() - died
        for upstream in (known.beta, known.web):
            await known.process.wait_for_state(upstream.address, "up")


async def reloads(known: KnownProxy) -> None:
    """One of each result; the last one leaves everything as it was."""
    tables, ledger = known.tables, known.ledger
    await known.process.reload({**tables, "server": {**tables["server"], "workers": 7}}, "refused")
    await known.process.reload({**tables, "listeners": []}, "invalid")
    known.reloaded = time.time()
    await known.process.reload(tables)
    for result in ("refused", "invalid", "applied"):
        ledger.add("config_reloads_total", result=result)


async def crowd(known: KnownProxy) -> None:
    """As many connections as there may be, which then go without a word, and two more."""
    site, streams = known.site, []
    for _ in range(MOST_CONNECTIONS):
        streams.append(await dial(site.address))
        site.ledger.add("connections_total", listener="public")
        site.ended("client", "head", "done")
    await known.has(tunnels=0, connections=MOST_CONNECTIONS)
    for _ in range(2):
        async with connection(site.address) as http:
            assert (await http.answer()).status == 503
        site.ledger.add("connections_total", listener="public")
        site.ledger.add("connections_rejected_total", listener="public", reason="overloaded")
    for stream in streams:
        await stream.aclose()


async def exhaust(known: KnownProxy) -> None:
    """For a moment the proxy has no descriptor left for a client, who waits until it has."""
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in (await known.pids()).values()}

    def failures() -> int:
        return sum('"accept_failed"' in line for line in known.process.program.err.seen)

    before, began = failures(), time.time()
    async with trio.open_nursery() as nursery:
        for pid, (_, hard) in limits.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, hard))  # no number above 0 is to be had
        try:
            nursery.start_soon(known.site.ask, "/web/7")
            await wait_until(lambda: failures() > before, "a failed accept")
        finally:
            for pid, limit in limits.items():
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
    known.exhausted = time.time() - began


async def command(known: KnownProxy, path: str, body: dict[str, Any]) -> Any:
    """A POST to the admin's API."""
    content = json.dumps(body).encode()
    fields = ["Content-Type: application/json", f"Content-Length: {len(content)}", "Connection: close"]
    head = "\r\n".join([f"POST {path} HTTP/1.1", f"Host: {known.process.admin}", *fields, "", ""])
    answer = await ask(known.process.admin, head.encode() + content)
    assert answer.status == 200, answer
    return json.loads(answer.body)
