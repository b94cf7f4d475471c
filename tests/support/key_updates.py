"""A client of TLS 1.3 that asks for new keys again and again (RFC 8446 §4.6.3), which OpenSSL's own interface cannot do."""

from __future__ import annotations

import hmac
from hashlib import sha384
from typing import TYPE_CHECKING

import attrs
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

HANDSHAKE, DATA = 22, 23
ASK = bytes([24, 0, 0, 1, 1])  # key_update, update_requested


def suited(context: ssl.SSLContext, folder: Path) -> ssl.SSLContext:
    """With its secrets written down, where `Asker` finds them. To be used for one connection."""
    context.keylog_filename = str(folder / "keys")
    return context


def label(secret: bytes, name: str, size: int) -> bytes:
    """HKDF-Expand-Label for TLS_AES_256_GCM_SHA384, for at most 48 octets (RFC 8446 §7.1)."""
    full = b"tls13 " + name.encode()
    info = size.to_bytes(2, "big") + bytes([len(full)]) + full + b"\0"
    return hmac.digest(secret, info + b"\x01", sha384)[:size]


@attrs.define
class Asker:
    """The client's side from its first record behind the handshake on: it must not have sent any."""

    secret: bytes

    @classmethod
    def of(cls, folder: Path) -> Asker:
        for line in (folder / "keys").read_text().splitlines():
            if line.startswith("CLIENT_TRAFFIC_SECRET_0 "):
                return cls(bytes.fromhex(line.split()[2]))
        raise AssertionError("no TLS 1.3")

    def ask(self, times: int) -> bytes:
        """So many records, each of which asks for another key and is the last by its own."""
        records = []
        for _ in range(times):
            records.append(self._sealed(ASK, HANDSHAKE))
            self.secret = label(self.secret, "traffic upd", 48)
        return b"".join(records)

    def seal(self, data: bytes) -> bytes:
        """The only record of data by the key of now."""
        return self._sealed(data, DATA)

    def _sealed(self, data: bytes, kind: int) -> bytes:
        inner = data + bytes([kind])
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        key, nonce = label(self.secret, "key", 32), label(self.secret, "iv", 12)
        return header + AESGCM(key).encrypt(nonce, inner, header)
