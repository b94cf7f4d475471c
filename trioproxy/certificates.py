"""The certificates, keys and authorities of one configuration, ready for handshakes: all read and checked together.

What is in the files is `tls`' work; when they are read, and what becomes of a mistake, is decided by who asks.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs

from trioproxy.config_file import ConfigError, key_path, located
from trioproxy.config_structure import Problem
from trioproxy.tls.contexts import CertificateError, client_context, server_context
from trioproxy.tls.identity import Identity
from trioproxy.tls.validity import expiry_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    from trioproxy.config import Config, ListenerTlsConfig, UpstreamTlsConfig
    from trioproxy.config_lines import KeyPath
    from trioproxy.logs import Log


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
    _expiries: Mapping[ListenerTlsConfig, float | None] = attrs.field(factory=dict)

    @classmethod
    def load(cls, config: Config) -> Certificates:
        """Those of all listeners and pools. Blocks. Raises CertificatesError."""
        servers: dict[ListenerTlsConfig, ssl.SSLContext] = {}
        clients: dict[UpstreamTlsConfig, ssl.SSLContext] = {}
        expiries: dict[ListenerTlsConfig, float | None] = {}
        problems: list[Problem] = []
        for path, settings in _of_listeners(config):
            try:
                servers[settings] = server_context(settings.certificate, settings.key, settings.client_ca)
                expiries[settings] = expiry_of(settings.certificate)
            except (CertificateError, OSError) as error:
                problems.append(Problem(path, str(error)))
        for path, trust in _of_pools(config):
            try:
                clients[trust] = client_context(trust.ca)
            except CertificateError as error:
                problems.append(Problem(path, str(error)))
        if problems:
            raise CertificatesError(problems)
        return cls(servers, clients, expiries)

    def server(self, settings: ListenerTlsConfig) -> ssl.SSLContext:
        """For handshakes with the clients of a listener with these settings."""
        return self._servers[settings]

    def expires(self, settings: ListenerTlsConfig | None) -> float | None:
        """The Unix time from which clients will not accept it; None without TLS, or where the file does not say."""
        return None if settings is None else self._expiries.get(settings)

    def expired(self, config: Config) -> list[Problem]:
        """Of which listeners that has come: they are served all the same, but hardly anybody will talk to them."""
        now = time.time()
        return [
            Problem(
                path, f"{settings.certificate} expired on {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M:%S} UTC"
            )
            for path, settings in _of_listeners(config)
            if (until := self.expires(settings)) is not None and until <= now
        ]

    def identity(self, settings: UpstreamTlsConfig | None, host: str) -> Identity | None:
        """What an upstream at `host` has to prove, in a pool with these settings; None where it speaks no TLS."""
        return Identity.of(settings.server_name, host, self._clients[settings]) if settings else None


def tell_of_expired(certificates: Certificates, config: Config, log: Log) -> None:
    """A warning for each listener whose certificate has expired."""
    for problem in certificates.expired(config):
        log.warning("certificate_expired", reason=f"{key_path(problem.path)}: {problem.message}")


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
