"""What a configuration takes before it can be served: all of it, or nothing."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import attrs
import pytest
from support.certificates import authority
from support.serving import make_config

from trioproxy.binding import bind_all
from trioproxy.certificates import CertificatesError
from trioproxy.config import AdminConfig, ListenerTlsConfig
from trioproxy.transport import ListenError


def with_tls(config, settings):
    return attrs.evolve(config, listeners=tuple(attrs.evolve(one, tls=settings) for one in config.listeners))


def test_listeners_and_the_admin_are_bound_and_certificates_read(tmp_path):
    files = authority(tmp_path).issue("a.test")
    settings = ListenerTlsConfig(certificate=files.certificate, key=files.key)
    config = with_tls(make_config(admin=AdminConfig(address="127.0.0.1:0")), settings)
    with ExitStack() as last:
        bound = bind_all(config, {}, last)
        ((listener, sock),) = bound.listeners
        assert listener is config.listeners[0]
        assert sock.getsockname()[1] != 0
        assert len(bound.admin) == 1
        assert bound.certificates.server(settings)
    assert sock.fileno() == -1
    assert bound.admin[0].fileno() == -1


def test_without_an_admin_none_is_bound():
    with ExitStack() as last:
        assert bind_all(make_config(), {}, last).admin == []


def test_nothing_is_bound_where_a_certificate_cannot_be_used_and_what_was_inherited_is_closed(tmp_path):
    public = tmp_path / "public"
    config = with_tls(make_config(listeners=(f"unix:{public}",)), ListenerTlsConfig(certificate="/none", key="/none"))
    with socket.socket() as inherited:
        with pytest.raises(CertificatesError), ExitStack() as last:
            bind_all(config, {"fd:web": [inherited]}, last)
        assert inherited.fileno() == -1
    assert not public.exists()


def test_an_address_that_cannot_be_bound_is_told_with_its_listener():
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ListenError, match=r"listener l1: .*127\.0\.0\.1"),
        ExitStack() as last,
    ):
        bind_all(make_config(listeners=("127.0.0.1:0", f"127.0.0.1:{taken.getsockname()[1]}")), {}, last)
