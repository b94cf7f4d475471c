"""Reading, writing and closing connected streams, for plain HTTP and handshakes; failures are told as ProxyErrors.

Sockets take a short way past Trio's streams, for the sake of `bench`'s plain HTTP and handshakes. Open tunnels are
`relay`'s, getting connected is `transport`'s.
"""

from __future__ import annotations

import contextlib
import os
import select
from typing import TYPE_CHECKING, Any, Final

import trio

from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.sockets import Socket
from trioproxy.tls.layer import TlsError
from trioproxy.tls.stream import OverSocket, TlsStream, socket_of

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from trioproxy.readiness import Readiness

# How much of what a peer still sends is read away after our last byte, and for how long: long enough for the answer
# to arrive before a reset can overtake it, short enough to be no way to hold a connection (RFC 9112 §9.6).
DISCARD_BYTES: Final = 64 * 1024
DISCARD_SECONDS: Final = 2
_HANG_UP: Final = getattr(select, "POLLRDHUP", 0)  # Linux's; without it only a connection that is wholly over shows
BROKEN: Final = (trio.BrokenResourceError, trio.ClosedResourceError)  # what reading and writing raise


def receive_at_once(stream: trio.abc.ReceiveStream, most: int) -> bytes | None:
    """What has come already, None where nothing has or the stream is no socket; as `receive` otherwise."""
    if isinstance(stream, TlsStream) and stream.fileno() >= 0:
        return stream.receive_at_once(most)
    if not isinstance(stream, Socket) or stream.fileno() < 0:
        return None
    try:
        return os.read(stream.fileno(), most)
    except BlockingIOError:
        return None
    except OSError as error:
        raise trio.BrokenResourceError(str(error)) from error


def receive(stream: trio.abc.ReceiveStream, most: int) -> Coroutine[Any, Any, bytes]:
    """Wait for bytes and return up to `most` of them; nothing at the peer's FIN. Raises what `BROKEN` names."""
    if not isinstance(stream, Socket):
        return _receive_tls(stream, most) if isinstance(stream, TlsStream) else _receive_some(stream, most)
    return _receive(stream, most) if stream.watch is None else stream.watch.receive(most)


async def _receive_some(stream: trio.abc.ReceiveStream, most: int) -> bytes:
    return bytes(await stream.receive_some(most))


async def _receive_tls(stream: TlsStream, most: int) -> bytes:
    layer = stream.layer
    if not (layer.pending or layer.ended or layer.broken):  # as in `_receive`; what is pending ends with one read's
        await trio.lowlevel.wait_readable(stream.socket.open_fileno())
    while (data := stream.receive_at_once(most)) is None:
        await trio.lowlevel.wait_readable(stream.socket.open_fileno())
    return data


async def _receive(stream: Socket, most: int) -> bytes:
    while True:
        # Trio would try to read first. Here the peer has always just been asked, so nothing is there yet.
        await trio.lowlevel.wait_readable(stream.open_fileno())
        try:
            return os.read(stream.open_fileno(), most)  # asked again: closed meanwhile, its number may be another's
        except BlockingIOError:  # somebody else's wake-up
            continue
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error


async def send(stream: trio.abc.SendStream, data: bytes, patience: float) -> None:
    """Send all of `data`; raises TooSlowError if that takes `patience` seconds, and what `BROKEN` names.

    What the kernel takes at once is sent without a checkpoint: whoever sends has waited for something before, and the
    deadline, which costs more than the send, is only set where there is something to wait for.
    """
    if isinstance(stream, TlsStream):
        if left := stream.send_at_once(data):
            with trio.fail_after(patience):
                await stream.send_rest(left)
        return
    if isinstance(stream, Socket) and stream.watch is not None and stream.watch.sending:
        with trio.fail_after(patience):
            await stream.watch.drain()
    sent = _send_at_once(stream, data)
    if sent < len(data):
        with trio.fail_after(patience):
            await stream.send_all(memoryview(data)[sent:])


