"""Whose requests the API takes: Host and token."""

from __future__ import annotations

import pytest

from trioproxy.admin.guard import host_allowed, read_token, token_matches


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


@pytest.mark.parametrize(
    ("authorization", "matches"),
    [
        ("Bearer secret", True),
        ("bearer secret", True),
        ("Bearer  secret ", True),
        ("Bearer secret2", False),
        ("Bearer secre", False),
        ("Bearer ", False),
        ("Bearer", False),
        ("Basic secret", False),
        ("secret", False),
        ("", False),
        ("Bearer s\xe9cret", False),
    ],
)
def test_the_token_has_to_be_the_very_one(authorization, matches):
    assert token_matches(authorization, b"secret") is matches


def test_a_token_is_read_without_its_newline(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    assert read_token(str(tmp_path / "token")) == b"secret"


def test_without_a_file_there_is_no_token():
    assert read_token("") is None


def test_an_empty_file_is_no_token(tmp_path):
    (tmp_path / "token").write_text(" \n")
    with pytest.raises(ValueError, match="no token"):
        read_token(str(tmp_path / "token"))


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(OSError, match="token"):
        read_token(str(tmp_path / "token"))
