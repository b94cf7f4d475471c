"""All certificates of a configuration are read together, and every mistake in their files is told with its key."""

from __future__ import annotations

import datetime as dt
import ssl

import attrs
import pytest
from support.certificates import authority
from support.serving import make_config

from trioproxy.certificates import Certificates, CertificatesError, names_certificates, tell_of_expired
from trioproxy.config import ListenerTlsConfig, UpstreamTlsConfig
from trioproxy.logs import Log


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("ca"))


def config(*listeners, pool=None):
    """Listeners with these TLS settings, None for none, and a pool with its."""
    made = make_config(listeners=tuple(f"127.0.0.1:{port}" for port in range(len(listeners))))
    with_tls = [attrs.evolve(one, tls=tls) for one, tls in zip(made.listeners, listeners, strict=True)]
    pools = {name: attrs.evolve(one, tls=pool) for name, one in made.pools.items()}
    return attrs.evolve(made, listeners=tuple(with_tls), pools=pools)


def issued(trusted, name="a.test", **more):
    files = trusted.issue(name)
    return ListenerTlsConfig(certificate=files.certificate, key=files.key, **more)


def test_where_nothing_has_tls_nothing_is_read():
    assert not names_certificates(config(None))
    assert Certificates.load(config(None)) == Certificates()


def test_listeners_and_pools_have_contexts_of_their_own(trusted):
    one, other, upstreams = issued(trusted), issued(trusted, "b.test"), UpstreamTlsConfig(ca=trusted.file)
    loaded = Certificates.load(config(one, None, other, pool=upstreams))
    assert names_certificates(config(one))
    assert names_certificates(config(pool=upstreams))
    assert loaded.server(one) is not loaded.server(other)
    assert loaded.server(one).verify_mode == ssl.CERT_NONE
    identity = loaded.identity(upstreams, "chat.internal")
    assert identity.name == "chat.internal"
    assert identity.context.verify_mode == ssl.CERT_REQUIRED
    assert loaded.identity(None, "chat.internal") is None


def test_clients_have_to_be_signed_by_who_is_named(trusted):
    settings = issued(trusted, client_ca=trusted.file)
    assert Certificates.load(config(settings)).server(settings).verify_mode == ssl.CERT_REQUIRED


def test_listeners_with_the_same_files_share_what_was_read(trusted):
    one = issued(trusted)
    loaded = Certificates.load(config(one, attrs.evolve(one)))
    assert loaded.server(attrs.evolve(one)) is loaded.server(one)


def test_every_mistake_in_the_files_is_told_with_its_key(trusted, tmp_path):
    good = issued(trusted)
    missing = attrs.evolve(good, certificate=str(tmp_path / "none"))
    (tmp_path / "empty").touch()
    with pytest.raises(CertificatesError) as caught:
        Certificates.load(config(good, missing, pool=UpstreamTlsConfig(ca=str(tmp_path / "empty"))))
    lines = [
        f"listeners[1].tls: {tmp_path}/none: a certificate cannot be read: No such file or directory",
        f"pools.backend.tls: {tmp_path}/empty: expected certificates in PEM form",
    ]
    assert caught.value.lines == lines
    assert str(caught.value) == "\n".join(lines)


def test_until_when_a_certificate_is_valid_is_known_and_which_is_past_that(trusted):
    now, files = issued(trusted), trusted.issue("b.test", expired=True)
    past = ListenerTlsConfig(certificate=files.certificate, key=files.key)
    made = config(now, None, past)
    loaded = Certificates.load(made)
    assert loaded.expires(None) is None
    assert loaded.expires(past) == dt.datetime(2001, 1, 2, tzinfo=dt.UTC).timestamp()
    assert loaded.expires(now) > loaded.expires(past)
    (problem,) = loaded.expired(made)
    assert (problem.path, problem.message) == (
        ("listeners", 2, "tls"),
        f"{past.certificate} expired on 2001-01-02 00:00:00 UTC",
    )
    log = Log.memory()
    tell_of_expired(loaded, made, log)
    (said,) = log.events
    assert (said["event"], said["level"]) == ("certificate_expired", "warning")
    assert said["reason"] == f"listeners[2].tls: {problem.message}"


def test_a_mistake_is_told_with_the_line_of_the_text_that_names_the_file(tmp_path):
    files = {"certificate": str(tmp_path / "none"), "key": str(tmp_path / "none")}
    with pytest.raises(CertificatesError) as caught:
        Certificates.load(config(ListenerTlsConfig(**files)))
    text = '[[listeners]]\naddress = "127.0.0.1:0"\ntls = { certificate = "none", key = "none" }\n'
    (line,) = caught.value.located(text, "proxy.toml").problems
    assert line.startswith("proxy.toml:3: listeners[0].tls: ")
