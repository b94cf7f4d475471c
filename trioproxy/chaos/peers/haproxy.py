"""HAProxy in a run: in master-worker mode as Debian's unit starts it, commanded over its runtime socket.

What every peer's program has in common is `program`'s.
"""

from __future__ import annotations

import csv
import os
import re
import resource
import signal
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from trioproxy.chaos.peers.program import Program, Running
from trioproxy.chaos.peers.settings import COMMON, PROBE_KEY, ms, pool_of, remarks, understood
from trioproxy.chaos.processes import DescriptorLimits, children, handles
from trioproxy.chaos.proxies import NO_VERBS, POOL, ProxyError, laid_over
from trioproxy.chaos.servers import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from trioproxy.config import Config, PoolConfig

PROGRAM: Final = Program("haproxy", "-v", "apt install haproxy")
LACKS: Final[Mapping[str, str]] = {
    "worker-kill": "its workers are threads of one process, with which all of it ends",
}
_BROKEN: Final = re.compile(r"exited with code 13[24569]\b|FATAL|BUG ")  # by a signal of its own making
_NOTES: Final[Mapping[str, str]] = {
    "server.workers": "threads of one process",
    "server.drain.spread": "spread by closing one session after the other; without a Close frame",
    "server.drain.timeout": "holds for every reload, too (hard-stop-after)",
    "websocket.ping_interval": "sends no pings; TCP keepalive, and sessions end when a probe finds their server down",
    "websocket.ping_timeout": "sends no pings; TCP keepalive, and sessions end when a probe finds their server down",
}
_TAKEN: Final = COMMON | {"timeouts.handshake", "timeouts.close"} | {
    f"pools.{POOL}.{key}" for key in ("health", "slow_start", "queue_timeout")
}  # fmt: skip
_RETRY: Final[Mapping[str, str]] = {
    "connect": "conn-failure",
    "closed": "empty-response",
    "5xx": "500 502 503 504",
}
NO_STATE: Final = "1\n"  # of servers, as it writes it: the version of the format
_DESCRIPTORS: Final = 200  # for all that is no connection


def haproxy_config(config: Config, folder: Path) -> str:
    """haproxy.cfg for what a scenario asks of any proxy."""
    pool, timeouts, drain = pool_of(config), config.timeouts, config.server.drain
    # It refuses to start where both sides of so many connections are above the limit of descriptors.
    most = (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - _DESCRIPTORS) // 2
    servers = "".join(f"    server s{n} {upstream.address}\n" for n, upstream in enumerate(pool.upstreams))
    return f"""
global
    log stdout format raw local0
    nbthread {config.server.workers or os.cpu_count()}
    maxconn {min(config.limits.max_connections, most)}
    stats socket {folder}/admin.sock mode 600 level admin expose-fd listeners
    server-state-file {folder}/servers.state   # so that what was drained stays drained when it is reloaded
    hard-stop-after {ms(drain.timeout)}          # else an old process stays as long as its last tunnel
    {f"close-spread-time {ms(drain.spread)}" if drain.spread else ""}

defaults
    mode http
    log global
    option httplog
    load-server-state-from-file global
    option redispatch 1                     # a retry goes to another server at once
    retries {pool.attempts - 1}
    retry-on {" ".join(_RETRY[each] for each in pool.retry_on) or "none"}
    timeout http-request {ms(timeouts.head)}
    timeout connect {ms(timeouts.connect)}
    timeout server {ms(timeouts.handshake)}          # until the 101; the tunnel has its own
    timeout client {ms(timeouts.keep_alive)}
    timeout http-keep-alive {ms(timeouts.keep_alive)}
    timeout tunnel {ms(timeouts.tunnel_idle)}
    timeout client-fin {ms(timeouts.close)}          # of a client that vanishes while its tunnel ends
    timeout queue {ms(pool.queue_timeout)}
{_keepalive(config)}

frontend public
    bind {config.listeners[0].address}
    default_backend {POOL}

backend {POOL}
    balance {"leastconn" if pool.balance == "least-connections" else "roundrobin"}
    option forwardfor
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Real-IP %[src]
    {f'http-request set-header Via "1.1 {config.server.via}"' if config.server.via else ""}
{_probe(pool)}
{_servers(config)}
{servers}"""


