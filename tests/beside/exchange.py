"""One case of the corpus through one running proxy: what the upstream got, what the client got.

Nothing here knows which proxy it is; what that is worth is `verdicts`' business.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from contextlib import suppress

import attrs
from support.strict_http import read_requests

QUIET = 0.3  # seconds in which nothing moves: nothing more will come
PATIENCE = 3.0  # seconds for what is expected to come
READ_BYTES = 1 << 20
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD_END = b"\r\n\r\n"


@attrs.frozen
class Outcome:
    """The bytes on each upstream connection, those the client got, and how its connection stands then."""

    upstream: tuple[bytes, ...]
    client: bytes
    closed: bool


@attrs.define(eq=False)
class End:
    socket: socket.socket
    received: bytes = b""
    answered: int = 0
    ended: bool = False

    def take(self) -> None:
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.received += data
        self.ended = not data

    def send(self, data: bytes) -> None:
        with suppress(OSError):
            self.socket.sendall(data)


@attrs.define(eq=False)
class Between:
    """The place of a proxy: `listener` is where it finds its upstream, `address` where it listens itself."""

    listener: socket.socket
    address: tuple[str, int]
    _kept: list[End] = attrs.Factory(list)

    def send_request(self, raw: bytes, *, expected: int, half_close: bool) -> Outcome:
        """A client sends `raw`; each whole request gets a 200. `expected` answers are waited for a little longer."""

        def play(end: End) -> None:
            found, _ = read_requests(end.received)
            for _ in found[end.answered :]:
                end.send(FINE)
            end.answered = len(found)

        return self._run(raw, play, lambda client: client.received.count(b"HTTP/1.") >= expected, half_close=half_close)

    def send_answer(self, request: bytes, raw: bytes, *, ends: str) -> Outcome:
        """A client asks, and each upstream connection answers with `raw` and then `open`, `fin` or `reset`."""

        def play(end: End) -> None:
            if end.answered or HEAD_END not in end.received or not read_requests(end.received)[0]:
                return
            end.answered = 1
            end.send(raw)
            if ends == "fin":
                with suppress(OSError):
                    end.socket.shutdown(socket.SHUT_WR)
            elif ends == "reset":
                time.sleep(QUIET / 3)  # a reset that comes with the bytes would take them away
                end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.socket.close()
                end.ended = True

        return self._run(request, play, lambda client: bool(client.received), half_close=False)

    def _run(self, raw: bytes, play, satisfied, *, half_close: bool) -> Outcome:
        with socket.create_connection(self.address, 5) as connected:
            client = End(connected)
            client.send(raw)
            if half_close:
                connected.shutdown(socket.SHUT_WR)
            connected.setblocking(False)
            started = moved = time.monotonic()
            while not client.ended:
                now = time.monotonic()
                if now - moved > QUIET and (satisfied(client) or now - started > PATIENCE):
                    break
                if self._step(client, play):
                    moved = time.monotonic()
        outcome = Outcome(tuple(end.received for end in self._kept if end.received), client.received, client.ended)
        self._forget()
        return outcome

    def _step(self, client: End, play) -> bool:
        """Wait a little for anything to move, and react."""
        open_ends = {end.socket: end for end in (client, *self._kept) if not end.ended}
        ready, _, _ = select.select([self.listener, *open_ends], [], [], 0.05)
        for sock in ready:
            if sock is self.listener:
                accepted, _ = self.listener.accept()
                accepted.setblocking(False)
                self._kept.append(End(accepted))
                continue
            end = open_ends[sock]
            end.take()
            if end is not client:
                play(end)
        return bool(ready)

    def _forget(self) -> None:
        """Each case has connections of its own upstream: what one left there must not be the next one's."""
        for end in self._kept:
            end.socket.close()
        self._kept.clear()
        time.sleep(0.02)  # for the proxy to see it, so that the next request comes over a fresh one
        while select.select([self.listener], [], [], 0)[0]:
            self.listener.accept()[0].close()
