"""A hop in front of any server, and a proxy in front of several with hops between, for the tests of other projects.

Where they run is `anywhere`'s; the names that others use are gathered in `testing`.
"""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from trioproxy.chaos.anywhere import Anywhere
from trioproxy.chaos.faults.base import ConnectionFault, Fault
from trioproxy.chaos.hop import Hop
from trioproxy.chaos.proxies import POOL, as_toml, base_settings, laid_over
from trioproxy.config_converter import make_converter
from trioproxy.config_file import parse_config
from trioproxy.config_structure import structure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from trioproxy.chaos.anywhere import Call

_HOST: Final = "127.0.0.1"
_MOST_PORT: Final = 65_535
# A connect proves any server; a handshake proves only those that take one at "/".
_PROBES: Final = {"pools": {POOL: {"health": {"probe": "tcp", "interval": 1, "timeout": 1, "fall": 1}}}}


@attrs.define(eq=False)
class ChaosHop:
    """A TCP relay in front of one server, at a loopback address of its own; what faults say is done to what passes.

    What is no HTTP passes as it comes. The answer to a WebSocket handshake gets a field X-Chaos-Upstream. While nothing
    listens at the server, nothing listens here.
    """

    _hop: Hop
    _call: Call

    @property
    def address(self) -> str:
        """Where clients connect, as `HOST:PORT`."""
        return self._hop.address

    @property
    def host(self) -> str:
        """Of `address`."""
        return self._hop.host

    @property
    def port(self) -> int:
        """Of `address`."""
        return self._hop.port

    @property
    def connections(self) -> int:
        """How many pass here now."""
        return len(self._hop.links)

    def begin(self, fault: ConnectionFault) -> None:
        """Let a fault loose on what is open and what comes, from this moment to `end`; some strike once and are over.

        Raises TypeError for what is no fault of connections, ValueError where a setting is wrong, or one of a
        scenario's timeline is given.
        """
        _check(fault)
        self._call(self._hop.begin, fault)

    def end(self, fault: ConnectionFault) -> None:
        """Stop a fault; of several on at a time, this one. Raises ValueError for one that is not on."""
        self._call(self._hop.end, fault)

    @contextmanager
    def fault(self, *faults: ConnectionFault) -> Iterator[None]:
        """Have these on in the body of a `with`, each given what those before it have made."""
        with ExitStack() as last:
            for fault in faults:
                self.begin(fault)
                last.callback(self.end, fault)
            yield


@attrs.frozen(eq=False)
class ChaosProxy:
    """A trioproxy in front of servers, each behind a hop: clients connect to `address`, faults go to `hops[number]`."""

    address: str
    hops: Sequence[ChaosHop]


def chaos_hop(target: str, *, seed: int = 1) -> Anywhere[ChaosHop]:
    """A hop in front of the server at `target`, a `HOST:PORT`; use it in a `with` or `async with`.

    What faults leave to chance follows from `seed`. Raises ValueError for what is no address.
    """
    return Anywhere(partial(_one_hop, _parsed(target), seed))


def chaos_proxy(*targets: str, settings: Mapping[str, Any] | None = None, seed: int = 1) -> Anywhere[ChaosProxy]:
    """A proxy in front of servers, in the order of `targets`; use it in a `with` or `async with`.

    It has one listener, one route for all paths and one pool, "backend", whose upstreams are checked by connecting once
    a second. `settings` are tables and keys of config.toml, laid over these. The proxy runs in the Trio run of the
    hops, so faults of processes are not for it: `chaos_run` has those. Entering it raises ConfigError.
    """
    return Anywhere(partial(_proxy, [_parsed(target) for target in targets], settings or {}, seed))


@asynccontextmanager
async def _one_hop(target: tuple[str, int], seed: int, call: Call) -> AsyncIterator[ChaosHop]:
    async with _hops([target], seed, call) as (hop,):
        yield hop


@asynccontextmanager
async def _hops(targets: Sequence[tuple[str, int]], seed: int, call: Call) -> AsyncIterator[Sequence[ChaosHop]]:
    async with trio.open_nursery() as nursery:
        hops = [Hop(number, target, seed, _HOST) for number, target in enumerate(targets)]
        for hop in hops:
            await nursery.start(hop.run)
        yield [ChaosHop(hop, call) for hop in hops]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _proxy(
    targets: Sequence[tuple[str, int]], settings: Mapping[str, Any], seed: int, call: Call
) -> AsyncIterator[ChaosProxy]:
    from trioproxy.server import lone_failure, serve  # noqa: PLC0415 - who has a hop alone needs no proxy

    with lone_failure():
        async with _hops(targets, seed, call) as hops:
            base = base_settings(f"{_HOST}:0", "", [hop.address for hop in hops])
            wanted = laid_over(laid_over(base, _PROBES), settings)
            async with serve(parse_config(as_toml(wanted), "settings")) as proxy:
                yield ChaosProxy(proxy.listeners[0].address, hops)


def _parsed(target: str) -> tuple[str, int]:
    host, _, port = target.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= _MOST_PORT:
        raise ValueError(f"expected HOST:PORT, got {target!r}")
    return host.strip("[]"), int(port)


def _check(fault: ConnectionFault) -> None:
    if not isinstance(fault, ConnectionFault):
        raise TypeError(f"expected a fault of connections, got {fault!r}")
    kind = type(fault)
    common = {field.name: field.default for field in attrs.fields(Fault)}
    for name, default in common.items():
        if getattr(fault, name) != default:
            raise ValueError(f"{kind.__name__}: {name} is for scenarios: here, a fault is on from begin to end")
    own = {field.name: getattr(fault, field.name) for field in attrs.fields(kind) if field.name not in common}
    _, problems = structure(own, kind, make_converter(""))
    for problem in problems:
        raise ValueError(f"{kind.__name__}: {problem.path[0]}: {problem.message}")
