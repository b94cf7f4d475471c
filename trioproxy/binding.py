"""What a configuration takes before it can be served: its certificates read, its addresses bound.

How an address is bound is `transport`'s work, what is in a certificate's file `tls`'; a reload has ways of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trioproxy import transport
from trioproxy.certificates import Certificates

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack

    from trioproxy.config import Config, ListenerConfig

ADMIN: Final = "admin"  # the admin address's name in logs


@attrs.frozen
class Bound:
    """The certificates and the sockets of a configuration."""

    certificates: Certificates
    listeners: list[tuple[ListenerConfig, socket.socket]]
    admin: list[socket.socket]


def bind_all(config: Config, inherited: Mapping[str, Sequence[socket.socket]], last: ExitStack) -> Bound:
    """Read all certificates, then bind all addresses. `last` closes the sockets, and all inherited ones.

    Raises CertificatesError, with nothing bound, and a ListenError that names the listener.
    """
    for sockets in inherited.values():
        for sock in sockets:
            last.callback(sock.close)

    def bind(name: str, address: str) -> list[socket.socket]:
        try:
            sockets = transport.bind(address, inherited=inherited)
        except transport.ListenError as error:
            raise transport.ListenError(f"listener {name}: {error}") from error
        for sock in sockets:
            last.callback(transport.close_listener, sock, address)
        return sockets

    certificates = Certificates.load(config)
    listeners = [(each, sock) for each in config.listeners for sock in bind(each.name, each.address)]
    return Bound(certificates, listeners, bind(ADMIN, config.admin.address) if config.admin.address else [])
