"""Until when certificates are valid, beside what `cryptography` reads; and what says nothing of it."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from support.certificates import authority

from trioproxy.tls.validity import expiry_of


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("ca"))


@pytest.mark.parametrize("expired", [False, True])
@pytest.mark.parametrize("names", [("a.test",), tuple(f"{n}.test" for n in range(200))])
def test_it_is_the_time_that_cryptography_reads(trusted, names, expired):
    file = trusted.issue(*names, expired=expired).certificate
    read = x509.load_pem_x509_certificates(Path(file).read_bytes())[0]
    assert expiry_of(file) == read.not_valid_after_utc.timestamp()


@pytest.mark.parametrize("year", [1951, 1999, 2049, 2050, 2999])
def test_years_are_written_in_two_ways(tmp_path, year):
    until = dt.datetime(year, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
    made = trustme.CA().issue_cert("a.test", not_before=dt.datetime(1950, 1, 1, tzinfo=dt.UTC), not_after=until)
    made.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    assert expiry_of(str(tmp_path / "cert.pem")) == until.timestamp()


def test_the_first_of_a_file_counts_whatever_stands_before_it(trusted, tmp_path):
    files = trusted.issue("a.test", expired=True)
    whole = tmp_path / "all.pem"
    key, certificate, ca = (Path(each).read_text() for each in (files.key, files.certificate, trusted.file))
    whole.write_text(key + "# ours\n" + certificate + ca)
    assert expiry_of(str(whole)) == expiry_of(files.certificate) != expiry_of(trusted.file)


def test_where_nothing_is_said_nothing_is_known(trusted, tmp_path):
    file = tmp_path / "none.pem"
    for text in ("", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"):
        file.write_text(text)
        assert expiry_of(str(file)) is None


def test_no_octets_are_too_strange(trusted, tmp_path):
    good = Path(trusted.issue("a.test").certificate).read_text().partition("-----END")[0].partition("-----\n")[2]
    chance, file = random.Random(1), tmp_path / "spoilt.pem"
    for _ in range(300):
        spoilt = list(good)
        spoilt[chance.randrange(len(good))] = chance.choice("AZaz09+/=\n")
        text = "".join(spoilt[: chance.randrange(len(good))])
        file.write_text(f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
        assert expiry_of(str(file)) is None or expiry_of(str(file)) > -1e10
