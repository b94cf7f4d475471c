"""One request being served: the client it came from, its head, where it is routed, the record kept of it.

Only what plain requests and upgrades share; serving them is `forward`'s and `upgrade`'s work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trioproxy.rewriting import upstream_fields
from trioproxy.routing import rewrite_target
from trioproxy.wire.http1 import request_head

if TYPE_CHECKING:
    from collections.abc import Collection

    from trioproxy.client import Client
    from trioproxy.config import RouteConfig
    from trioproxy.context import Context
    from trioproxy.record import Record
    from trioproxy.upstreams import Pool, Upstream
    from trioproxy.wire.headers import Field
    from trioproxy.wire.http1 import RequestHead


@attrs.define(eq=False)
class Exchange:
    """A routed request. It owns neither the client's connection nor the upstream's."""

    context: Context
    client: Client
    head: RequestHead
    route: RouteConfig
    pool: Pool
    record: Record

    def upstream_head(self, upstream: Upstream, *, framing: Collection[Field] = ()) -> bytes:
        """The head as it goes to `upstream`, with the hop-by-hop fields in `framing` added."""
        address = self.client.address
        fields = upstream_fields(
            self.head,
            self.route,
            client="" if address == "unix" else address,
            real_client=self._real_client() if self.client.trusted else "",
            scheme=self.client.scheme,
            trusted=self.client.trusted,
            via=self.context.config.server.via,
            upstream=upstream.address,
            request_id=self.client.request_id,
            framing=framing,
        )
        return request_head(self.head.method, rewrite_target(self.route, self.head.target), fields)

    def _real_client(self) -> str:
        """What X-Real-IP says, where a trusted proxy has not said it."""
        found = self.client.real_address(self.head.headers)
        return "" if found == "unix" else found
