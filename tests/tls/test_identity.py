"""Whose certificate an upstream has to have."""

from __future__ import annotations

import ssl

import pytest

from trioproxy.config_syntax import is_server_name
from trioproxy.tls.identity import Identity
from trioproxy.tls.layer import TlsLayer


@pytest.mark.parametrize(
    ("server_name", "host", "name"),
    [
        ("", "chat.internal", "chat.internal"),
        ("backend.internal", "chat.internal", "backend.internal"),
        ("backend.internal", "", "backend.internal"),
        ("", "192.0.2.7", "192.0.2.7"),
        ("", "2001:db8::7", "2001:db8::7"),
        ("", "fe80::1%eth0", "fe80::1"),
    ],
)
def test_it_is_the_one_that_is_asked_for_or_the_upstreams_host(server_name, host, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    identity = Identity.of(server_name, host, context)
    assert (identity.name, identity.context) == (name, context)


def test_what_was_proven_to_one_is_not_proven_to_another():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert Identity("a", context) != Identity("a", context)


@pytest.mark.parametrize("name", ["a.test", "my_service", f"{'a' * 63}.test", "xn--bcher-kva.test", "192.0.2.7", "::1"])
def test_every_name_that_can_be_configured_can_be_asked_for(name):
    assert is_server_name(name)
    layer = TlsLayer.client(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), name)
    assert not layer.handshake()
    asked = layer.take_outgoing()
    assert (name.encode() in asked) == (name not in {"192.0.2.7", "::1"})  # no address is sent as a name (RFC 6066 §3)
