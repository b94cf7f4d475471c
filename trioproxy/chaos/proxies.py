"""The proxy under test: how it is configured for a run, started, commanded and ended.

trioproxy itself is here; the others stand in `peers`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
import trio

from trioproxy.chaos.faults.base import Proxy
from trioproxy.chaos.processes import DescriptorLimits, children, local_ports
from trioproxy.chaos.servers import HOST, keep_port, listens
from trioproxy.config_show import toml_key, toml_value
from trioproxy.remote import Remote, RemoteError

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

POOL: Final = "backend"
COMMAND: Final = (sys.executable, "-m", "trioproxy")
START_SECONDS: Final = 60.0  # what takes half a second may take twenty on a machine that has ten times its work
END_SECONDS: Final = 60.0
NO_VERBS: Final = "it injects no faults into its own tunnels"  # of proxies that are not ours
_LOOK_AGAIN: Final = 0.05
_BROKEN: Final = ("Traceback (most recent call last)", "internal")  # in a line of the log: a bug


class ProxyError(Exception):
    """A proxy that does not start, or that cannot be commanded in this way."""


class UnderTest(Proxy, Protocol):
    """A proxy in a run, and what a fault may ask of it."""

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect."""
        ...

    async def start(self, upstreams: Sequence[str]) -> None:
        """Start it in front of these; returns when it serves. Raises ProxyError."""
        ...

    async def counts(self) -> Mapping[str, float]:
        """What its metrics say: `tunnels`, `messages_to_upstream`, `messages_to_client`, and `open_tunnels` now.

        What they do not say is left out.
        """
        ...

    async def stop(self) -> int | None:
        """End it politely; its exit status, None for one that was not started here."""
        ...

    def errors(self) -> Sequence[str]:
        """Lines of its log that tell of a bug."""
        ...

    def close(self) -> None:
        """Kill what is left of it."""
        ...


def base_settings(listener: str, admin: str, upstreams: Sequence[str]) -> dict[str, Any]:
    """What a run begins with: one listener, one route, one pool, and probes that find out within seconds."""
    return {
        "server": {"drain": {"spread": 1, "timeout": 10}},
        "admin": {"address": admin},
        "listeners": [{"name": "public", "address": listener}],
        "routes": [{"name": "chaos", "path": "/", "pool": POOL}],
        "pools": {
            POOL: {
                "upstreams": list(upstreams),
                "health": {"probe": "websocket", "interval": 0.75, "timeout": 0.75, "rise": 1, "fall": 2},
            }
        },
    }


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings key by key; tables are merged, anything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = laid_over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def as_toml(settings: Mapping[str, Any]) -> str:
    """A configuration file of settings."""
    return "".join(f"{toml_key(key)} = {toml_value(value)}\n" for key, value in settings.items())


def counted(upstreams: Sequence[Any]) -> dict[str, float]:
    """What a trioproxy's status says of these upstreams, as `UnderTest.counts` has it."""
    counts: dict[str, float] = {
        "tunnels": sum(upstream["tunnels_total"] for upstream in upstreams),
        "open_tunnels": sum(upstream["tunnels"] for upstream in upstreams),
    }
    for way in ("to_upstream", "to_client"):
        counts[f"messages_{way}"] = sum(upstream["messages_total"][way] for upstream in upstreams)
    return counts


