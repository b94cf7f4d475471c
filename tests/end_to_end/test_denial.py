"""Denial of service: each attack has an end, is counted exactly, and others go on beside it.

The table of docs/discussion/threat-model.md names these tests. How fast others go on is no matter here, as a test must not
hang on the machine's mood; that they get every answer while the attack is at its height is.
"""

from __future__ import annotations

from collections import Counter

import pytest
import trio
from support import attacks
from support.attacks import FLOODS, Strength, bystander, flooding, serve_anything
from support.proxy import run_proxy
from support.settings import settings
from support.upstream import scripted_upstream

MEGABYTE = 1 << 20
ROUNDS = 20  # of a bystander, while an attack is at its height
# Those of what is slow; what is endless ends without the help of a clock.
SMALL = {
    "limits": {"min_body_rate": 1000},
    "timeouts": {"head": 2, "body": 1, "response": 2},
}
# What is done, on how many connections, and the ending of each; those of a group at the same time.
SLOW = {
    "heads that come octet by octet": (attacks.SLOW_HEADS, 100, "client head timeout"),
    "bodies that come octet by octet": (attacks.SLOW_BODIES, 50, "client request timeout"),
    "chunks of an octet": (attacks.SLOW_CHUNKS, 50, "client request timeout"),
    "answers that nobody reads": (attacks.SLOW_READS, 20, "client response stalled"),
    "connections that say nothing": (attacks.SILENCE, 500, "proxy head idle"),
}
ENDLESS = {
    "heads without end": (attacks.HUGE_HEADS, 20, "client head too_large"),
    "fields without end": (attacks.MANY_FIELDS, 20, "client head too_large"),
    "a field without end": (attacks.ENDLESS_FIELD, 20, "client head too_large"),
    "extensions of chunks without end": (attacks.CHUNK_EXTENSIONS, 10, "client request invalid"),
    "one extension without end": (attacks.ENDLESS_EXTENSION, 10, "client request invalid"),
    "trailers without end": (attacks.ENDLESS_TRAILERS, 10, "client request invalid"),
    "bodies without end": (attacks.ENDLESS_BODY, 10, "client request too_large"),
    "interim answers without end": (attacks.ENDLESS_INTERIM, 10, "upstream response invalid"),
}
CHURN = {"connections that come and go": (attacks.churn, 500, "client head done")}
# Whoever is beside an attack has these.
USUAL = {"upstream response done"}


def endings(seen):
    """By party, phase and reason, but for those of bystanders."""
    found = Counter()
    for labels, value in seen.matching("endings_total"):
        found[" ".join(labels[name] for name in ("by", "phase", "reason"))] += int(value)
    return Counter({name: value for name, value in found.items() if value and name not in USUAL})


@pytest.mark.parametrize(
    ("group", "how"),
    [(SLOW, SMALL), (ENDLESS, {"limits": {"max_body_bytes": MEGABYTE}}), (CHURN, {})],
    ids=["slow", "endless", "churn"],
)
async def test_attacks_by_http_end_are_counted_and_cost_others_nothing(programs, group, how):
    expected = Counter()
    for _, count, ending in group.values():
        expected[ending] += count
    async with scripted_upstream(serve_anything) as upstream:
        proxy = await run_proxy(programs, settings([upstream.address], **how))
        async with bystander(proxy.address) as other:
            await other.rounds(ROUNDS)
            memory, descriptors = proxy.program.rss, proxy.program.descriptors
            async with trio.open_nursery() as nursery:
                strengths = [(attack, Strength(proxy.address, count)) for attack, count, _ in group.values()]
                for attack, strength in strengths:
                    nursery.start_soon(attack, strength)
                for _, strength in strengths:
                    await strength.full.wait()
                await other.rounds(ROUNDS)
                growth = proxy.program.rss - memory
            seen = await proxy.wait_until(lambda seen: endings(seen).total() == expected.total(), "all have ended")
            assert endings(seen) == expected
            print(f"{expected.total()} connections, memory +{growth >> 10} KiB")  # noqa: T201
            assert growth < 16 * MEGABYTE
            await other.rounds(1)
            seen = await proxy.wait_until(lambda seen: seen.total("connections_active") == 2, "only the bystander's")
            assert seen.total("connections_rejected_total") == 0
            assert proxy.program.descriptors <= descriptors + 32  # kept upstream connections
        assert not proxy.log_contains("internal_error")
        await proxy.stop()


async def test_silent_connections_above_the_limit_are_rejected_and_who_is_in_stays(programs):
    async with scripted_upstream(serve_anything) as upstream:
        tables = settings([upstream.address], limits={"max_connections": 100}, timeouts={"head": 60})
        proxy = await run_proxy(programs, tables)
        async with bystander(proxy.address) as other:
            strength = Strength(proxy.address, 300)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(attacks.SILENCE, strength)
                await strength.full.wait()
                await other.rounds(ROUNDS)
                seen = await proxy.wait_until(lambda seen: seen.total("connections_total") == 302, "all have come")
                assert seen.total("connections_active") == 100
                assert seen.by("reason", "connections_rejected_total") == {
                    "overloaded": 202,
                    "too_many": 0,
                    "forbidden": 0,
                }
                nursery.cancel_scope.cancel()
            seen = await proxy.wait_until(lambda seen: seen.total("connections_active") == 2, "all have left")
            assert endings(seen) == {"client head done": 98}
            await other.rounds(1)
        await proxy.stop()


@pytest.mark.parametrize("flood", FLOODS)
async def test_floods_of_frames_end_at_their_limit_and_without_one_starve_nobody(programs, flood):
    async with scripted_upstream(serve_anything) as upstream:
        tables = settings([upstream.address], timeouts={"close": 0.2})
        limited = {"path": "/limited", "pool": "backend", "websocket": {"max_frame_rate": 1000}}
        tables["routes"] += [{"name": "free", "path": "/free", "pool": "backend"}, {"name": "limited", **limited}]
        proxy = await run_proxy(programs, tables)
        async with bystander(proxy.address) as other:
            await other.rounds(ROUNDS)
            await flooding("/limited", *FLOODS[flood])(Strength(proxy.address, 2))
            seen = await proxy.wait_until(lambda seen: endings(seen).total() == 2, "the floods are over")
            assert endings(seen) == {"proxy tunnel too_many": 2}

            memory = proxy.program.rss
            strength = Strength(proxy.address, 2)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(flooding("/free", *FLOODS[flood]), strength)
                await strength.full.wait()
                await other.rounds(ROUNDS)
                await proxy.wait_until(lambda seen: seen.total("tunnels_active") == 3, "all floods go on")
                assert proxy.program.rss - memory < 4 * MEGABYTE
                nursery.cancel_scope.cancel()
            await proxy.wait_until(lambda seen: seen.total("tunnels_active") == 1, "they have left")
        await proxy.stop()
