"""Certificates, keys and authorities from their files, checked, and made ready for use.

TLS 1.2 and 1.3 with OpenSSL's own choice of ciphers, HTTP/1.1 alone (ALPN), no renegotiation (RFC 8996, RFC 9325).
"""

from __future__ import annotations

import ssl
from pathlib import Path

ALPN = "http/1.1"  # RFC 7301; a client that can speak HTTP/2 as well is told that it cannot here


class CertificateError(Exception):
    """A file that cannot be used: the message says which, in one line, and what was expected of it."""


def server_context(certificate: str, key: str, client_ca: str = "") -> ssl.SSLContext:
    """For a listener: its certificate chain and key, PEM files both, and whom its clients must be signed by, if at all.

    Blocks. Raises CertificateError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    for path, what in ((certificate, "a certificate"), (key, "a private key")):
        _read(path, what)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except _EncryptedKeyError:
        raise CertificateError(f"{key}: expected a private key without a passphrase") from None
    except ssl.SSLError as error:
        raise CertificateError(_why(error, certificate, key)) from None
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context, client_ca)
    return context


def client_context(ca: str = "") -> ssl.SSLContext:
    """For a pool: whom its upstreams must be signed by, a PEM file, or those that the system trusts.

    Blocks. Raises CertificateError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    if ca:
        _trust(context, ca)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whoever is in the file is, not only who signed itself
    else:
        context.load_default_certs()
    return context


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([ALPN])


def _trust(context: ssl.SSLContext, path: str) -> None:
    _read(path, "certificates")
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise CertificateError(f"{path}: expected certificates in PEM form") from None


def _read(path: str, what: str) -> None:
    # OpenSSL does not say which of two files it could not read.
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise CertificateError(f"{path}: {what} cannot be read: {error.strerror}") from None


def _why(error: ssl.SSLError, certificate: str, key: str) -> str:
    match error.reason:
        case "KEY_VALUES_MISMATCH":
            return f"{key}: expected the private key of {certificate}, got another's"
        case "EE_KEY_TOO_SMALL" | "CA_KEY_TOO_SMALL" | "CA_MD_TOO_WEAK":
            return f"{certificate}: expected a stronger certificate: {error.reason.replace('_', ' ').lower()}"
        case _:
            return f"expected a certificate chain in {certificate} and its private key in {key}, both in PEM form"


class _EncryptedKeyError(Exception):
    """The key has a passphrase, and nobody is there to type it."""


def _no_password() -> str:
    raise _EncryptedKeyError
