"""The probe `websocket`: the upstream upgrades, answers a ping with its pong, and is then closed politely.

trio-websocket speaks the protocol; it hangs where a peer goes away and raises its parsers' errors where one talks
nonsense, so a bounded stream under it and one table of its errors here turn both into a verdict. Time limits are
`prober`'s work.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import attrs
import h11
import trio
import wsproto.utilities
from trio_websocket import ConnectionClosed, HandshakeError, wrap_client_stream

from trioproxy.probes.result import MAX_DETAIL_CHARS, ProbeFailed, ProbeResult, broke

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trio_websocket import WebSocketConnection

    from trioproxy.config import HealthConfig

MAX_BYTES = 256 * 1024  # what an upstream may send until its pong has come, greetings included
# A read full of empty frames is worked through in one go, at some 50 µs each: this keeps that short.
READ_BYTES = 1024
_QUOTING = re.compile(r"(unrecognized (?:subprotocol|extension)) .*", re.DOTALL)  # what wsproto says of such a 101
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
STATUS_BYTES = len(b"HTTP/1.1 101")
# What the library closes with when it cannot make sense of the upstream's frames (RFC 6455 §7.4.1). An upstream may do
# the same, so the reason in such a Close is nobody's to tell.
OUR_CODES: Mapping[int, str] = MappingProxyType(
    {1002: "protocol error", 1007: "invalid data", 1009: "too much at once"}
)
CLOSED_EARLY = "closed before its pong"
# What the library raises for a peer's bytes: its own and its parsers' errors, and what decoding and asserting give.
LIBRARY_ERRORS = (
    HandshakeError,
    wsproto.utilities.ProtocolError,
    h11.ProtocolError,
    ValueError,
    LookupError,
    AssertionError,
)


async def probe_websocket(stream: trio.abc.Stream, health: HealthConfig, host: str) -> None:
    """Upgrade at `health.path`, ping, wait for the pong, close; raises ProbeFailed with what went wrong."""
    wire = _Bounded(stream)
    try:
        async with trio.open_nursery() as nursery:
            connection = await wrap_client_stream(
                nursery,
                cast("trio.SocketStream", wire),  # it wants any stream, whatever its annotation says
                host,
                health.path,
                subprotocols=[health.subprotocol] if health.subprotocol else None,
                extra_headers=[(name.encode(), value.encode()) for name, value in health.headers.items()],
                max_message_size=MAX_BYTES,
                receive_buffer_size=READ_BYTES,
            )
            if connection.subprotocol != (health.subprotocol or None):
                raise ProbeFailed(ProbeResult.INVALID, f"did not agree to the subprotocol {health.subprotocol}")
            nursery.start_soon(_discard_messages, connection, wire)
            await connection.ping()
            wire.over = True
            await _close(connection)
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if (cancelled := group.subgroup(trio.Cancelled)) is not None:
            raise cancelled from None  # a library error beside it would outlive the scope that swallows it
        if (failure := _verdict(group, wire)) is None:
            raise
        if not wire.over:
            raise failure from None


async def _discard_messages(connection: WebSocketConnection, wire: _Bounded) -> None:
    """Take what the upstream says unasked, as else the reader would never come to the pong."""
    try:
        while True:  # ends with the probe, or when the bytes run out
            await connection.get_message()
    except ConnectionClosed:
        if not wire.over:
            raise


async def _close(connection: WebSocketConnection) -> None:
    """Close in what time is left, half of it at most: the upstream has passed and shall not fail for a slow reply."""
    now = trio.current_time()
    with trio.move_on_at(now + (trio.current_effective_deadline() - now) / 2):
        await connection.aclose()


@attrs.define(eq=False)
class _Bounded(trio.abc.Stream):
    """The upstream's stream, failing the probe where the library would not: at an end, a refusal, too many bytes."""

    _stream: trio.abc.Stream
    over: bool = attrs.field(default=False, init=False)  # the pong has come: an end is fine from here
    # Kept, too: the library closes its channel on the way out, and a cancellation there takes an exception's place.
    failure: ProbeFailed | None = attrs.field(default=None, init=False)
    _start: bytes = attrs.field(default=b"", init=False)
    _left: int = attrs.field(default=MAX_BYTES, init=False)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        with self._breaks_are_failures():
            data = await self._stream.receive_some(max_bytes)
        if not data and not self.over:
            raise self._fail(ProbeResult.CLOSED, CLOSED_EARLY if self._start else "closed without an answer")
        self._left -= len(data)
        if self._left < 0:
            raise self._fail(ProbeResult.INVALID, f"sent more than {MAX_BYTES} bytes")
        self._look_at_status(data)
        return data

    def _look_at_status(self, data: bytes | bytearray) -> None:
        if missing := STATUS_BYTES - len(self._start):
            self._start += data[:missing]
            found = _STATUS_LINE.match(self._start)
            if found and found[1] != b"101":
                raise self._fail(ProbeResult.STATUS, f"answered {found[1].decode()}")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with self._breaks_are_failures():
            await self._stream.send_all(data)

    @contextmanager
    def _breaks_are_failures(self) -> Iterator[None]:
        try:
            yield
        except trio.BrokenResourceError as error:
            if self.over:
                raise
            self.failure = broke(error, "the connection broke before its pong")
            raise self.failure from None

    def _fail(self, result: ProbeResult, detail: str) -> ProbeFailed:
        self.failure = ProbeFailed(result, detail)
        return self.failure

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _verdict(group: BaseExceptionGroup[BaseException], wire: _Bounded) -> ProbeFailed | None:
    """The most telling of several simultaneous failures, or None where no upstream can be their cause."""
    errors = list(_leaves(group))
    for judged in (_close_verdict, _own_verdict, lambda _: wire.failure, _library_verdict, _end_verdict):
        for error in errors:
            if (verdict := judged(error)) is not None:
                return verdict
    return None


def _close_verdict(error: BaseException) -> ProbeFailed | None:
    if not isinstance(error, ConnectionClosed) or error.reason is None:
        return None
    code = error.reason.code
    if code in OUR_CODES:
        return ProbeFailed(ProbeResult.INVALID, f"{code} {OUR_CODES[code]}")
    return ProbeFailed(ProbeResult.CLOSED, f"closed with {code} before its pong")


def _own_verdict(error: BaseException) -> ProbeFailed | None:
    return error if isinstance(error, ProbeFailed) else None


def _end_verdict(error: BaseException) -> ProbeFailed | None:
    return ProbeFailed(ProbeResult.CLOSED, CLOSED_EARLY) if isinstance(error, ConnectionClosed) else None


def _library_verdict(error: BaseException) -> ProbeFailed | None:
    if not isinstance(error, LIBRARY_ERRORS):
        return None
    # wsproto wants a refusal sent, which a client cannot do: what it complained of is in that failure's context.
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, wsproto.utilities.RemoteProtocolError):
        cause = cause.__context__
    # Of others the text may quote what the upstream sent: fields of an answer are secrets.
    said = _QUOTING.sub(r"\1", str(cause)) if cause is not None else type(error).__name__
    return ProbeFailed(ProbeResult.INVALID, said[:MAX_DETAIL_CHARS])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
