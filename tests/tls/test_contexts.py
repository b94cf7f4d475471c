"""Certificates and keys from files: what is accepted, and what is said of those that cannot be used."""

from __future__ import annotations

import ssl
import subprocess

import pytest
from support.certificates import authority

from trioproxy.tls.contexts import CertificateError, client_context, server_context


@pytest.fixture
def trusted(tmp_path):
    return authority(tmp_path)


def test_a_listener_gets_tls_1_2_and_newer_and_says_http_1_1(trusted):
    files = trusted.issue("localhost")
    context = server_context(files.certificate, files.key)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert server_context(files.certificate, files.key, trusted.file).verify_mode is ssl.CERT_REQUIRED


def test_upstreams_are_checked_against_one_authority_or_the_systems(trusted):
    assert [ca["subject"] for ca in client_context(trusted.file).get_ca_certs()]
    context = client_context()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_each_file_that_cannot_be_used_is_named(trusted, tmp_path):
    files, other = trusted.issue("localhost"), trusted.issue("localhost")
    garbage = tmp_path / "garbage"
    garbage.write_text("no certificate")
    missing = str(tmp_path / "missing")
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "ec", "-aes128", "-passout", "pass:x", "-in", files.key, "-out", str(locked)],
        check=True,
        capture_output=True,
    )
    weak = tmp_path / "weak"
    subprocess.run(
        [
            *[
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:512",
                "-nodes",
                "-subj",
                "/CN=weak",
                "-keyout",
                "weak.key",
                "-out",
                "weak.pem",
            ]
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    for (certificate, key), words in (
        ((missing, files.key), f"{missing}: a certificate cannot be read: No such file or directory"),
        ((files.certificate, missing), f"{missing}: a private key cannot be read: No such file or directory"),
        (
            (files.certificate, other.key),
            f"{other.key}: expected the private key of {files.certificate}, got another's",
        ),
        ((str(garbage), files.key), f"expected a certificate chain in {garbage}"),
        ((files.certificate, str(garbage)), f"its private key in {garbage}"),
        ((files.certificate, str(locked)), f"{locked}: expected a private key without a passphrase"),
        ((f"{weak}.pem", f"{weak}.key"), f"{weak}.pem: expected a stronger certificate"),
    ):
        with pytest.raises(CertificateError) as caught:
            server_context(certificate, key)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_authority_that_cannot_be_used_is_named(trusted, tmp_path):
    garbage = tmp_path / "garbage"
    garbage.write_text("no certificate")
    files = trusted.issue("localhost")
    with pytest.raises(CertificateError, match="garbage: expected certificates in PEM form"):
        client_context(str(garbage))
    with pytest.raises(CertificateError, match="missing: certificates cannot be read"):
        server_context(files.certificate, files.key, str(tmp_path / "missing"))
