"""A proxy that runs already: found, asked what it counts, and left as it is.

Those that are started for a run are `proxies`' and `peers`'.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio
from trio_websocket import ConnectionClosed, HandshakeError, wrap_client_stream

from trioproxy.chaos.proxies import ProxyError, counted
from trioproxy.chaos.servers import listens
from trioproxy.remote import Remote, reachable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from trioproxy.chaos.scenario import Scenario

FIND_SECONDS: Final = 30.0  # for its probes to have found the hops
_LOOK_AGAIN: Final = 0.25
_NOT_OURS: Final = "the proxy at proxy.address was not started here"


@attrs.define(eq=False)
class RunningProxy:
    """The proxy at `address`; with `remote` its admin, a trioproxy's. See `proxies.UnderTest`."""

    address: tuple[str, int]
    remote: Remote | None = None
    path: str = "/"  # where a tunnel can be had
    _upstreams: Sequence[str] = attrs.field(default=(), init=False)
    _before: Mapping[str, float] = attrs.field(factory=dict, init=False)

    async def start(self, upstreams: Sequence[str]) -> None:
        """See `UnderTest`: until it has found these, which may not have been there before. Raises ProxyError."""
        self._upstreams = upstreams
        if not await listens(self.address):
            host, port = self.address
            raise ProxyError(f"nothing listens at proxy.address {host}:{port}")
        if self.remote is not None:
            await self._until_up()
            counts = counted(await self._rows())
            self._before = {name: count for name, count in counts.items() if name != "open_tunnels"}
        elif upstreams:
            await self._until_open()

    async def _until_up(self) -> None:
        for address in self._upstreams:
            if not any(row["address"] == address for row in await self._rows()):
                raise ProxyError(f"the proxy at proxy.address has no upstream {address}, where a hop is")
        with trio.move_on_after(FIND_SECONDS):
            while down := [row["address"] for row in await self._rows() if self._upstreams and row["state"] != "up"]:
                await trio.sleep(_LOOK_AGAIN)
            return
        raise ProxyError(f"after {FIND_SECONDS:g} s the proxy at proxy.address has not found {', '.join(down)} up")

    async def _until_open(self) -> None:
        with trio.move_on_after(FIND_SECONDS):
            while not await self._opens():
                await trio.sleep(_LOOK_AGAIN)
            return
        raise ProxyError(f"after {FIND_SECONDS:g} s the proxy at proxy.address opens no tunnel at {self.path}")

    async def _opens(self) -> bool:
        opened = False
        host, port = self.address
        try:
            stream = await trio.open_tcp_stream(host, port)
        except OSError:
            return False
        async with stream:  # trio-websocket leaves it open where the handshake fails, and raises groups
            try:
                async with trio.open_nursery() as nursery:
                    websocket = await wrap_client_stream(nursery, stream, f"{host}:{port}", self.path)
                    opened = True
                    await websocket.aclose()
                    nursery.cancel_scope.cancel()
            except* (HandshakeError, ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
                pass
        return opened

    async def _rows(self) -> Sequence[Any]:
        """What its status says of each upstream that is a hop; of all where there are none."""
        assert self.remote is not None  # noqa: S101 - asked before
        status = await trio.to_thread.run_sync(self.remote.status, abandon_on_cancel=True)
        rows = [row for pool in status["pools"] for row in pool["upstreams"]]
        return [row for row in rows if not self._upstreams or row["address"] in self._upstreams]

    async def counts(self) -> Mapping[str, float]:
        """See `UnderTest`: since the start, and of hops alone where there are some."""
        if self.remote is None:
            return {}
        now = counted(await self._rows())
        return {name: count - self._before.get(name, 0) for name, count in now.items()}

    async def drain_upstream(self, number: int) -> None:
        """See `faults.base.Proxy`: in every pool that has it."""
        for pool in await self._pools(number):
            await trio.to_thread.run_sync(self._admin.drain, pool, self._upstreams[number], {})

    async def resume_upstream(self, number: int) -> None:
        """See `faults.base.Proxy`."""
        for pool in await self._pools(number):
            await trio.to_thread.run_sync(self._admin.resume, pool, self._upstreams[number])

    async def inject(self, number: int, verb: str, settings: Mapping[str, object]) -> None:
        """See `faults.base.Proxy`: in every pool that has it."""
        for pool in await self._pools(number):
            await trio.to_thread.run_sync(self._admin.inject, verb, pool, self._upstreams[number], settings)

    async def stop_injecting(self) -> None:
        """See `faults.base.Proxy`."""
        await trio.to_thread.run_sync(self._admin.stop_faults)

    async def _pools(self, number: int) -> Sequence[str]:
        status = await trio.to_thread.run_sync(self._admin.status)
        address = self._upstreams[number]
        return [pool["name"] for pool in status["pools"] if any(row["address"] == address for row in pool["upstreams"])]

    @property
    def _admin(self) -> Remote:
        if self.remote is None:
            raise ProxyError(f"{_NOT_OURS}, and proxy.admin does not say how it is told anything")
        return self.remote

    async def reload(self, changes: Mapping[str, object]) -> None:  # noqa: ARG002 - of none is any use
        """See `faults.base.Proxy`: no."""
        raise ProxyError(_NOT_OURS)

    def workers(self) -> Sequence[int]:
        """See `faults.base.Proxy`: no."""
        raise ProxyError(_NOT_OURS)

    def ports(self, worker: int) -> Collection[int]:  # noqa: ARG002
        """See `faults.base.Proxy`: no."""
        raise ProxyError(_NOT_OURS)

    async def replace(self) -> None:
        """See `faults.base.Proxy`: no."""
        raise ProxyError(_NOT_OURS)

    def limit_descriptors(self, spare: int | None) -> None:  # noqa: ARG002
        """See `faults.base.Proxy`: no."""
        raise ProxyError(_NOT_OURS)

    async def stop(self) -> int | None:
        """See `UnderTest`: nothing is stopped."""
        return None

    def errors(self) -> Sequence[str]:
        """See `UnderTest`: its log is not read."""
        return ()

    def close(self) -> None:
        """See `UnderTest`: nothing is closed."""


def running_proxy(scenario: Scenario) -> RunningProxy:
    """The one that a scenario names; reads the token. Raises ProxyError."""
    settings = scenario.proxy
    host, _, port = reachable(settings.address).rpartition(":")
    remote = None
    if settings.admin:
        try:
            token = Path(settings.token_file).read_bytes().strip() if settings.token_file else b""
        except OSError as error:
            raise ProxyError(f"{settings.token_file}: {error.strerror}") from None
        remote = Remote(reachable(settings.admin), token)
    return RunningProxy((host.strip("[]"), int(port)), remote, scenario.load.path)
