"""Whose requests the API takes, by their Host."""

from __future__ import annotations

import pytest

from trioproxy.admin.guard import host_allowed


@pytest.mark.parametrize(
    ("host", "address", "hosts", "allowed"),
    [
        ("127.0.0.1:9464", "127.0.0.1:9464", (), True),
        ("localhost:9464", "127.0.0.1:9464", (), True),
        ("LocalHost:9464", "127.0.0.1:9464", (), True),
        ("[::1]:9464", "127.0.0.1:9464", (), True),
        ("127.0.0.1:9464", "[::1]:9464", (), True),
        ("127.0.0.1:9464", "localhost:9464", (), True),
        ("localhost:9464", "0.0.0.0:9464", (), True),
        ("localhost:9464", "[::]:9464", (), True),
        ("localhost", "127.0.0.1:80", (), True),
        ("127.0.0.1", "127.0.0.1:80", (), True),
        ("10.0.0.5", "10.0.0.5:80", (), True),
        ("10.0.0.5:9464", "10.0.0.5:9464", (), True),
        ("", "127.0.0.1:9464", (), False),
        ("localhost", "127.0.0.1:9464", (), False),
        ("localhost:9465", "127.0.0.1:9464", (), False),
        ("127.0.0.1", "127.0.0.1:9464", (), False),
        ("evil.example:9464", "127.0.0.1:9464", (), False),
        ("localhost.evil.example:9464", "127.0.0.1:9464", (), False),
        ("127.0.0.1:9464.evil.example", "127.0.0.1:9464", (), False),
        ("127.0.0.1:9464@evil.example", "127.0.0.1:9464", (), False),
        ("localhost:9464", "10.0.0.5:9464", (), False),
        ("10.0.0.6:9464", "10.0.0.5:9464", (), False),
        ("proxy.example", "10.0.0.5:9464", ("proxy.example",), True),
        ("proxy.example:443", "10.0.0.5:9464", ("Proxy.example",), True),
        ("proxy.example:443", "10.0.0.5:9464", ("proxy.example:443",), True),
        ("proxy.example:444", "10.0.0.5:9464", ("proxy.example:443",), False),
        ("other.example", "10.0.0.5:9464", ("proxy.example",), False),
        ("[2001:db8::1]", "10.0.0.5:9464", ("[2001:db8::1]",), True),
        ("[2001:db8::1]:9464", "[2001:db8::1]:9464", (), True),
        ("[2001:db8::2]:9464", "[2001:db8::1]:9464", (), False),
        ("localhost:9464", "admin.internal:9464", (), False),
    ],
)
def test_host_has_to_name_the_admin_address(host, address, hosts, allowed):
    assert host_allowed(host, address, hosts) is allowed