def post(stream: trio.abc.SendStream, data: bytes) -> bool:
    """Have `data` sent in a moment, with what others send, by who will read from `stream` next; False: `send` it now.

    That is `readiness.Watch.post`, for streams that have one.
    """
    return isinstance(stream, Socket) and stream.watch is not None and stream.watch.post(data)


def _send_at_once(stream: trio.abc.SendStream, data: bytes) -> int:
    descriptor = stream.fileno() if isinstance(stream, Socket) else -1
    if descriptor < 0:
        return 0  # what is wrong with it, send_all knows to say
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        return 0
    except OSError as error:
        raise trio.BrokenResourceError(str(error)) from error


def broken(error: Exception, source: Source, phase: Phase, *, retryable: bool = False) -> ProxyError:
    """What `BROKEN` names, as a ProxyError that blames `source` (status 502)."""
    cause = error.__cause__
    reason = Reason.RESET if isinstance(cause, ConnectionResetError) else Reason.CLOSED
    if isinstance(cause, TlsError):
        reason = Reason.TLS
    return ProxyError(source, phase, reason, 502, str(cause or error), retryable=retryable)


def watch(stream: trio.abc.Stream, readiness: Readiness | None) -> None:
    """What is to follow on this stream is to be waited for by `readiness`; only sockets can be."""
    if isinstance(stream, Socket):
        stream.watch_by(readiness)


def unwatch(stream: trio.abc.Stream) -> None:
    """Others wait for this stream from here on: the relay."""
    if isinstance(stream, Socket):
        stream.unwatch()


def is_quiet(stream: OverSocket) -> bool:
    """Whether an idle connection can still be used: it has neither ended nor sent what nobody asked for."""
    descriptor = stream.fileno()
    if descriptor < 0:
        return False
    if isinstance(stream, TlsStream):  # what has come may be TLS's own: a ticket for the next session
        return _has_said_nothing(stream)
    if stream.watch is not None:
        return stream.watch.quiet
    # Not by peeking, which needs a socket object and so a descriptor more: there may be none.
    look = select.poll()
    look.register(descriptor, select.POLLIN)
    return not look.poll(0)


def _has_said_nothing(stream: TlsStream) -> bool:
    with contextlib.suppress(*BROKEN):
        return stream.receive_at_once(1) is None
    return False


def has_hung_up(stream: trio.abc.Stream) -> bool:
    """Whether the peer has sent FIN or a reset, even behind unread bytes; streams that are no sockets never."""
    socket = socket_of(stream)
    if socket is None or socket.fileno() < 0:
        return False
    look = select.poll()
    look.register(socket.fileno(), _HANG_UP)
    return bool(look.poll(0))


async def close_gently(stream: trio.abc.HalfCloseableStream) -> None:
    """End an answer so that the peer can read it: FIN, read away a bounded rest, close (RFC 9112 §9.6).

    Closing with unread input would make the kernel send a reset, which can overtake the answer. Closes the
    stream in any case.
    """
    try:
        with (
            trio.move_on_after(DISCARD_SECONDS),
            contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            if isinstance(stream, Socket) and stream.watch is not None:
                await stream.watch.drain()
            await stream.send_eof()
            discarded = 0
            while discarded < DISCARD_BYTES and (data := await stream.receive_some(DISCARD_BYTES)):
                discarded += len(data)
    finally:
        await close_at_once(stream)


async def close_at_once(stream: trio.abc.AsyncResource) -> None:
    """Close without ceremony, and a socket without a checkpoint; closing twice is no error.

    Trio's own way opens two cancel scopes and yields twice, which is a tenth of what a handshake costs.
    """
    if isinstance(stream, OverSocket):
        stream.close()
    else:
        await trio.aclose_forcefully(stream)


def abort(stream: trio.abc.Stream) -> None:
    """Make the coming close a reset instead of a FIN, so that a cut is seen as one; streams without a socket pass."""
    if isinstance(stream, OverSocket):
        stream.reset_on_close()


def was_truncated(stream: trio.abc.Stream) -> bool:
    """Whether the end that was read may be an attacker's: TLS ended without saying so (RFC 9112 §9.8)."""
    return isinstance(stream, TlsStream) and stream.truncated
