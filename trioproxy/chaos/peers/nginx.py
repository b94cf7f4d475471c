"""nginx in a run: Debian's build, configured as its WebSocket how-to and its upgrade how-to say.

What every peer's program has in common is `program`'s.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import resource
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from trioproxy.chaos.peers.program import Program, Running
from trioproxy.chaos.peers.settings import COMMON, ms, pool_of, remarks, understood
from trioproxy.chaos.processes import DescriptorLimits, children, local_ports
from trioproxy.chaos.proxies import NO_VERBS, POOL, ProxyError, laid_over
from trioproxy.chaos.servers import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from trioproxy.config import Config

PROGRAM: Final = Program("nginx", "-v", "apt install nginx-light")
_BROKEN: Final = re.compile(r"\[emerg\]|exited on signal (?!9\b)|exited with fatal code")
_NOTES: Final[Mapping[str, str]] = {
    f"pools.{POOL}.health": "has no probes; a request that fails tries the next upstream",
    "server.drain.spread": "has none: what a reload or an upgrade leaves open is cut together at drain.timeout",
    "server.drain.timeout": "holds for every reload, too (worker_shutdown_timeout)",
    "websocket.ping_interval": "sends no pings; TCP keepalive to upstreams instead",
    "websocket.ping_timeout": "sends no pings; TCP keepalive to upstreams instead",
    "timeouts.handshake": "has none of its own: proxy_read_timeout is that of the open tunnel",
}
# Which answers or failures of an upstream lead to the next one; "timeout" is that of the connect, too.
_NEXT: Final[Mapping[str, str]] = {
    "connect": "error timeout",
    "closed": "error",
    "5xx": "http_500 http_502 http_503 http_504",
}


def nginx_config(config: Config, folder: Path, drained: Collection[str] = ()) -> str:
    """nginx.conf for what a scenario asks of any proxy; the upstreams in `drained` get nothing new."""
    pool, timeouts = pool_of(config), config.timeouts
    # After max_fails it tries one request in each fail_timeout, and is content when that has ended. A tunnel does not
    # end, so that the server is all but lost; without, a refused connection leads to the next one at no cost.
    most = pool.passive.max_failures
    fails = f"max_fails={most} fail_timeout={math.ceil(pool.passive.eject)}s" if most else "max_fails=0"
    servers = "".join(
        f"        server {upstream.address} {fails}{' down' if upstream.address in drained else ''};\n"
        for upstream in pool.upstreams
    )
    most_open = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    words = dict.fromkeys(" ".join(_NEXT[each] for each in pool.retry_on).split())
    return f"""
{"user root;" if os.geteuid() == 0 else ""}         # so that a worker can use a folder that is root's alone
worker_processes {config.server.workers or "auto"};
worker_shutdown_timeout {ms(config.server.drain.timeout)};   # else an old worker stays as long as its last tunnel
pid {folder}/nginx.pid;
error_log {folder}/nginx.log notice;
events {{
    worker_connections {min(2 * config.limits.max_connections, most_open)};     # both sides of each
}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;

    map $http_upgrade $connection_upgrade {{
        default upgrade;
        ""      close;
    }}
    upstream {POOL} {{
        zone {POOL} 256k;                   # workers share what they found out
        {"least_conn;" if pool.balance == "least-connections" else ""}
{servers}    }}
    server {{
        listen {config.listeners[0].address};
        client_header_timeout {ms(timeouts.head)};
        keepalive_timeout {ms(timeouts.keep_alive)};
        location / {{
            proxy_pass http://{POOL};
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Real-IP $remote_addr;
            {f'proxy_set_header Via "1.1 {config.server.via}";' if config.server.via else ""}
            proxy_connect_timeout {ms(timeouts.connect)};
            proxy_read_timeout {ms(timeouts.tunnel_idle)};  # of the handshake and of the tunnel alike
            proxy_send_timeout {ms(timeouts.tunnel_idle)};
            proxy_next_upstream {" ".join(words) or "off"};
            proxy_next_upstream_tries {pool.attempts};
            {"proxy_socket_keepalive on;" if config.websocket.ping_interval else ""}
        }}
    }}
}}
"""


@attrs.define(eq=False)
class Nginx:
    """A master process of nginx and its workers; see `proxies.UnderTest`."""

    folder: Path
    settings: Mapping[str, Any]
    address: tuple[str, int] = attrs.field(init=False)
    _running: Running = attrs.field(init=False)
    _upstreams: Sequence[str] = attrs.field(default=(), init=False)
    _count: int = attrs.field(default=1, init=False)  # of workers
    _drained: set[str] = attrs.field(factory=set, init=False)
    _limits: DescriptorLimits = attrs.field(factory=DescriptorLimits, init=False)

    def __attrs_post_init__(self) -> None:
        self.address = (HOST, free_port())
        self._running = Running(self.folder / "nginx.log")

    @property
    def _words(self) -> tuple[str, ...]:
        return PROGRAM.path, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")

    @property
    def _master(self) -> int:
        return self._running.pids[-1]

    async def start(self, upstreams: Sequence[str]) -> None:
        """See `UnderTest`. As a daemon: one that is not cannot be upgraded (its own rule for SIGUSR2)."""
        self._upstreams = upstreams
        await self._write(self.settings)
        with trio.CancelScope(shield=True):  # what is a daemon and not noted would be left behind
            await self._running.command(*self._words)
            await self._running.until(
                self._has_begun, "without a process id"
            )  # its parent ends before it has noted that
        self._running.pids.append(self._pid())
        await self._running.until_listening(self.address)
        await self._running.until(self._has_workers, "without workers")  # it listens before it has them

    async def _has_begun(self) -> bool:
        return self._pid() != 0

    async def _has_workers(self) -> bool:
        return len(self.workers()) >= self._count

    async def _write(self, settings: Mapping[str, Any]) -> None:
        """A configuration that it has found good."""
        config = understood("{}:{}".format(*self.address), self._upstreams, settings)
        self._count = config.server.workers or os.cpu_count() or 1
        (self.folder / "nginx.conf").write_text(nginx_config(config, self.folder, self._drained), "utf-8")
        await self._running.command(*self._words, "-t", "-q")

    def _pid(self) -> int:
        """That of the newest master; 0 while there is none."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.folder / "nginx.pid").read_text("ascii"))
        return 0

    async def counts(self) -> Mapping[str, float]:
        """See `UnderTest`: it counts connections and requests, not tunnels."""
        return {}

    async def reload(self, changes: Mapping[str, object]) -> None:
        """See `faults.base.Proxy`: SIGHUP, and new workers."""
        self.settings = laid_over(self.settings, changes)
        await self._reload()

    async def _reload(self) -> None:
        await self._write(self.settings)
        before = set(self.workers())
        os.kill(self._master, signal.SIGHUP)

        async def renewed() -> bool:
            now = set(self.workers())
            return bool(now - before) and all(_takes_nothing_new(pid) for pid in now & before)

        await self._running.until(renewed, "with its old workers")

    async def drain_upstream(self, number: int) -> None:
        """See `faults.base.Proxy`: `down`, and a reload; its API for that is not in the open version."""
        self._drained.add(self._upstreams[number])
        await self._reload()

    async def resume_upstream(self, number: int) -> None:
        """See `faults.base.Proxy`."""
        self._drained.discard(self._upstreams[number])
        await self._reload()

    async def inject(self, number: int, verb: str, settings: Mapping[str, object]) -> None:  # noqa: ARG002
        """See `faults.base.Proxy`: it has nothing of the kind."""
        raise ProxyError(f"nginx: {NO_VERBS}")

    async def stop_injecting(self) -> None:
        """See `faults.base.Proxy`: none is on."""

    def workers(self) -> Sequence[int]:
        """See `faults.base.Proxy`."""
        return [pid for pid in children(self._master) if pid not in self._running.pids]

    def ports(self, worker: int) -> Collection[int]:
        """See `faults.base.Proxy`."""
        return local_ports(worker)

    async def replace(self) -> None:
        """See `faults.base.Proxy`: SIGUSR2, and SIGQUIT for the old master once the new one has workers."""
        old = self._master
        os.kill(old, signal.SIGUSR2)

        async def serves() -> bool:
            return self._pid() not in (0, old) and bool(children(self._pid()))

        await self._running.until(serves, "without a new master")
        self._running.pids.append(self._pid())
        os.kill(old, signal.SIGQUIT)

    def limit_descriptors(self, spare: int | None) -> None:
        """See `faults.base.Proxy`: for each of its workers."""
        if spare is None:
            self._limits.take_back()
        else:
            self._limits.leave(spare, self.workers())

    async def stop(self) -> int | None:
        """SIGTERM for every master; 1 where one does not end."""
        for pid in self._running.alive():
            os.kill(pid, signal.SIGTERM)
        return 0 if await self._running.ended(self._running.pids) else 1

    def errors(self) -> Sequence[str]:
        """See `UnderTest`."""
        return self._running.lines(_BROKEN)

    def close(self) -> None:
        """See `UnderTest`."""
        self._running.close()


def _takes_nothing_new(worker: int) -> bool:
    """Whether a worker has begun to shut down, as it says in its title; or has ended."""
    try:
        return b"shutting down" in Path(f"/proc/{worker}/cmdline").read_bytes()
    except OSError:
        return True


def nginx_remarks(settings: Mapping[str, Any]) -> Sequence[str]:
    """What of a scenario's settings it does not do as asked."""
    return remarks(settings, COMMON, _NOTES)
