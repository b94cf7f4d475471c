"""One run of a scenario, from nothing to nothing: upstreams, hops, proxy, then load and timeline side by side.

What is started how is `servers`' and `proxies`'; what came of it is handed over as an `Outcome`.
"""

from __future__ import annotations

import contextlib
from contextlib import ExitStack
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trioproxy.chaos.hop import Hop
from trioproxy.chaos.load import Load
from trioproxy.chaos.records import Comparison, End, Outcome, Sample, Tunnel
from trioproxy.chaos.servers import EMBEDDED, Given, Server
from trioproxy.chaos.timeline import Span, spans
from trioproxy.remote import RemoteError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from trioproxy.chaos.proxies import UnderTest
    from trioproxy.chaos.scenario import Scenario

_COUNT_SECONDS: Final = 1.0  # so often the proxy's counts of tunnels are summed
_SETTLE_SECONDS: Final = 1.5 * _COUNT_SECONDS


@attrs.define(eq=False)
class Stage:
    """What a run has started, and the chance of one fault, whatever others do at the time; see `faults.base.Stage`."""

    hops: Sequence[Hop]
    servers: Sequence[Server | Given]
    proxy: UnderTest
    random: Random


async def nobody_watches(load: Load) -> None:
    """For a run of which nothing is shown."""


async def run(
    scenario: Scenario,
    proxy: UnderTest,
    *,
    seed: int,
    say: Callable[[str], None],
    watch: Callable[[Load], Awaitable[None]] = nobody_watches,
) -> Outcome:
    """Run it and end everything; `say` is told what happens, `watch` is run beside the load, and cancelled behind it.

    Raises ServerError or ProxyError where something does not start or cannot be commanded as the scenario wants.
    """
    with ExitStack() as last:
        servers = _servers(scenario)
        for server in servers:
            last.callback(server.close)
        last.callback(proxy.close)
        async with trio.open_nursery() as nursery:
            for server in servers:
                nursery.start_soon(server.start)
        async with trio.open_nursery() as services:
            hops = _hops(scenario, servers, seed)
            for hop in hops:
                await services.start(hop.run)
            await proxy.start([hop.address for hop in hops])
            load = Load(scenario.load, *proxy.address, seed=seed, duration=scenario.duration)
            timeline = spans(scenario, len(hops), seed)
            samples, happened = list[Sample](), list[Span]()
            async with trio.open_nursery() as beside:
                beside.start_soon(watch, load)
                beside.start_soon(_sample, proxy, load, samples)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(load.run)
                    for number, fault in enumerate(scenario.faults):
                        concerned = [span for span in timeline if span.fault is fault]
                        stage = Stage(hops, servers, proxy, Random(f"{seed} stage {number}"))
                        nursery.start_soon(_follow, concerned, stage, load, say, happened)
                beside.cancel_scope.cancel()
            comparisons = await _compare(proxy, load.tunnels)
            status = await proxy.stop()
            services.cancel_scope.cancel()
    for tunnel in load.tunnels:
        tunnel.harmed = is_harmed(tunnel, hops)
    return Outcome(
        duration=scenario.duration,
        tunnels=load.tunnels,
        spans=timeline,
        happened=sorted(happened, key=attrgetter("begin")),
        upstreams=len(hops),
        comparisons=comparisons,
        samples=samples,
        exit_status=status,
        errors=proxy.errors(),
    )


def is_harmed(tunnel: Tunnel, hops: Sequence[Hop]) -> bool:
    """Whether a fault touched it where it went; one that struck an attempt before is the proxy's to make good."""
    concerned = [hop for hop in hops if hop.number == tunnel.upstream] or hops
    # Where TLS hides heads from the hops, connections there have no names, and a tunnel does not know its upstream.
    names = {tunnel.name} if tunnel.upstream is not None else {tunnel.name, ""}
    return any(not names.isdisjoint(hop.harmed) for hop in concerned)


