"""TLS on connections: what is encrypted and decrypted, over which stream, and with which certificates.

`layer` does it without I/O, `stream` over a socket, `contexts` reads the files, `identity` is whom to ask for. Which
listener or pool has TLS, and what follows from a failure, is decided by those who ask.
"""

from trioproxy.tls.contexts import CertificateError, client_context, server_context
from trioproxy.tls.identity import Identity
from trioproxy.tls.layer import TlsEndedError, TlsError, TlsLayer
from trioproxy.tls.stream import OverSocket, TlsStream, socket_of
from trioproxy.tls.validity import expiry_of

__all__ = [
    "CertificateError",
    "Identity",
    "OverSocket",
    "TlsEndedError",
    "TlsError",
    "TlsLayer",
    "TlsStream",
    "client_context",
    "expiry_of",
    "server_context",
    "socket_of",
]
