"""What the admin may see of a proxy and have it do: the seam between the endpoints and whoever carries commands out.

`app` asks here and nowhere else. One process answers itself (`trioproxy.control`), a supervisor asks its workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trioproxy.config import Config
    from trioproxy.live import Feed
    from trioproxy.metrics import Metrics
    from trioproxy.verbs import Order


TUNNEL_FILTERS: Final = ("pool", "upstream", "route", "client", "listener")  # what `tunnels(where=...)` may name
MAX_CONNECTIONS: Final = 100  # a browser, some scrapers, scripts: more is somebody holding descriptors


@attrs.define(eq=False)
class Unknown(Exception):  # noqa: N818 - said of a name, which is no error of the program
    """There is no such thing, `what` being its kind; `known` are those there are, empty where they are not told."""

    what: str
    name: str
    known: Sequence[str] = ()

    def __str__(self) -> str:
        known = f"; there are: {', '.join(self.known)}" if self.known else ""
        return f"no {self.what} {self.name!r}{known}"


@attrs.define(eq=False)
class NotNow(Exception):  # noqa: N818 - said of the proxy's state, which is no error of the program
    """It cannot be done as the proxy stands; `why` in words for people."""

    why: str

    def __str__(self) -> str:
        return self.why


class Chaos(Protocol):
    """The chaos verbs: faults on purpose. Whether they are allowed is the endpoints' to ask."""

    def active(self) -> list[dict[str, Any]]:
        """The faults that are on, the oldest first; each as `inject` answers."""
        ...

    async def inject(self, order: Order) -> dict[str, Any]:
        """Do it: choose tunnels out of those of all processes, or draw for upgrades, until its time is over.

        Returns when it has begun: `id`, what the order says, `remaining_seconds`, and `tunnels` (so many were chosen)
        with `of`, or `handshakes` (so many were refused so far). Raises Unknown, and NotNow in a drain.
        """
        ...

    async def stop(self, asked_by: str) -> list[dict[str, Any]]:
        """End all of them; what they were, as `active`."""
        ...


class Control(Protocol):
    """What the admin endpoints may see of the proxy and have it do.

    What is async may wait for other processes. Every result is made of what JSON has; times are seconds.
    """

    @property
    def config(self) -> Config:
        """The configuration in force."""
        ...

    @property
    def metrics(self) -> Metrics:
        """The counters."""
        ...

    @property
    def live(self) -> Feed:
        """What happens from second to second."""
        ...

    @property
    def chaos(self) -> Chaos:
        """Faults on purpose."""
        ...

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether new traffic is wanted, and the answer of /readyz. Waits for nobody: it is asked when others hang."""
        ...

    async def status(self) -> dict[str, Any]:
        """The answer of /api/status."""
        ...

    async def tunnels(self, *, after: str, limit: int, where: Mapping[str, str]) -> dict[str, Any]:
        """`{"total": n, "tunnels": [...]}`: the first `limit` open tunnels behind the id `after` ("": from the start).

        In the order of `tunnel_list.order`. `where` leaves only those whose fields have these values, `total` counts
        all of those.
        """
        ...

    async def drain_upstream(
        self,
        pool: str,
        address: str,
        *,
        spread: float,
        timeout: float,  # noqa: ASYNC109 - the drain takes it, not the call
    ) -> dict[str, Any]:
        """Give an upstream no new work, close its tunnels over `spread` seconds, cut what is left after `timeout`.

        A second drain replaces the first. Returns at once: `pool`, `upstream`, `state`, what is to end (`active`, the
        leases, and `tunnels`, those among them), and the `spread` and `timeout` in force. Raises Unknown.
        """
        ...

    async def resume_upstream(self, pool: str, address: str) -> dict[str, Any]:
        """Take a drained upstream back, also in the middle of its drain; one that is not drained stays as it is.

        Returns `pool`, `upstream`, `state`, `active`, `tunnels`. Raises Unknown.
        """
        ...

    async def close_tunnel(self, tunnel: str, code: int) -> dict[str, Any]:
        """Ask the tunnel of this id to close, politely, with this code to its client.

        Returns `id` and `code`. Raises Unknown.
        """
        ...
