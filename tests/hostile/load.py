"""The clients of the hostile run: many connections in one loop, each with several spoilt requests until one side ends it.

They read nothing of the answers but the status. A client that has said FIN and is not let go is what they look out for.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import Counter, deque
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from hostile.mutations import Mutator
    from hostile.tls import Session

VISITORS = 96  # connections at once
ADDRESSES = 64  # of the clients: so many times the ports, as those of closed connections cannot be used at once
PATIENCE = 0.1  # seconds without an answer: the request had no end, most likely
STUCK = 60.0  # seconds without an end of the connection behind a FIN
MOST_REQUESTS = 12  # over one connection
READ_BYTES = 65536
NO_PORT_YET = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)


@attrs.define(eq=False)
class Visit:
    """One connection; `since` is when something was last sent on it."""

    socket: socket.socket
    left: int
    session: Session | None
    begun: bool = False  # the first request is out
    pieces: list[bytes] = attrs.Factory(list)
    since: float = 0.0
    finished: bool = False


@attrs.define(eq=False)
class Load:
    """Sends `requests` of them to an address, each connection with TLS where `secure` makes it.

    `tick` is called about once a second with how many are sent.
    """

    address: tuple[str, int]
    requests: int
    dice: random.Random
    mutator: Mutator
    secure: Callable[[], Session] | None = None
    shaken: int = 0  # connections whose TLS came about
    broken: Counter[str] = attrs.Factory(Counter)  # those that were to break it, by stage
    sent: int = 0
    connections: int = 0
    stuck: int = 0
    statuses: Counter[str] = attrs.Factory(Counter)
    _visits: dict[int, Visit] = attrs.Factory(dict)
    _waiting: deque[tuple[float, Visit]] = attrs.Factory(deque)
    _leaving: deque[tuple[float, Visit]] = attrs.Factory(deque)
    _epoll: select.epoll = attrs.Factory(select.epoll)

    def run(self, tick) -> None:
        ticked = time.monotonic()
        while self._visits or self.sent < self.requests:
            while self.sent < self.requests and len(self._visits) < VISITORS:
                self._open()
            events = self._epoll.poll(0.02)
            now = time.monotonic()
            for descriptor, _ in events:
                if descriptor in self._visits:
                    self._read(self._visits[descriptor], now)
            self._look_at_the_late(now)
            if now - ticked > 1:
                ticked = now
                tick(self.sent)
        self._epoll.close()

    def _open(self) -> None:
        visitor = socket.socket()
        visitor.setsockopt(socket.IPPROTO_IP, NO_PORT_YET, 1)
        visitor.bind((f"127.0.1.{1 + int(self.dice.random() * ADDRESSES)}", 0))
        visitor.settimeout(STUCK)
        visitor.connect(self.address)
        visitor.setblocking(False)
        visitor.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections += 1
        session = self.secure() if self.secure is not None else None
        visit = Visit(visitor, 1 + int(self.dice.random() * MOST_REQUESTS), session)
        self._visits[visitor.fileno()] = visit
        self._epoll.register(visitor.fileno(), select.EPOLLIN)
        if session is None:
            self._send(visit, time.monotonic())
        else:
            self.broken[session.stage] += bool(session.stage)
            self._begin(visit, session, time.monotonic())

    def _begin(self, visit: Visit, session: Session, now: float) -> None:
        visit.since = now
        self._waiting.append((now, visit))
        with suppress(OSError):
            visit.socket.send(session.begin())

    def _send(self, visit: Visit, now: float) -> None:
        """The next piece, of the next request where the last one is out; behind the last request the end."""
        visit.since, visit.begun = now, True
        self._waiting.append((now, visit))
        if not visit.pieces:
            if visit.left <= 0 or self.sent >= self.requests:
                self._end(visit)
                return
            visit.pieces = self._cut(self.mutator.request())
            visit.left -= 1
            self.sent += 1
        piece = visit.pieces.pop(0)
        with suppress(OSError):  # what the proxy wants no more; that it ended is read
            visit.socket.send(piece if visit.session is None else visit.session.seal(piece))

    def _cut(self, raw: bytes) -> list[bytes]:
        if self.dice.random() < 0.8:
            return [raw]
        at = int(self.dice.random() * len(raw))
        return [raw[:at], raw[at:]]

    def _end(self, visit: Visit) -> None:
        how = self.dice.random()
        if how < 0.1:  # as it is, or with a reset
            if how < 0.05:
                visit.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._close(visit)
        else:
            visit.finished = True
            self._leaving.append((visit.since, visit))
            with suppress(OSError):
                if visit.session is not None and visit.session.shaken:
                    visit.socket.send(visit.session.leave())
                visit.socket.shutdown(socket.SHUT_WR)

    def _read(self, visit: Visit, now: float) -> None:
        try:
            data = visit.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
            self.statuses["reset"] += 1
        if not data:
            self._close(visit)
            return
        if visit.session is not None and not data.startswith(b"HTTP/1.1 400 "):  # which who spoke it hears in the clear
            data = self._hear(visit, visit.session, data)
        if data.startswith(b"HTTP/1.1 "):
            self.statuses[data[9:12].decode("latin-1")] += 1
        if not visit.finished and (visit.session is None or data or (visit.session.shaken and not visit.begun)):
            self._send(visit, now)

    def _hear(self, visit: Visit, session: Session, data: bytes) -> bytes:
        was = session.shaken
        said, outgoing = session.hear(data)
        self.shaken += session.shaken and not was
        with suppress(OSError):
            visit.socket.send(outgoing)
        return said

    def _look_at_the_late(self, now: float) -> None:
        """Who has got no answer sends what is left, or FIN; who said FIN long ago and is not let go counts as stuck."""
        waiting, leaving = self._waiting, self._leaving
        while waiting and waiting[0][0] <= now - PATIENCE:
            since, visit = waiting.popleft()
            if visit.since == since and not visit.finished and visit.socket.fileno() >= 0:
                if visit.session is not None and not visit.session.shaken:
                    self._wait_or_end(visit, visit.session, now)
                    continue
                if not visit.pieces and self.dice.random() < 0.7:
                    visit.left = 0
                self._send(visit, now)
        while leaving and leaving[0][0] <= now - STUCK:
            visit = leaving.popleft()[1]
            if visit.socket.fileno() >= 0:
                self.stuck += 1
                self._close(visit)

    def _wait_or_end(self, visit: Visit, session: Session, now: float) -> None:
        """A handshake may take its time where many shake hands; who has broken it says no more."""
        visit.since = now
        if session.stage in {"hello", "shaking"}:
            self._end(visit)
        else:
            self._waiting.append((now, visit))

    def _close(self, visit: Visit) -> None:
        descriptor = visit.socket.fileno()
        self._epoll.unregister(descriptor)
        del self._visits[descriptor]
        visit.socket.close()
