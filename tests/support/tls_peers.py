"""The far end of a connection with TLS: OpenSSL's, over memory, with nothing of the program under test in it."""

from __future__ import annotations

import contextlib
import functools
import ssl
import tempfile
from pathlib import Path

import attrs
from support.certificates import authority

from trioproxy.tls.layer import TlsLayer

SERVED = "localhost"


@functools.cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and its client's."""
    with tempfile.TemporaryDirectory() as folder:
        trusted = authority(Path(folder))
        return trusted.server(SERVED), trusted.client()


@attrs.define(eq=False)
class TlsEnd:
    """One end; `ended` once the other has said close_notify."""

    server_side: bool
    ended: bool = False
    _incoming: ssl.MemoryBIO = attrs.field(factory=ssl.MemoryBIO)
    _outgoing: ssl.MemoryBIO = attrs.field(factory=ssl.MemoryBIO)
    session: ssl.SSLObject = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        server, client = contexts()
        if self.server_side:
            self.session = server.wrap_bio(self._incoming, self._outgoing, server_side=True)
        else:
            self.session = client.wrap_bio(self._incoming, self._outgoing, server_hostname=SERVED)

    def encrypt(self, data: bytes) -> bytes:
        self.session.write(data)
        return self._outgoing.read()

    def decrypt(self, octets: bytes) -> bytes:
        self._incoming.write(octets)
        data = b""
        try:
            while part := self.session.read(1 << 16):
                data += part
        except ssl.SSLWantReadError:
            return data
        except ssl.SSLZeroReturnError:
            pass
        self.ended = True
        return data

    def close_notify(self) -> bytes:
        """It loses what had come and was not read."""
        with contextlib.suppress(ssl.SSLError):
            self.session.unwrap()
        return self._outgoing.read()


def shaken(layer: TlsLayer, end: TlsEnd) -> None:
    """Carry the handshake between the two to its end, without a network."""
    done = [False, False]
    while not all(done):
        done[0] = done[0] or layer.handshake()
        end._incoming.write(layer.take_outgoing())
        if not done[1]:
            try:
                end.session.do_handshake()
                done[1] = True
            except ssl.SSLWantReadError:
                pass
        layer.feed(end._outgoing.read())


def tls_between(*, to_client: bool, version: ssl.TLSVersion | None = None) -> tuple[TlsLayer, TlsEnd]:
    """The proxy's layer and the peer's end, connected; `to_client`: it is the proxy that has the certificate."""
    server, client = contexts()
    client.maximum_version = version or ssl.TLSVersion.MAXIMUM_SUPPORTED
    layer = TlsLayer.server(server) if to_client else TlsLayer.client(client, SERVED)
    end = TlsEnd(server_side=not to_client)
    shaken(layer, end)
    return layer, end
