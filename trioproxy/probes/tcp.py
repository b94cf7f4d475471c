"""The probe `tcp`: the upstream accepts a connection, and shakes hands where it is to speak TLS.

Both are `prober`'s work, so nothing is left to do here but to part from TLS properly.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from trioproxy.probes.result import ProbeResult, broke
from trioproxy.tls.stream import TlsStream

if TYPE_CHECKING:
    from trioproxy.config import HealthConfig

MAX_BYTES: Final = 64 * 1024  # that are read away of what an upstream says unasked


async def probe_tcp(stream: trio.abc.Stream, health: HealthConfig, host: str) -> None:  # noqa: ARG001 - as the others
    """Pass: that there is a stream is the proof. Raises ProbeFailed where the other end objects to our side of TLS."""
    if isinstance(stream, TlsStream):
        now = trio.current_time()
        with trio.move_on_at(now + (trio.current_effective_deadline() - now) / 2):
            await _part(stream)


async def _part(stream: TlsStream) -> None:
    """Say that it is over, and read what it sent by then: closed with that unread, it would see a reset.

    It sends tickets for sessions to come, or an alert: that it wants a certificate of ours it can say only now.
    """
    with suppress(trio.BrokenResourceError):  # who has gone may have said why: that can be read still
        await stream.send_eof()
    try:
        left = MAX_BYTES
        while left > 0 and (data := await stream.receive_some(left)):
            left -= len(data)
    except trio.BrokenResourceError as error:
        failure = broke(error, "")
        if failure.result is ProbeResult.TLS:  # an upstream that resets what is over has shaken hands all the same
            raise failure from None