def _servers(scenario: Scenario) -> Sequence[Server | Given]:
    settings = scenario.upstreams
    if scenario.proxy.address and not settings.hops:  # it has upstreams of its own
        return []
    if settings.addresses:
        return [Given(address) for address in settings.addresses]
    return [Server(number, settings.command or EMBEDDED) for number in range(settings.number)]


def _hops(scenario: Scenario, servers: Sequence[Server | Given], seed: int) -> Sequence[Hop]:
    hops = [Hop(number, server.target, seed) for number, server in enumerate(servers)]
    for hop, address in zip(hops, scenario.upstreams.hops, strict=False):
        host, _, port = address.rpartition(":")
        hop.host, hop.port = host, int(port)
    return hops


async def _follow(
    timeline: Sequence[Span], stage: Stage, load: Load, say: Callable[[str], None], happened: list[Span]
) -> None:
    """One fault, each time in its time, or when the time before is over; to the end of the load at most."""
    for span in timeline:
        await trio.sleep_until(load.start + span.begin)
        say(f"{load.now:7.2f} s  {span.name} begins" + _where(span))
        begun = load.now
        await span.fault.begin(stage, span.upstreams)
        struck = load.now
        await trio.sleep_until(load.start + span.end)
        await span.fault.end(stage, span.upstreams)
        happened.append(attrs.evolve(span, begin=begun, end=struck if span.fault.instant else load.now))
        if span.fault.lasts:
            say(f"{load.now:7.2f} s  {span.name} is over" + _where(span))


def _where(span: Span) -> str:
    return f": upstream {', '.join(map(str, span.upstreams))}"


async def _sample(proxy: UnderTest, load: Load, samples: list[Sample]) -> None:
    """What the proxy says meanwhile, now and then; a proxy that does not answer at a time says nothing then."""
    while True:
        with contextlib.suppress(RemoteError):
            counts = await proxy.counts()
            if "open_tunnels" in counts:
                samples.append(Sample(load.now, counts["open_tunnels"]))
        await trio.sleep(_COUNT_SECONDS)


async def _compare(proxy: UnderTest, tunnels: Sequence[Tunnel]) -> Sequence[Comparison]:
    """What the proxy counted beside what the clients did."""
    await trio.sleep(_SETTLE_SECONDS)
    counts: Mapping[str, float] = {}
    with contextlib.suppress(RemoteError):  # it has crashed: what the clients saw of that is the outcome
        counts = await proxy.counts()
    bounds = counted_by_clients(tunnels)
    return [
        Comparison(what=what, proxy=counts[what], least=least, most=most)
        for what, (least, most) in bounds.items()
        if what in counts
    ]


def counted_by_clients(tunnels: Sequence[Tunnel]) -> Mapping[str, tuple[int, int]]:
    """The least and the most that a proxy can have counted, by what clients saw of these handshakes."""
    opened = [tunnel for tunnel in tunnels if tunnel.opened is not None]
    whole = [tunnel for tunnel in opened if tunnel.end is End.CLIENT]
    broken = [tunnel for tunnel in opened if tunnel.end is not End.CLIENT]
    answered = [tunnel for tunnel in tunnels if tunnel.failure.startswith("status")]
    sent, got = sum(tunnel.sent for tunnel in whole), sum(map(_received, whole))
    late = sum(tunnel.lost for tunnel in whole)  # echoes that may have come when their client had lost patience
    return {
        "tunnels": (len(opened), len(tunnels) - len(answered)),
        "messages_to_upstream": (sent + sum(t.echoed for t in broken), sent + sum(t.sent for t in broken)),
        "messages_to_client": (
            got + sum(map(_received, broken)),
            got + late + sum(max(tunnel.sent, _received(tunnel)) for tunnel in broken),
        ),
    }


def _received(tunnel: Tunnel) -> int:
    return tunnel.echoed + tunnel.duplicated + tunnel.corrupted
