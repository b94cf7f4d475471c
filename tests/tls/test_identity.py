"""Whose certificate an upstream has to have."""

from __future__ import annotations

import ssl

import pytest

from trioproxy.tls import Identity


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
