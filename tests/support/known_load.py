"""A proxy whose clients and upstreams are all known: its configuration, its upstreams, and when it is at rest.

What the clients do is `known_rounds`.
"""

from __future__ import annotations

import signal
import socket
import time
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import attrs
import trio
from support.certificates import authority
from support.known_clients import Site
from support.known_upstreams import KnownUpstream
from support.ledger import Ledger
from support.proxy import run_proxy
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.certificates import Files
    from support.known_clients import Talker
    from support.processes import Programs
    from support.proxy import ProxyProcess

MOST_CONNECTIONS = 60
MOST_BYTES = 2000  # of a message
MOST_FAILURES = 2  # of the upstream of pool frail
PROBE_SECONDS, FALL = 0.5, 3
HANDSHAKE_SECONDS = 0.3
ONE_EACH = ("web", "faulty", "spare", "small", "frail")  # pools of one upstream that gets the work
POOLS = {  # route → pool
    "chat": "chat",
    "quiet": "chat",
    "limited": "chat",
    "web": "web",
    "faulty": "faulty",
    "nowhere": "nowhere",
    "spare": "spare",
    "small": "small",
    "frail": "frail",
}


@attrs.define(eq=False)
class KnownProxy:
    """A proxy, its clients' view of it, its upstreams, and what nobody listens at."""

    process: ProxyProcess
    site: Site
    ledger: Ledger
    tables: dict[str, Any]
    alpha: KnownUpstream  # of pool chat, with weight 2
    beta: KnownUpstream
    closed: str
    nursery: trio.Nursery
    held: list[Talker] = attrs.Factory(list)
    down_seconds: float = 0.0  # how long upstreams were dead
    exhausted: float = 0.0  # for how long it could not accept
    reloaded: float = 0.0  # just before the last reload, in Unix time

    async def pids(self) -> dict[str, int]:
        """Process ids by worker; of the process beside several workers, too."""
        if self.tables["server"]["workers"] == 1:
            return {"0": self.process.program.pid}
        processes = (await self.process.status())["processes"]
        return {"supervisor": self.process.program.pid, **{str(one["worker"]): one["pid"] for one in processes}}

    async def has(self, *, tunnels: int, connections: int) -> None:
        """Until so much is open."""

        async def look() -> bool:
            status = await self.process.status()
            return (status["tunnels"], status["connections"]) == (tunnels, connections)

        await wait_until(look, f"{tunnels} tunnels, {connections} connections")

    async def in_state(self, upstream: KnownUpstream, state: str) -> None:
        """Until it is taken for that: asked for in the status, as to read all metrics again and again is work."""

        async def look() -> bool:
            pools = (await self.process.status())["pools"]
            return state in {
                each["state"] for pool in pools for each in pool["upstreams"] if each["address"] == upstream.address
            }

        await wait_until(look, f"{upstream.address} {state}")

    def said(self, event: str, more: str = "") -> int:
        """How many lines of this event the log has, with these words in them."""
        return sum(f'"event": "{event}"' in line and more in line for line in self.process.program.err.seen)

    async def reload(self, tables: dict[str, Any], result: str) -> None:
        """Another configuration and SIGHUP; until that has come to this result, and counted."""
        before = self.said("reload", f'"result": "{result}"')
        self.process.write(tables)
        self.process.program.signal(signal.SIGHUP)
        await wait_until(lambda: self.said("reload", f'"result": "{result}"') > before, f"a reload {result}")
        self.ledger.add("config_reloads_total", result=result)

    async def rest(self, tunnels: int = 0) -> float:
        """Until nothing is open but so many tunnels; that moment in Unix time."""
        await self.has(tunnels=tunnels, connections=tunnels)
        self.site.settle()
        return time.time()


def tables_of(workers: int, upstreams: dict[str, str], files: Files) -> dict[str, Any]:
    """The configuration; `upstreams` are addresses by name, `files` the certificate of a listener that nobody uses."""
    health = {"probe": "http", "path": "/health", "interval": PROBE_SECONDS, "timeout": PROBE_SECONDS, "fall": FALL}
    none = {"probe": "none"}
    more: dict[str, dict[str, Any]] = {
        "chat": {"websocket": {"ping_interval": 1}},
        "quiet": {"websocket": {"max_message_bytes": MOST_BYTES}},
        "limited": {"allowed_origins": ["https://good.test"]},
        "faulty": {"timeouts": {"handshake": HANDSHAKE_SECONDS, "response": HANDSHAKE_SECONDS}},
    }
    return {
        "server": {"workers": workers, "drain": {"lame_duck": 0, "spread": 0, "timeout": 30}},
        "admin": {"address": "127.0.0.1:0", "chaos": True},
        "log": {"format": "json", "level": "debug"},
        "timeouts": {"close": 30},
        "limits": {"max_connections": MOST_CONNECTIONS},
        "listeners": [
            {"name": "public", "address": "127.0.0.1:0"},
            {"name": "secure", "address": "127.0.0.1:0", "tls": attrs.asdict(files)},
        ],
        "routes": [
            {"name": name, "path": f"/{name}", "pool": pool, **more.get(name, {})} for name, pool in POOLS.items()
        ],
        "pools": {
            "chat": {
                "upstreams": [{"address": upstreams["alpha"], "weight": 2}, {"address": upstreams["beta"]}],
                "health": {**health, "rise": 1},
            },
            "web": {"upstreams": [upstreams["web"]], "health": {**none}},
            "faulty": {"upstreams": [upstreams["faulty"]], "health": {**none}},
            "nowhere": {"upstreams": [upstreams["closed"]], "health": {**none}},
            "small": {"upstreams": [{"address": upstreams["small"], "max_connections": 1}], "health": {**none}},
            "frail": {
                "upstreams": [upstreams["frail"], {"address": upstreams["frail's"], "backup": True}],
                "health": {**none},
                "passive": {"max_failures": MOST_FAILURES, "window": 60, "eject": 0.5},
            },
            "spare": {
                "upstreams": [{"address": upstreams["closed"]}, {"address": upstreams["spare"], "backup": True}],
                "health": {**none},
            },
        },
    }


@asynccontextmanager
async def known_proxy(programs: Programs, *, workers: int = 1) -> AsyncIterator[KnownProxy]:
    """One that runs."""
    ledger, pools = Ledger(), {"alpha": "chat", "beta": "chat", "frail's": "frail", **{each: each for each in ONE_EACH}}
    with socket.socket() as taken:  # bound, but nobody listens: a connect is refused
        taken.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{taken.getsockname()[1]}"
        async with trio.open_nursery() as nursery:
            servers = {name: KnownUpstream(ledger, pool, nursery) for name, pool in pools.items()}
            for server in servers.values():
                await server.start()
            addresses = {name: server.address for name, server in servers.items()}
            files = authority(Path(mkdtemp(dir=programs.folder))).issue("a.test")
            tables = tables_of(workers, {"closed": closed, **addresses}, files)
            process = await run_proxy(programs, tables)
            site = Site(process.address, ledger, POOLS)
            known = KnownProxy(process, site, ledger, tables, servers["alpha"], servers["beta"], closed, nursery)
            for server in (known.alpha, known.beta):
                await known.in_state(server, "up")  # a first probe may have been too slow
            yield known
            nursery.cancel_scope.cancel()
