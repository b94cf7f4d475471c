"""What can go wrong, whose fault it is, what to answer, and whether another upstream may be tried.

Pure: it names failures and endings; turning operating system errors into them is `transport`'s work, answering is
`connection`'s.
"""

from __future__ import annotations

from enum import StrEnum

import attrs


class Source(StrEnum):
    """Who caused an ending: the `by` label of `trioproxy_endings_total`."""

    __hash__ = str.__hash__  # Enum's own is a Python function: a request is counted by three of these

    CLIENT = "client"
    UPSTREAM = "upstream"
    PROXY = "proxy"


class Phase(StrEnum):
    """How far the connection had come: the `phase` label of `trioproxy_endings_total`."""

    __hash__ = str.__hash__

    ACCEPT = "accept"  # before the first request: PROXY header, TLS handshake
    HEAD = "head"  # waiting for, or reading, a request head
    ROUTE = "route"  # finding the route, and the checks that need no upstream
    CONNECT = "connect"  # picking an upstream and connecting to it
    HANDSHAKE = "handshake"  # the upgrade
    REQUEST = "request"  # a plain request's body
    RESPONSE = "response"  # a plain request's answer
    TUNNEL = "tunnel"  # relaying frames
    CLOSE = "close"  # after the first Close frame, or after one side ended


class Reason(StrEnum):
    """Why: the `reason` label of `trioproxy_endings_total`."""

    __hash__ = str.__hash__

    DONE = "done"  # ended as it should: closing handshake over, answer sent
    CLOSED = "closed"  # the peer sent FIN where more was due
    RESET = "reset"  # the peer sent RST
    TIMEOUT = "timeout"  # a wait of `timeouts.*`, `queue_timeout` or `websocket.ping_timeout` ran out
    IDLE = "idle"  # no bytes for `timeouts.tunnel_idle` or `timeouts.keep_alive`
    STALLED = "stalled"  # a write made no progress
    INVALID = "invalid"  # breaks the rules of HTTP, of the upgrade or of the PROXY header
    PROTOCOL = "protocol"  # breaks the rules of WebSocket framing
    TOO_LARGE = "too_large"  # PROXY header, head, target, fields, body or message above a limit
    TOO_MANY = "too_many"  # messages, frames, upgrades or connections of one client above a rate or limit
    AGED = "aged"  # open for as long as `websocket.max_age` allows
    UNSUPPORTED = "unsupported"  # method, version or expectation this proxy does not serve
    NO_ROUTE = "no_route"  # no route leads anywhere for this host and path
    FORBIDDEN = "forbidden"  # Origin not among `allowed_origins`, or client kept out by `allow` and `deny`
    NO_UPSTREAM = "no_upstream"  # none is up, or none left to try
    FULL = "full"  # some are up, but hold as many leases as their `max_connections` allows
    REFUSED = "refused"  # connect refused; the upstream answered an upgrade with no 101
    TLS = "tls"  # no TLS handshake came about, a certificate was not accepted, or what came was tampered with
    UNREACHABLE = "unreachable"  # no route to host, network down, name without address
    OVERLOADED = "overloaded"  # above `limits.max_connections`, or what descriptors there are allow
    DRAINING = "draining"  # the proxy is shutting down, or the upstream taken out, politely
    OPERATOR = "operator"  # an operator had this tunnel closed
    REMOVED = "removed"  # a reload took away the listener, route or upstream of a tunnel, or led it elsewhere
    CHAOS = "chaos"  # a fault that an operator injected
    CUT = "cut"  # the drain deadline passed, or a second signal came
    INTERNAL = "internal"  # a bug: the log has the traceback


@attrs.frozen(weakref_slot=False)
class Ending:
    """Who ended a connection, in which phase, why; `detail` is for the log alone and never sent to a peer.

    Where `injected`, a fault that an operator injected made it look so: it is judged as what it looks like, and `told`
    as what it is.
    """

    by: Source
    phase: Phase
    reason: Reason
    detail: str = ""
    injected: bool = False

    @property
    def told(self) -> Ending:
        """As it is logged and counted."""
        if not self.injected:
            return self
        detail = f"as by {self.by}: {self.reason}" + (f", {self.detail}" if self.detail else "")
        return Ending(Source.PROXY, self.phase, Reason.CHAOS, detail)


@attrs.define(eq=False)
class ProxyError(Exception):
    """A failure with its consequences: what to answer (`status`) and whether another upstream may be tried.

    `retryable` speaks of the failure alone: that nothing reached an upstream, or that no answer byte came from it.
    Whether the request itself may be repeated is decided in `forward` and `upgrade`. `injected` is as in `Ending`.
    """

    source: Source
    phase: Phase
    reason: Reason
    status: int
    detail: str = ""
    retryable: bool = False
    retry_after: int = 0  # seconds, for a 503; 0 says nothing in particular
    injected: bool = False

    def __str__(self) -> str:
        what = f"{self.source} {self.phase} {self.reason}"
        return f"{what}: {self.detail}" if self.detail else what

    @property
    def ending(self) -> Ending:
        """The same failure as the ending of its connection."""
        return Ending(self.source, self.phase, self.reason, self.detail, self.injected)