def _keepalive(config: Config) -> str:
    if not config.websocket.ping_interval:
        return ""
    seconds = max(1, round(config.websocket.ping_interval))
    return f"    option srvtcpka\n    srvtcpka-idle {seconds}s\n    srvtcpka-intvl {seconds}s"


def _servers(config: Config) -> str:
    """What holds for each of them."""
    pool = pool_of(config)
    health, most = pool.health, pool.passive.max_failures
    words = []
    if health.probe != "none":
        words.append(f"check inter {ms(health.interval)} fall {health.fall} rise {health.rise}")
    # Without pings, this is how it gets those away who talk to a server that has vanished.
    if config.websocket.ping_interval or health.on_down == "close":
        words.append("on-marked-down shutdown-sessions")
    if most:
        words.append(f"observe layer7 error-limit {most} on-error mark-down")
    if pool.slow_start:
        words.append(f"slowstart {ms(pool.slow_start)}")
    return f"    default-server {' '.join(words)}" if words else ""


def _probe(pool: PoolConfig) -> str:
    health = pool.health
    if health.probe in {"none", "tcp"}:
        return f"    timeout check {ms(health.timeout)}"
    fields = {"Host": health.host or POOL, **health.headers}
    statuses = ",".join(map(str, health.expect))
    if health.probe == "websocket":
        fields |= {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        fields |= {"Sec-WebSocket-Key": PROBE_KEY}
        statuses = "101"
    sent = " ".join(f'hdr {name} "{value}"' for name, value in fields.items())
    return f"""    timeout check {ms(health.timeout)}
    option httpchk
    http-check send meth GET uri {health.path} ver HTTP/1.1 {sent}
    http-check expect status {statuses}"""


@attrs.define(eq=False)
class HAProxy:
    """A master process and its one worker; see `proxies.UnderTest`."""

    folder: Path
    settings: Mapping[str, Any]
    address: tuple[str, int] = attrs.field(init=False)
    _running: Running = attrs.field(init=False)
    _config: Config | None = attrs.field(default=None, init=False)
    _upstreams: Sequence[str] = attrs.field(default=(), init=False)
    _reloaded: bool = attrs.field(default=False, init=False)
    _limits: DescriptorLimits = attrs.field(factory=DescriptorLimits, init=False)

    def __attrs_post_init__(self) -> None:
        self.address = (HOST, free_port())
        self._running = Running(self.folder / "haproxy.log")

    @property
    def _file(self) -> str:
        return str(self.folder / "haproxy.cfg")

    async def start(self, upstreams: Sequence[str]) -> None:
        """See `UnderTest`."""
        self._upstreams = upstreams
        (self.folder / "servers.state").write_text(NO_STATE, "ascii")
        await self._write(self.settings)
        self._running.pids.append(self._running.spawn(PROGRAM.path, "-Ws", "-f", self._file).pid)
        await self._running.until_listening(self.address)
        await self._running.until(self._answers, "without a runtime socket")

    async def _write(self, settings: Mapping[str, Any]) -> None:
        """A configuration that it has found good."""
        self._config = understood("{}:{}".format(*self.address), self._upstreams, settings)
        (self.folder / "haproxy.cfg").write_text(haproxy_config(self._config, self.folder), "utf-8")
        await self._running.command(PROGRAM.path, "-c", "-q", "-f", self._file)

    async def _ask(self, command: str) -> str:
        """What the runtime socket answers. Raises ProxyError."""
        try:
            stream = await trio.open_unix_socket(str(self.folder / "admin.sock"))
            async with stream:
                await stream.send_all(f"{command}\n".encode())
                return b"".join([data async for data in stream]).decode(errors="replace")
        except (OSError, trio.BrokenResourceError) as error:
            raise ProxyError(f"haproxy's runtime socket: {error}") from None

    async def counts(self) -> Mapping[str, float]:
        """See `UnderTest`; nothing where it was reloaded, as what the old process counted went with it."""
        if self._reloaded:
            return {}
        try:
            table = await self._ask("show stat")
        except ProxyError:
            return {}
        rows = [row for row in csv.DictReader(table.removeprefix("# ").splitlines()) if row["pxname"] == POOL]
        servers = [row for row in rows if row["svname"] not in {"FRONTEND", "BACKEND"}]
        return {
            "tunnels": sum(int(row["hrsp_1xx"]) for row in servers),
            "open_tunnels": sum(int(row["scur"]) for row in servers),
        }

    async def reload(self, changes: Mapping[str, object]) -> None:
        """See `faults.base.Proxy`: SIGUSR2, with which the master starts anew and takes a new worker."""
        self.settings = laid_over(self.settings, changes)
        await self._write(self.settings)
        await self.replace()

    async def replace(self) -> None:
        """See `faults.base.Proxy`: as a reload, in which the program itself is read again, too."""
        self._reloaded = True
        before = await self._worker()
        (self.folder / "servers.state").write_text(await self._ask("show servers state"), "utf-8")
        # A master that has only just begun ignores it.
        await self._running.until(self._heeds_reloads, "ignoring SIGUSR2")
        os.kill(self._running.pids[-1], signal.SIGUSR2)

        async def renewed() -> bool:
            try:
                return await self._worker() != before
            except ProxyError:
                return False

        await self._running.until(renewed, "without a new worker")

    async def _answers(self) -> bool:
        try:
            return bool(await self._worker())
        except ProxyError:
            return False

    async def _heeds_reloads(self) -> bool:
        return handles(self._running.pids[-1], signal.SIGUSR2)

    async def _worker(self) -> int:
        found = re.search(r"^Pid: (\d+)$", await self._ask("show info"), re.MULTILINE)
        if found is None:
            raise ProxyError("haproxy's runtime socket does not tell the worker's process id")
        return int(found[1])

    async def drain_upstream(self, number: int) -> None:
        """See `faults.base.Proxy`: nothing new, and one session closed after the other over the time of a drain."""
        await self._ask(f"set server {POOL}/s{number} state drain")
        told = (await self._ask("show sess")).splitlines()
        sessions = [line.partition(":")[0] for line in told if f" be={POOL} srv=s{number} " in line]
        spread = self._config.server.drain.spread if self._config else 0
        for session in sessions:
            await trio.sleep(spread / len(sessions))
            await self._ask(f"shutdown session {session}")

    async def resume_upstream(self, number: int) -> None:
        """See `faults.base.Proxy`."""
        await self._ask(f"set server {POOL}/s{number} state ready")

    async def inject(self, number: int, verb: str, settings: Mapping[str, object]) -> None:  # noqa: ARG002
        """See `faults.base.Proxy`: it has nothing of the kind."""
        raise ProxyError(f"haproxy: {NO_VERBS}")

    async def stop_injecting(self) -> None:
        """See `faults.base.Proxy`: none is on."""

    def workers(self) -> Sequence[int]:
        """See `faults.base.Proxy`: threads cannot be killed."""
        raise ProxyError(f"haproxy: {LACKS['worker-kill']}")

    def ports(self, worker: int) -> Collection[int]:  # noqa: ARG002 - there is none
        """See `faults.base.Proxy`."""
        raise ProxyError(f"haproxy: {LACKS['worker-kill']}")

    def limit_descriptors(self, spare: int | None) -> None:
        """See `faults.base.Proxy`: for its worker."""
        if spare is None:
            self._limits.take_back()
        else:
            self._limits.leave(spare, children(self._running.pids[-1]))

    async def stop(self) -> int | None:
        """SIGTERM; 143 is how it says that it has obeyed."""
        for pid in self._running.alive():
            os.kill(pid, signal.SIGTERM)
        ended = await self._running.ended(self._running.pids)
        return 0 if ended and self._running.worst in {0, 128 + signal.SIGTERM} else 1

    def errors(self) -> Sequence[str]:
        """See `UnderTest`."""
        return self._running.lines(_BROKEN)

    def close(self) -> None:
        """See `UnderTest`."""
        self._running.close()


def haproxy_remarks(settings: Mapping[str, Any]) -> Sequence[str]:
    """What of a scenario's settings it does not do as asked."""
    return remarks(settings, _TAKEN, _NOTES)
