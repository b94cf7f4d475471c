"""How a probe can end: the closed set of results, and the errors of a peer sorted into it.

When to probe and what a result does to the upstream is `prober`'s work.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs
import trio

from trioproxy.errors import ProxyError, Reason, Source
from trioproxy.tls.layer import TlsError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DETAIL_CHARS = 200  # a log line, not an upstream's essay


class ProbeResult(StrEnum):
    """The `result` label of `trioproxy_probes_total`."""

    OK = "ok"
    TIMEOUT = "timeout"  # not over within `health.timeout`
    REFUSED = "refused"  # nobody listens
    UNREACHABLE = "unreachable"  # no route to it, or its name has no address
    RESET = "reset"  # it sent RST
    CLOSED = "closed"  # it closed where more was due
    STATUS = "status"  # it answered, with another status than expected
    TLS = "tls"  # no TLS handshake came about, or its certificate was not accepted
    INVALID = "invalid"  # what it sent breaks the rules of HTTP or WebSocket, or is too much
    SKIPPED = "skipped"  # this machine could not probe (out of descriptors): says nothing about the upstream
    ERROR = "error"  # a bug: the log has the traceback


_BY_REASON: Mapping[Reason, ProbeResult] = MappingProxyType(
    {
        Reason.TIMEOUT: ProbeResult.TIMEOUT,
        Reason.REFUSED: ProbeResult.REFUSED,
        Reason.UNREACHABLE: ProbeResult.UNREACHABLE,
        Reason.RESET: ProbeResult.RESET,
        Reason.CLOSED: ProbeResult.CLOSED,
        Reason.TLS: ProbeResult.TLS,
    }
)


@attrs.define(eq=False)
class ProbeFailed(Exception):  # noqa: N818 - a verdict on the upstream, no error of this program
    """Raised by a probe: the upstream failed it, and why, in a few words for the log."""

    result: ProbeResult
    detail: str

    def __str__(self) -> str:
        return f"{self.result}: {self.detail}"


def judge(error: BaseException) -> ProbeFailed | None:
    """The verdict an exception out of a probe stands for, or None where no upstream can be its cause."""
    match error:
        case ProbeFailed():
            return error
        case ProxyError(source=Source.PROXY):
            return ProbeFailed(ProbeResult.SKIPPED, str(error))
        case ProxyError():
            result = _BY_REASON.get(error.reason, ProbeResult.INVALID)
            return ProbeFailed(result, (error.detail or str(error))[:MAX_DETAIL_CHARS])
        case trio.BrokenResourceError():
            return broke(error, "the connection broke")
        case _:
            return None


def broke(error: trio.BrokenResourceError, otherwise: str) -> ProbeFailed:
    """The verdict where a connection broke: what TLS says of it, else `otherwise`."""
    if isinstance(error.__cause__, TlsError):
        return ProbeFailed(ProbeResult.TLS, str(error.__cause__)[:MAX_DETAIL_CHARS])
    return ProbeFailed(ProbeResult.RESET, otherwise)
