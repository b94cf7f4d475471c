"""The certificates, keys and authorities of one configuration, ready for handshakes: all read and checked together.

What is in the files is `tls`' work; when they are read, and what becomes of a mistake, is decided by who asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trioproxy.config_file import ConfigError, key_path, located
from trioproxy.config_structure import Problem
from trioproxy.tls import CertificateError, Identity, client_context, server_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    from trioproxy.config import Config, ListenerTlsConfig, UpstreamTlsConfig
    from trioproxy.config_lines import KeyPath


class CertificatesError(Exception):
    """Files that cannot be used; `problems` has all of them, and each is a line of the message, with its key."""

    def __init__(self, problems: list[Problem]) -> None:
        self.lines = [f"{key_path(problem.path)}: {problem.message}" for problem in problems]
        super().__init__("\n".join(self.lines))
        self.problems = problems

    def located(self, text: str, filename: str) -> ConfigError:
        """The same with the lines of the configuration's text that name the files."""
        return located(self.problems, text, filename)


@attrs.frozen
class Certificates:
    """By the settings that name the files. Nothing is read again: for what is in them tomorrow, `load` anew."""

    _servers: Mapping[ListenerTlsConfig, ssl.SSLContext] = attrs.field(factory=dict)
    _clients: Mapping[UpstreamTlsConfig, ssl.SSLContext] = attrs.field(factory=dict)

    @classmethod
    def load(cls, config: Config) -> Certificates:
        """Those of all listeners and pools. Blocks. Raises CertificatesError."""
        servers: dict[ListenerTlsConfig, ssl.SSLContext] = {}
        clients: dict[UpstreamTlsConfig, ssl.SSLContext] = {}
        problems: list[Problem] = []
        for path, settings in _of_listeners(config):
            try:
                servers[settings] = server_context(settings.certificate, settings.key, settings.client_ca)
            except CertificateError as error:
                problems.append(Problem(path, str(error)))
        for path, trust in _of_pools(config):
            try:
                clients[trust] = client_context(trust.ca)
            except CertificateError as error:
                problems.append(Problem(path, str(error)))
        if problems:
            raise CertificatesError(problems)
        return cls(servers, clients)

    def server(self, settings: ListenerTlsConfig) -> ssl.SSLContext:
        """For handshakes with the clients of a listener with these settings."""
        return self._servers[settings]

    def identity(self, settings: UpstreamTlsConfig | None, host: str) -> Identity | None:
        """What an upstream at `host` has to prove, in a pool with these settings; None where it speaks no TLS."""
        return Identity.of(settings.server_name, host, self._clients[settings]) if settings else None


def names_certificates(config: Config) -> bool:
    """Whether any listener or pool has TLS."""
    return any(True for find in (_of_listeners, _of_pools) for _ in find(config))


def _of_listeners(config: Config) -> Iterator[tuple[KeyPath, ListenerTlsConfig]]:
    for at, listener in enumerate(config.listeners):
        if listener.tls is not None:
            yield ("listeners", at, "tls"), listener.tls


def _of_pools(config: Config) -> Iterator[tuple[KeyPath, UpstreamTlsConfig]]:
    for name, pool in config.pools.items():
        if pool.tls is not None:
            yield ("pools", name, "tls"), pool.tls
