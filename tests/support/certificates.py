"""Certificates for tests, made when they are asked for: an authority, and what it has signed."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import attrs
import trustme

from trioproxy.tls.contexts import client_context, server_context

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

LONG_AGO = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)


@attrs.define
class Files:
    """A certificate chain and its key, in PEM files."""

    certificate: str
    key: str


@attrs.define
class Authority:
    """An authority that signs certificates, all of whose files are in `folder`."""

    folder: Path
    _made: trustme.CA = attrs.field(factory=lambda: trustme.CA(key_type=trustme.KeyType.ECDSA), init=False)
    _count: int = attrs.field(default=0, init=False)

    @property
    def file(self) -> str:
        """Its own certificate."""
        path = self.folder / "ca.pem"
        self._made.cert_pem.write_to_path(str(path))
        return str(path)

    def issue(self, *names: str, expired: bool = False, seconds: int | None = None) -> Files:
        """A certificate for these names and addresses, and its key; `expired` is long past, or will be in `seconds`."""
        end = LONG_AGO + dt.timedelta(days=1) if expired else None
        if seconds is not None:
            end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
        leaf = self._made.issue_cert(
            *names,
            not_before=LONG_AGO if expired else None,
            not_after=end,
            key_type=trustme.KeyType.ECDSA,
        )
        self._count += 1
        certificate, key = self.folder / f"{self._count}.pem", self.folder / f"{self._count}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        return Files(str(certificate), str(key))

    def server(self, *names: str, expired: bool = False, client_ca: str = "") -> ssl.SSLContext:
        """What a server with such a certificate uses."""
        files = self.issue(*names, expired=expired)
        return server_context(files.certificate, files.key, client_ca)

    def client(self) -> ssl.SSLContext:
        """What a client that trusts this authority alone uses."""
        return client_context(self.file)


def authority(folder: Path) -> Authority:
    """A new one, which nobody else trusts; its folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    return Authority(folder)
