"""What is known of one request or tunnel, gathered while it lives: the source of its log lines and counters.

Nothing but fields: `connection` and the modules below it fill them in, `access_log` turns them into lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from trioproxy.counts import TunnelCounts
    from trioproxy.errors import Ending


@attrs.define(eq=False, kw_only=True)
class Record:
    """One request or tunnel. Text is decoded and safe for labels only where it comes from the configuration.

    `""`, 0 and None stand for "not known (yet)" or "never came so far"; durations are in seconds.
    """

    id: str = ""
    request_id: str = ""  # an X-Request-Id of the client's own that was kept
    client: str = ""  # the IP address of whoever connected, or "unix"
    listener: str = ""
    tls: str = ""  # the version that the client speaks, such as TLSv1.3
    route: str = ""
    pool: str = ""
    upstream: str = ""
    kind: str = ""  # "http" or "websocket"; "" while the head is not read
    method: str = ""
    path: str = ""  # without the query
    host: str = ""
    user_agent: str = ""
    origin: str = ""
    status: int = 0  # what the client was answered, 101 for a tunnel
    subprotocol: str = ""
    attempts: int = 0  # upstreams tried
    head_s: float = 0.0  # first read of the head to the last; 0 where one was enough
    queue_s: float = 0.0  # waiting for a lease
    connect_s: float = 0.0  # the attempt that succeeded
    handshake_s: float = 0.0  # upgrade sent to the upstream until its answer's head was read
    duration_s: float = 0.0  # the whole request or tunnel
    injected: str = ""  # the last chaos verb that touched it
    tunnel: TunnelCounts | None = None  # set once it is open
    ending: Ending | None = None