@attrs.define(eq=False)
class Trioproxy:
    """`trioproxy run` as a process, with a configuration file of its own in `folder`."""

    folder: Path
    settings: Mapping[str, Any]  # the scenario's, laid over `base_settings`
    command: Sequence[str] = COMMAND
    address: tuple[str, int] = attrs.field(init=False)
    _admin: str = attrs.field(init=False)
    _in_force: dict[str, Any] = attrs.field(factory=dict, init=False)
    _upstreams: Sequence[str] = attrs.field(default=(), init=False)
    _processes: list[subprocess.Popen[bytes]] = attrs.field(factory=list, init=False)  # the last one serves
    _replaced: bool = attrs.field(default=False, init=False)
    _limits: DescriptorLimits = attrs.field(factory=DescriptorLimits, init=False)

    _ports: Sequence[socket.socket] = attrs.field(init=False)  # kept for it, also while none of its processes listens

    def __attrs_post_init__(self) -> None:
        self._ports = keep_port(), keep_port()
        listener, admin = (sock.getsockname()[1] for sock in self._ports)
        self.address = (HOST, listener)
        self._admin = f"{HOST}:{admin}"

    @property
    def pid(self) -> int:
        """Of the process that serves."""
        return self._processes[-1].pid

    @property
    def _config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def _log(self) -> Path:
        return self.folder / "proxy.log"

    async def start(self, upstreams: Sequence[str]) -> None:
        """See `UnderTest`: until every upstream that is reachable has been probed."""
        self._upstreams = upstreams
        base = base_settings("{}:{}".format(*self.address), self._admin, upstreams)
        # What the run itself goes by, whatever configuration a scenario has taken over.
        ours = {
            "admin": {"address": self._admin, "chaos": True},
            "server": {"handover": str(self.folder / "handover.sock")},
            "log": {"format": "text", "level": "info", "file": ""},
        }
        self._in_force = laid_over(laid_over(base, self.settings), ours)
        self._config.write_text(as_toml(self._in_force), "utf-8")
        await self._spawn()

    async def _spawn(self) -> None:
        before = self._logged(" listening listener=public ")
        with self._log.open("ab") as log:
            self._processes.append(
                subprocess.Popen(  # noqa: S603, ASYNC220 - our own program
                    [*self.command, "run", "-c", str(self._config)], stdin=subprocess.DEVNULL, stderr=log
                )
            )
        with trio.move_on_after(START_SECONDS):
            # In a handover the old process serves until the new one does: its log tells which it is.
            while len(self._logged(" listening listener=public ")) == len(before) or not await self._serves():
                if self._processes[-1].poll() is not None:
                    raise ProxyError(f"trioproxy ended at once: {self._log.read_text('utf-8').strip()}")
                await trio.sleep(_LOOK_AGAIN)
            return
        raise ProxyError(f"trioproxy does not serve after {START_SECONDS:g} s")

    async def _serves(self) -> bool:
        try:
            return (await self._status())["state"] == "running" and await listens(self.address)
        except RemoteError:
            return False

    async def _status(self) -> Any:
        return await trio.to_thread.run_sync(Remote(self._admin).status, abandon_on_cancel=True)

    async def counts(self) -> Mapping[str, float]:
        """See `UnderTest`; nothing of a process that was replaced, as the old one's went with it."""
        if self._replaced:
            return {}
        return counted([upstream for pool in (await self._status())["pools"] for upstream in pool["upstreams"]])

    async def reload(self, changes: Mapping[str, object]) -> None:
        """See `faults.base.Proxy`; returns when the log tells how it went. Raises ProxyError where it went badly."""
        wanted = laid_over(self._in_force, changes)
        new = self._config.with_suffix(".new")
        new.write_text(as_toml(wanted), "utf-8")
        new.replace(self._config)
        before = len(self._logged(" reload "))
        self._processes[-1].send_signal(signal.SIGHUP)
        with trio.move_on_after(END_SECONDS):
            while len(lines := self._logged(" reload ")) == before:
                if self._processes[-1].poll() is not None:
                    raise ProxyError("trioproxy has ended and cannot be reloaded")
                await trio.sleep(_LOOK_AGAIN)
        if len(lines) == before:
            raise ProxyError(f"trioproxy does not reload within {END_SECONDS:g} s")
        if "result=applied" not in lines[-1]:
            raise ProxyError(f"the reload was refused: {lines[-1]}")
        self._in_force = wanted

    def _logged(self, *words: str) -> list[str]:
        """The lines of its log so far that have one of these words in them."""
        lines = self._log.read_text("utf-8").splitlines() if self._log.exists() else []
        return [line for line in lines if any(word in line for word in words)]

    async def drain_upstream(self, number: int) -> None:
        """See `faults.base.Proxy`."""
        await trio.to_thread.run_sync(Remote(self._admin).drain, POOL, self._upstreams[number], {})

    async def resume_upstream(self, number: int) -> None:
        """See `faults.base.Proxy`."""
        await trio.to_thread.run_sync(Remote(self._admin).resume, POOL, self._upstreams[number])

    async def inject(self, number: int, verb: str, settings: Mapping[str, object]) -> None:
        """See `faults.base.Proxy`."""
        await trio.to_thread.run_sync(Remote(self._admin).inject, verb, POOL, self._upstreams[number], settings)

    async def stop_injecting(self) -> None:
        """See `faults.base.Proxy`."""
        await trio.to_thread.run_sync(Remote(self._admin).stop_faults)

    def workers(self) -> Sequence[int]:
        """See `faults.base.Proxy`. Raises ProxyError where there is one process only."""
        found = children(self.pid)
        if not found:
            raise ProxyError("there are no worker processes: the scenario needs proxy.settings.server.workers above 1")
        return found

    def ports(self, worker: int) -> Collection[int]:
        """See `faults.base.Proxy`."""
        return local_ports(worker)

    async def replace(self) -> None:
        """See `faults.base.Proxy`."""
        self._replaced = True
        await self._spawn()

    def limit_descriptors(self, spare: int | None) -> None:
        """See `faults.base.Proxy`: for each of its processes."""
        if spare is None:
            self._limits.take_back()
        else:
            self._limits.leave(spare, [self.pid, *children(self.pid)])

    async def stop(self) -> int | None:
        """SIGTERM; the worst exit status of its processes."""
        worst = 0
        self._processes[-1].terminate()
        with trio.move_on_after(END_SECONDS):
            for process in self._processes:
                while process.poll() is None:
                    await trio.sleep(_LOOK_AGAIN)
                worst = max(worst, abs(process.returncode))
            return worst
        return 1

    def errors(self) -> Sequence[str]:
        """See `UnderTest`."""
        return self._logged(*_BROKEN)

    def close(self) -> None:
        """See `UnderTest`."""
        for process in self._processes:
            process.kill()
            process.wait()
        for sock in self._ports:
            sock.close()
